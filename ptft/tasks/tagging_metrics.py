"""Figures of tagged words with 95 % intervals: entities where the tags mark such, else the tags themselves."""

from collections.abc import Sequence

import numpy as np

from ptft.tasks.chunks import chunks, tags_entities
from ptft.tasks.metrics import FloatArray, IntArray, macro_f1, ratio, summed_figures


def tagging_figures(
    gold: Sequence[IntArray], predicted: Sequence[IntArray], labels: Sequence[str], seed: int
) -> dict[str, float]:
    """Score tags of words; the unit of resampling is the sentence.

    If a label begins with ``B-`` or ``I-``, precision, recall and F1 are those of entities, over all types together
    (an entity is right if its type and both ends are, see :func:`~ptft.tasks.chunks.chunks`). Otherwise ``f1`` is the
    mean over all labels of their F1 over words, and there is no precision and recall. What is 0/0 is 0.

    Args:
        gold: The true label of each word of each sentence, an index of ``labels``.
        predicted: The predicted one; -1 where a word was not seen, which is wrong and outside of entities.
        labels: All labels.
        seed: Key of the resampling.

    Returns:
        ``f1`` with ``low`` and ``high``, ``precision``, ``recall`` and ``token_accuracy`` with ``_low`` and ``_high``
        (percentiles of 1000 bootstrap resamples of the sentences), and ``n`` (sentences).

    Raises:
        ValueError: There are no sentences, or not one prediction for each word.
    """
    if not gold or [len(tags) for tags in gold] != [len(tags) for tags in predicted]:
        raise ValueError(f"{len(gold)} and {len(predicted)} sentences: one prediction for each word is needed")
    pairs = list(zip(gold, predicted, strict=True))
    right = np.array([[np.sum(true == guess), len(true)] for true, guess in pairs])
    is_entities = tags_entities(labels)
    rows = _entity_counts(pairs, labels) if is_entities else _label_counts(pairs, len(labels))
    names = ["f1", "precision", "recall"] if is_entities else ["f1"]
    occurs = np.asarray(rows.reshape(len(rows), 3, -1).any((0, 1)))

    def all_scores(sums: FloatArray) -> FloatArray:
        hits, given, guessed = np.split(sums[:, 2:], 3, axis=1)
        f1 = _entity_scores(hits, given, guessed) if is_entities else [macro_f1(hits, given, guessed, occurs)]
        return np.stack([*f1, ratio(sums[:, 0], sums[:, 1])])

    values = summed_figures(np.concatenate([right, rows], axis=1), all_scores, seed)
    figures: dict[str, float] = {}
    for name, (value, low, high) in zip([*names, "token_accuracy"], values, strict=True):
        prefix = "" if name == "f1" else f"{name}_"
        figures |= {name: value, f"{prefix}low": low, f"{prefix}high": high}
    return {**figures, "n": len(pairs)}


def _entity_counts(pairs: Sequence[tuple[IntArray, IntArray]], labels: Sequence[str]) -> IntArray:
    """Entities found, given and guessed of each sentence."""
    names = [*labels, "O"]  # which is where -1 points to
    found = [[chunks([names[tag] for tag in tags]) for tags in pair] for pair in pairs]
    return np.array([[len(given & guessed), len(given), len(guessed)] for given, guessed in found])


def _entity_scores(hits: FloatArray, given: FloatArray, guessed: FloatArray) -> list[FloatArray]:
    return [ratio(a[:, 0], b[:, 0]) for a, b in ((2 * hits, given + guessed), (hits, guessed), (hits, given))]


def _label_counts(pairs: Sequence[tuple[IntArray, IntArray]], num_labels: int) -> IntArray:
    """How often each sentence has each label found, given and guessed."""

    def counts(tags: IntArray) -> IntArray:
        return np.bincount(tags[tags >= 0], minlength=num_labels)

    return np.array([[*counts(a[a == b]), *counts(a), *counts(b)] for a, b in pairs])
