"""Which rows stand before each document in lm_eval 0.4.13: drawn anew for each of them, from one stream."""

from collections.abc import Sequence
from typing import TypeVar

from ptft import rng
from ptft.errors import DataError

Row = TypeVar("Row")
SEED = 1234
"""lm_eval's seed of shots."""


def random_shots(
    documents: Sequence[Row], pool: Sequence[Row], k: int, *, excludes: bool = False, seed: int = SEED
) -> list[list[Row]]:
    """Draw ``k`` rows for each document with the Mersenne Twister, in the order of the documents.

    So a document's shots depend on those before it; ours (:func:`ptft.prompting.choose_shots`) do not.

    Args:
        documents: What is asked, all of it or the first so many.
        pool: Rows to draw from.
        k: Number of shots; 0 draws nothing from the stream.
        excludes: Draw ``k + 1`` and leave out rows equal to the document, then what is too many; if copies of it
            leave too few, draw ``k`` of the other rows. lm_eval does so if the task says that shots come from its test
            split, or names neither; otherwise a document can be its own shot.
        seed: Of the stream.

    Raises:
        DataError: The pool has too few rows.
    """
    if not k:
        return [[] for _ in documents]
    _check_size(len(pool), k, k + excludes)
    generator = rng.mersenne(seed)
    chosen = []
    for document in documents:
        shots = generator.sample(pool, k + excludes)
        if excludes:
            shots = [row for row in shots if row != document][:k]
            if len(shots) < k:
                others = [row for row in pool if row != document]
                _check_size(len(others), k, k)
                shots = generator.sample(others, k)
        chosen.append(shots)
    return chosen


def first_shots(documents: Sequence[Row], pool: Sequence[Row], k: int, *, excludes: bool = False) -> list[list[Row]]:
    """The first ``k`` rows for every document (lm_eval's sampler ``first_n``).

    Args:
        documents: What is asked.
        pool: Rows in order.
        k: Number of shots.
        excludes: Pass over rows equal to the document.

    Raises:
        DataError: The pool has too few rows.
    """
    chosen = []
    for document in documents:
        rows = [row for row in pool if row != document] if excludes and k else list(pool)
        _check_size(len(rows), k, k)
        chosen.append(rows[:k])
    return chosen


def _check_size(size: int, k: int, drawn: int) -> None:
    if size < drawn:
        more = f", of which lm_eval draws {drawn} to leave out the document itself," if drawn > k else ""
        raise DataError(
            f"{k} shots are asked for{more} but there are only {size} rows to draw from; ask for fewer shots or give "
            "more rows"
        )
