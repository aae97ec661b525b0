"""Labelled sentences of the embedded corpus: rows for fine-tuning, whose only evidence is one word of the category."""

from collections.abc import Iterator, Sequence
from itertools import islice

from ptft import rng
from ptft.corpus.embedded.draws import Draws, draws_for
from ptft.corpus.embedded.lists import labelled_sentence
from ptft.corpus.embedded.words import Category, Kind
from ptft.tasks.task import Example, TaskData

NUM_TRAIN_ROWS = 2_048
NUM_VALID_ROWS = 256
NUM_TEST_ROWS = 500

# How often a category may be asked for a sentence: far more often than it is, for most repeat one that is taken.
_TRIALS = 8_192


def embedded_data(name: str, categories: Sequence[Category], seed: int) -> TaskData:
    """Return the rows of one task: training, validation and test set ``L`` from L words, test set ``H`` from H words.

    No sentence occurs twice, neither in a split nor in two of them.

    Args:
        name: The task's name.
        categories: The topics or the polarities; their names are the labels.
        seed: Key of all draws, >= 0.
    """
    rows = _labelled_rows(name, categories, "L", seed)
    return TaskData(
        name=name,
        labels=tuple(category.name for category in categories),
        train=tuple(islice(rows, NUM_TRAIN_ROWS)),
        valid=tuple(islice(rows, NUM_VALID_ROWS)),
        tests={
            "L": tuple(islice(rows, NUM_TEST_ROWS)),
            "H": tuple(islice(_labelled_rows(name, categories, "H", seed), NUM_TEST_ROWS)),
        },
    )


def _labelled_rows(name: str, categories: Sequence[Category], kind: Kind, seed: int) -> Iterator[Example]:
    # The categories take turns in rounds, each round in its own order: the first n rows are as balanced as n allows.
    key = rng.key_of("embedded rows " + name + kind)
    streams = [draws_for(_TRIALS, key, seed, at) for at in range(len(categories))]
    number = 0
    taken: set[str] = set()
    for order in draws_for(_TRIALS, key, seed, len(categories)):
        for at in order.sample(range(len(categories)), len(categories)):
            sentence = _new_sentence(streams[at], categories[at], kind, taken)
            number += 1
            yield Example(sentence + ".", categories[at].name, where=f"{name}, {kind} row {number}")


def _new_sentence(stream: Iterator[Draws], category: Category, kind: Kind, taken: set[str]) -> str:
    sentences = (labelled_sentence(draws, category, draws.pick(category.words(kind))) for draws in stream)
    sentence = next(sentence for sentence in sentences if sentence not in taken)
    taken.add(sentence)
    return sentence
