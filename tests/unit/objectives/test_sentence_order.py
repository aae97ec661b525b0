import numpy as np
import pytest

from ptft import rng
from ptft.errors import DataError
from ptft.objectives.pairs import Sentences
from ptft.objectives.sentence_order import SentenceOrder, neighbouring_pairs


@pytest.fixture(scope="module")
def found(store_of):
    """(document's bounds, pair) of 200 documents of 2 to 20 sentences."""
    draws = np.random.default_rng(0)
    texts = [[[9] * int(n) for n in 3 + draws.poisson(8, draws.integers(2, 21))] for _ in range(200)]
    sentences = Sentences(store_of(texts))
    rows = []
    for document in range(len(sentences)):
        bounds = sentences.bounds(document)
        for pair in neighbouring_pairs(sentences, document, bounds, 61, 0.1, rng.Stream(document)):
            rows.append((bounds, pair))
    return rows


def test_both_texts_are_neighbours_in_one_document(found):
    for bounds, (a_start, a_end, b_start, b_end, is_exchanged) in found:
        first, second = ((a_start, a_end), (b_start, b_end))[:: -1 if is_exchanged else 1]
        assert bounds[0] <= first[0] < first[1] <= second[0] < second[1] <= bounds[-1]
        assert first[1] - first[0] + second[1] - second[0] <= 61
        if second[1] - first[0] == first[1] - first[0] + second[1] - second[0]:  # nothing was cut between them
            assert first[1] in bounds


def test_half_are_exchanged(found):
    labels = np.array([pair.is_random for _, pair in found])
    assert len(labels) > 300
    assert labels.mean() == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(len(labels)))


def test_a_single_sentence_gives_no_pair(store_of):
    sentences = Sentences(store_of([[[1, 2, 3]], [[4, 5], [6]]]))
    rows = [
        list(neighbouring_pairs(sentences, document, sentences.bounds(document), 61, 0.0, rng.Stream(0)))
        for document in (0, 1)
    ]
    assert [len(pairs) for pairs in rows] == [0, 1]


def test_a_corpus_of_single_sentences_is_refused_and_one_document_is_enough(store_of, vocabulary):
    with pytest.raises(DataError, match=r"^sentence_order needs documents of several sentences, but every document"):
        SentenceOrder().sampler(store_of([[[10, 11]], [[12]]]), vocabulary, 32, 4, 0)
    rows = SentenceOrder().sampler(store_of([[[10, 11], [12, 13]] * 40]), vocabulary, 16, 4, 0).rows(0, 0, 0, 4)
    assert set(rows.pair_labels.tolist()) <= {0, 1} and rows.segments is not None
