"""Which tokens a masked language model must predict, and what it sees in their place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from ptft import rng
from ptft.objectives.pairs import Generator
from ptft.objectives.policies.policy import Candidates, MaskingPolicy, words_of
from ptft.objectives.policies.whole_word import fit_words
from ptft.objectives.rows import Rows, Vocabulary

_REPLACE, _RANDOM, _COUNT = 0x72657063, 0x72616E64, 0x636F756E  # separate streams of draws
Selection = Literal["exact", "bernoulli"]


class Masked(NamedTuple):
    """The result of masking some rows.

    Attributes:
        ids: The inputs with replacements.
        positions: Index of each prediction in the rows laid end to end, rising.
        labels: The original id at each position.
    """

    ids: Int[ndarray, "rows seq"]
    positions: Int[ndarray, " predictions"]
    labels: Int[ndarray, " predictions"]


def mask_tokens(
    rows: Rows,
    vocabulary: Vocabulary,
    policy: MaskingPolicy,
    *,
    mask_ratio: float,
    selection: Selection = "exact",
    max_predictions: int = 0,
    replace_ratio: float = 0.8,
    random_ratio: float = 0.1,
) -> Masked:
    """Choose tokens by ``policy`` and replace them: 80 % masked, 10 % random, 10 % kept by default.

    Args:
        rows: Ids, lengths, word starts and draw keys; special tokens are never chosen, the unknown one excepted.
        vocabulary: Special ids, the mask's among them.
        policy: Which tokens go together.
        mask_ratio: Share of a row's tokens to predict.
        selection: ``exact`` predicts ``round(length * mask_ratio)`` tokens, special ones counted in the length and at
            least one; ``bernoulli`` as many as come up when each token that may be chosen is drawn with
            ``mask_ratio``, so a short row may have none.
        max_predictions: At most so many a row; 0 for no limit.
        replace_ratio: Share of the chosen that become the mask token.
        random_ratio: Share of the chosen that become a random token; the rest stays.

    Paper: Devlin et al. 2019, section 3.1, and the published data creation code, whose number of predictions this
    follows (Python's rounding to even included). Differs: a random token is never a special one.
    """
    open_to_choice = may_be_predicted(rows.ids, rows.present(), vocabulary)
    if policy.needs_words and rows.starts is None:
        raise RuntimeError(f"the masking policy {policy.name} was given rows that do not say where words begin")
    starts = open_to_choice if rows.starts is None else rows.starts
    candidates = Candidates(open_to_choice, starts, rows.lengths, rows.draw_keys, rows.epoch_keys)
    if selection == "exact":
        wanted = np.maximum(1, np.round(rows.lengths * mask_ratio).astype(np.int64))
    else:
        wanted = (candidates.uniform(_COUNT) < mask_ratio).sum(1, where=open_to_choice)
    if max_predictions:
        wanted = np.minimum(wanted, max_predictions)
    wanted = np.minimum(wanted, open_to_choice.sum(1))
    chosen = policy.choose(replace(candidates, wanted=wanted))
    row, column = np.nonzero(chosen.tokens)
    labels = rows.ids[row, column]
    seed, epoch = rows.epoch_keys
    key, draw_at = rows.draw_keys[row], column if chosen.draw_at is None else chosen.draw_at[row, column]
    draw = rng.uniform(seed, epoch, _REPLACE, key, draw_at)
    ordinary = np.flatnonzero(~vocabulary.special)
    random_ids = ordinary[rng.integers(len(ordinary), seed, epoch, _RANDOM, key, column)]
    masked = rows.ids.copy()
    kept_or_random = np.where(draw < replace_ratio + random_ratio, random_ids, labels)
    masked[row, column] = np.where(draw < replace_ratio, vocabulary.mask, kept_or_random)
    return Masked(masked, row * rows.ids.shape[1] + column, labels)


def may_be_predicted(
    ids: Int[ndarray, "rows seq"], present: Bool[ndarray, "rows seq"], vocabulary: Vocabulary
) -> Bool[ndarray, "rows seq"]:
    """True at tokens that may be chosen: no padding and no special token but the unknown one."""
    is_open: Bool[ndarray, "rows seq"] = present & (~vocabulary.special[ids] | (ids == vocabulary.unknown))
    return is_open


class ShufflingGenerator(Generator, Protocol):
    """Also shuffles, as ``random.Random`` does."""

    def shuffle(self, items: list[int], /) -> None:
        """Shuffle in place."""


def mask_by_reference(
    ids: Sequence[int],
    starts: Sequence[bool],
    vocabulary: Vocabulary,
    generator: ShufflingGenerator,
    *,
    whole_word: bool,
    mask_ratio: float = 0.15,
    max_predictions: int = 20,
) -> Masked:
    """Mask one row by the published rule, draw by draw: with ``random.Random(seed)`` the reference's own instances.

    Training chooses by the same rule with numbers of its own (:func:`mask_tokens`); the one thing that differs is here
    as published: a random token may be any id, special ones included.

    Args:
        ids: The row, special tokens in place, without padding.
        starts: Whether each token begins a word; used with ``whole_word``.
        vocabulary: Special ids and the number of ids, in the order of the reference's vocabulary list.
        generator: Source of the draws.
        whole_word: Whether words are taken whole.
        mask_ratio: Share of the row's tokens to predict.
        max_predictions: At most so many.

    Paper: Devlin et al. 2019, the published data creation code with and without whole-word masking.
    """
    row = np.array([ids])
    open_to_choice = may_be_predicted(row, np.ones_like(row, bool), vocabulary)
    begins = np.array([starts]) if whole_word else open_to_choice
    none = np.zeros(1, np.int64)
    words = words_of(Candidates(open_to_choice, begins, none, none, (0, 0)))
    order = list(range(len(words.size)))
    generator.shuffle(order)
    wanted = min(max_predictions, max(1, round(len(ids) * mask_ratio)))
    taken = fit_words(words.size[order][None], np.array([wanted]))[0]
    columns = np.flatnonzero(open_to_choice[0])
    masked = row.copy()
    chosen: list[int] = []
    for word in np.array(order)[taken]:
        for column in columns[words.of_token == word].tolist():
            if generator.random() < 0.8:
                masked[0, column] = vocabulary.mask
            elif generator.random() >= 0.5:
                masked[0, column] = generator.randint(0, vocabulary.size - 1)
            chosen.append(column)
    positions = np.array(sorted(chosen), np.int64)
    return Masked(masked, positions, row[0, positions])
