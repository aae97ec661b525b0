"""Which tokens a masked language model must predict, and what it sees in their place."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from ptft import rng
from ptft.objectives.rows import Rows, Vocabulary

_CHOICE, _REPLACE, _RANDOM = 0x6D61736B, 0x72657063, 0x72616E64  # separate streams of draws


class Masked(NamedTuple):
    """The result of masking some rows.

    Attributes:
        ids: The inputs with replacements.
        positions: Column of each prediction in its row, in order; -1 fills rows with fewer.
        labels: The original id at each position; -100 where there is none.
    """

    ids: Int[ndarray, "rows seq"]
    positions: Int[ndarray, "rows predictions"]
    labels: Int[ndarray, "rows predictions"]


def mask_tokens(
    rows: Rows,
    vocabulary: Vocabulary,
    *,
    mask_ratio: float,
    max_predictions: int,
    replace_ratio: float,
    random_ratio: float,
) -> Masked:
    """Choose exactly ``round(length * mask_ratio)`` tokens a row without replacement, at least one; 80/10/10.

    Args:
        rows: Ids, lengths and draw keys; special tokens are never chosen.
        vocabulary: Special ids, the mask's among them.
        mask_ratio: Share of a row's tokens (special ones counted) to predict.
        max_predictions: At most so many a row; 0 for no limit.
        replace_ratio: Share of the chosen that become the mask token.
        random_ratio: Share of the chosen that become a random token; the rest stays.

    Paper: Devlin et al. 2019, section 3.1, and the published data creation code, whose number of predictions this
    follows (Python's rounding to even included). Differs: a random token is never a special one.
    """
    ids, lengths = rows.ids, rows.lengths
    column = np.arange(ids.shape[1])
    open_to_choice: Bool[ndarray, "rows seq"] = rows.present() & (
        ~vocabulary.special[ids] | (ids == vocabulary.unknown)
    )
    wanted = np.maximum(1, np.round(lengths * mask_ratio).astype(np.int64))
    if max_predictions:
        wanted = np.minimum(wanted, max_predictions)
    wanted = np.minimum(wanted, open_to_choice.sum(1))
    most = int(wanted.max())
    seed, epoch = rows.epoch_keys
    key = rows.draw_keys[:, None]
    order: Float[ndarray, "rows seq"] = np.where(open_to_choice, rng.uniform(seed, epoch, _CHOICE, key, column), 2.0)
    chosen = np.argpartition(order, min(most, ids.shape[1] - 1), axis=1)[:, :most]
    rank = np.argsort(np.take_along_axis(order, chosen, 1), axis=1)
    chosen = np.take_along_axis(chosen, rank, 1)
    used = np.arange(most) < wanted[:, None]
    chosen = np.sort(np.where(used, chosen, ids.shape[1]), axis=1)
    used = chosen < ids.shape[1]
    positions = np.where(used, chosen, 0)
    labels = np.where(used, np.take_along_axis(ids, positions, 1), -100)
    seen = _replacements(labels, positions, rows, vocabulary, replace_ratio, random_ratio)
    masked = ids.copy()
    row_index = np.broadcast_to(np.arange(len(ids))[:, None], positions.shape)
    masked[row_index[used], positions[used]] = seen[used]
    return Masked(masked, np.where(used, positions, -1), labels)


def _replacements(
    labels: Int[ndarray, "rows predictions"],
    positions: Int[ndarray, "rows predictions"],
    rows: Rows,
    vocabulary: Vocabulary,
    replace_ratio: float,
    random_ratio: float,
) -> Int[ndarray, "rows predictions"]:
    seed, epoch = rows.epoch_keys
    key = rows.draw_keys[:, None]
    draw = rng.uniform(seed, epoch, _REPLACE, key, positions)
    ordinary = np.flatnonzero(~vocabulary.special)
    random_ids = ordinary[rng.integers(len(ordinary), seed, epoch, _RANDOM, key, positions)]
    kept_or_random = np.where(draw < replace_ratio + random_ratio, random_ids, labels)
    return np.where(draw < replace_ratio, vocabulary.mask, kept_or_random)
