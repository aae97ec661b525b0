import sys

import numpy as np
import pytest

from ptft import rng
from ptft.corpus.duplicates import ExactDuplicates, NearDuplicates
from ptft.errors import DeviceError


def text(key, size=300):
    return [f"w{number}" for number in rng.integers(5000, rng.key_of("text"), key, np.arange(size)).tolist()]


def document(words):
    return [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]


def replaced(words, every):
    return ["other" if number % every == every - 1 else word for number, word in enumerate(words)]


def test_exact_duplicates_have_the_same_sentences():
    known = ExactDuplicates()
    assert [known.is_known(each) for each in (["A b", "c"], ["A", "b c"], ["a b", "c"], ["A b", "c"])] == [
        False
    ] * 3 + [True]


class TestNearDuplicates:
    @pytest.fixture(autouse=True)
    def _needs_the_library(self):
        pytest.importorskip("datasketch")

    # With one word in n replaced, about 5/n of the shingles change: similarity (1 - 5/n) / (1 + 5/n).
    @pytest.mark.parametrize(("every", "is_known"), [(100, True), (60, True), (15, False), (8, False)])
    def test_most_words_in_common(self, every, is_known):
        near = NearDuplicates(0.8)
        assert not near.is_known(document(text(1)))
        assert near.is_known(document(replaced(text(1), every))) == is_known

    def test_case_signs_and_line_ends_do_not_matter(self):
        near = NearDuplicates(0.99)
        assert not near.is_known(["The Kettle boils, at last.", "Tea is ready."])
        assert near.is_known(["the kettle boils at last tea -- is READY"])

    def test_documents_that_differ_all_stay(self):
        near = NearDuplicates(0.8)
        assert not any(near.is_known(document(text(key))) for key in range(1500))  # more than the first table holds
        assert all(near.is_known(document(text(key))) for key in range(0, 1500, 100))

    def test_a_lower_similarity_finds_more(self):
        near = NearDuplicates(0.4)
        near.is_known(document(text(1)))
        assert near.is_known(document(replaced(text(1), 15)))

    def test_short_documents_and_those_without_words(self):
        near = NearDuplicates(0.8)
        assert [near.is_known(each) for each in (["Tea."], ["tea"], ["Milk"], ["--"], ["--"])] == [False, True] + [
            False
        ] * 3

    def test_a_very_long_document(self):
        near = NearDuplicates(0.8)
        near.is_known(document(text(1, 9000)))
        assert near.is_known(document(replaced(text(1, 9000), 100)))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(
        DeviceError, match=r"corpus\.duplicates=near needs the library 'datasketch', .*; pip install data"
    ):
        NearDuplicates(0.8)
