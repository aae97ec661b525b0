"""Which labelled examples stand in the prompt: fixed for a seed, balanced over labels, the first of 8 being the 4."""

from collections.abc import Iterable, Sequence

import numpy as np

from ptft import rng
from ptft.errors import DataError, RecipeError
from ptft.family import nearest
from ptft.tasks.task import Example

_SHOTS = rng.key_of("prompting.shots")


def check_shown(k: Sequence[int], seeds: Sequence[int], limit: int, what: str) -> None:
    """Refuse numbers of shots, seeds or a limit of what is asked that cannot be.

    Raises:
        RecipeError: One of them cannot.
    """
    for name, values in (("k", k), ("seeds", seeds)):
        if not values or min(values) < 0 or len(set(values)) < len(values):
            raise RecipeError(f"{name} is {list(values)!r}; give one or more different integers, each at least 0")
    if limit < 0:
        raise RecipeError(f"limit is {limit!r}; give the number of {what} to ask about, or 0 for all")


def check_labels(examples: Iterable[Example], labels: Sequence[str]) -> None:
    """Refuse an example whose label is not one of the task's.

    Raises:
        DataError: An example has a label that is not among ``labels``.
    """
    for example in examples:
        if example.label not in labels:
            at = f"{example.where}: " if example.where else ""
            raise DataError(f"{at}unknown label {example.label!r}{nearest(str(example.label), labels)}")


def shot_order(pool: Sequence[Example], labels: Sequence[str], seed: int) -> list[Example]:
    """All distinct examples of ``pool`` in the order in which they become shots.

    In each round every label gives one example, in an order of labels drawn anew for the round (so that the last shot
    is not always of the same label); a label that has run out is passed over. The draws are keyed by the seed and the
    example's own content: the order of the pool does not matter.

    Args:
        pool: The labelled examples to draw from; copies count once.
        labels: The labels of the task.
        seed: Which of the many sets of shots, at least 0.

    Raises:
        DataError: An example has a label that is not among ``labels``.
    """
    check_labels(pool, labels)
    ranked = unlabelled_order(pool, seed)
    queues = {label: [example for example in ranked if example.label == label] for label in labels}
    names = np.array([rng.key_of(label) for label in labels], dtype=np.int64)
    ordered: list[Example] = []
    for turn in range(max((len(queue) for queue in queues.values()), default=0)):
        for index in np.argsort(rng.bits(_SHOTS, seed, turn, names), kind="stable"):
            ordered += queues[labels[index]][turn : turn + 1]
    return ordered


def unlabelled_order(pool: Sequence[Example], seed: int) -> list[Example]:
    """All distinct examples of ``pool`` in a random order, whatever their labels.

    The draws are keyed as those of :func:`shot_order`.

    Args:
        pool: The examples to draw from; copies count once.
        seed: Which of the many orders, at least 0.
    """
    distinct = list({(example.text, example.text_b, example.label): example for example in pool}.values())
    keys = np.array([rng.key_of(f"{e.label}\0{e.text}\0{e.text_b}") for e in distinct], dtype=np.int64)
    return [distinct[index] for index in np.argsort(rng.bits(_SHOTS, seed, keys), kind="stable")]


def choose_shots(
    pool: Sequence[Example], labels: Sequence[str], k: int, seed: int, *, evaluated: Example | None = None
) -> list[Example]:
    """The first ``k`` of :func:`shot_order`: the shots for k=4 are the first four of those for k=8.

    Args:
        pool: The labelled examples to draw from.
        labels: The labels of the task.
        k: Number of shots, at least 0.
        seed: Which of the many sets of shots, at least 0.
        evaluated: A document that must not be its own shot; the next in order takes its place.

    Raises:
        DataError: The pool holds fewer examples than shots, or one with an unknown label.
    """
    return first_shots(shot_order(pool, labels, seed), k, evaluated)


def first_shots(ordered: Sequence[Example], k: int, evaluated: Example | None) -> list[Example]:
    """The first ``k`` examples of a ready order that are not the ``evaluated`` document.

    Raises:
        DataError: There are fewer than ``k``.
    """
    shots: list[Example] = []
    for example in ordered:
        if len(shots) == k:
            break
        if evaluated is None or (example.text, example.text_b) != (evaluated.text, evaluated.text_b):
            shots.append(example)
    if len(shots) < k:
        raise DataError(
            f"{k} shots are asked for but there are only {len(shots)} distinct examples to draw from; ask for fewer "
            "shots or give more labelled rows"
        )
    return shots
