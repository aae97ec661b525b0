"""What comes out of a corpus that is split, filtered, freed of duplicates, decontaminated and mixed."""

import json
import tracemalloc
from collections import Counter
from itertools import pairwise

import pytest

from ptft.config import load
from ptft.corpus.cleaning import Report, summary
from ptft.corpus.filters import FILTERS
from ptft.corpus.sources import CorpusSettings, Part, beginning, describe, documents, fingerprint, title
from ptft.errors import DataError

TEXT = "The quick brown fox jumps over the lazy dog while seven small mice watch quietly from behind the barn"


def write(folder, name, *texts):
    path = folder / name
    path.write_text("\n\n".join(texts))
    return str(path)


def numbered(name, count):
    return [f"{name} {number}." for number in range(count)]


def read(settings, split="train", seed=0, **others):
    return list(documents(settings, split, seed, **others))


def test_sentences_are_split_before_anything_else(tmp_path):
    path = write(tmp_path, "a.txt", "One. Two. One.", "Three.")
    filters = (FILTERS["repeated_lines"](),)
    assert read(CorpusSettings(path=path, valid_ratio=0, split_sentences="en")) == [
        ["One.", "Two.", "One."],
        ["Three."],
    ]
    assert read(CorpusSettings(path=path, valid_ratio=0, filters=filters)) == [["One. Two. One."], ["Three."]]
    assert read(CorpusSettings(path=path, valid_ratio=0, filters=filters, split_sentences="en")) == [["Three."]]


def test_the_report_counts_reasons_in_order(tmp_path):
    path = write(tmp_path, "a.txt", "Hi.", TEXT, "Some other words entirely.", TEXT, "Hi.")
    report = Report()
    settings = CorpusSettings(
        path=path, valid_ratio=0, filters=(FILTERS["words"](at_least=2),), duplicates="exact", decontaminate=("task",)
    )
    evaluation = {"task": [("row 1", TEXT), ("row 2", "short")]}
    assert read(settings, evaluation=evaluation, report=report) == [[TEXT], ["Some other words entirely."]]
    plain = report.plain()
    assert (plain["documents_read"], plain["documents_kept"]) == (5, 2)
    assert plain["dropped"] == {"words": 2, "duplicate": 1}
    assert plain["contamination"]["tasks"]["task"]["examples"][0]["document"] == 2
    assert summary(plain) == (
        "5 documents read, 2 kept (left out: words 2, duplicate 1); evaluation texts found: task 1 of 1 (documents: 1)"
    )
    json.dumps(plain)


def test_contaminated_documents_are_left_out_if_asked(tmp_path):
    path = write(tmp_path, "a.txt", TEXT, "Other.")
    settings = CorpusSettings(path=path, valid_ratio=0, decontaminate=("task",), contaminated="drop")
    assert read(settings, evaluation={"task": [("row 1", TEXT)]}) == [["Other."]]


def test_evaluation_texts_must_be_handed_down(tmp_path):
    settings = CorpusSettings(path=write(tmp_path, "a.txt", TEXT), decontaminate=("task",))
    for evaluation in (None, {}, {"other": []}):
        with pytest.raises(RuntimeError, match="must be read and handed down"):
            documents(settings, "train", 0, evaluation)


def test_nothing_is_reported_of_a_corpus_that_is_only_read(tmp_path):
    report = Report()
    read(CorpusSettings(path=write(tmp_path, "a.txt", "One.")), report=report)
    assert report.plain() == {}


def test_all_documents_left_out(tmp_path):
    settings = CorpusSettings(path=write(tmp_path, "a.txt", "One.", "Two."), filters=(FILTERS["words"](),))
    with pytest.raises(
        DataError, match=r"all 2 documents of the corpus are left out \(words 2\); .*; loosen corpus\.fil"
    ):
        read(settings)
    with pytest.raises(DataError, match="all 2 documents"):
        beginning(settings, 0)


def test_what_is_held_out_is_no_duplicate_of_what_is_trained_on(tmp_path):
    path = write(tmp_path, "a.txt", *(numbered("Text", 300) * 2))
    settings = CorpusSettings(path=path, valid_ratio=0.3, duplicates="exact")
    train, valid = read(settings), read(settings, "valid")
    assert len(train) + len(valid) == 300
    assert not {str(document) for document in train} & {str(document) for document in valid}


class TestMixture:
    @pytest.fixture
    def mixed(self, tmp_path):
        def make(ratio=0.0, one=2.5, two=0.5, **others):
            paths = [write(tmp_path, f"{name}.txt", *numbered(name, 400)) for name in ("one", "two")]
            parts = {"one": Part(path=paths[0], weight=one), "two": Part(path=paths[1], weight=two)}
            return CorpusSettings(parts=parts, valid_ratio=ratio, **others)

        return make

    def test_weights_say_how_often_documents_come(self, mixed):
        counts = Counter(document[0] for document in read(mixed()))
        one = Counter(counts[text] for text in numbered("one", 400))
        assert one.keys() == {2, 3}
        assert 160 < one[3] < 240
        two = [text for text in numbered("two", 400) if text in counts]
        assert 160 < len(two) < 240
        assert {counts[text] for text in two} == {1}

    def test_a_copy_never_stands_beside_its_first(self, mixed):
        texts = [document[0] for document in read(mixed())]
        assert all(a != b for a, b in pairwise(texts))

    def test_the_seed_decides_and_nothing_else(self, mixed):
        assert read(mixed()) == read(mixed())
        assert read(mixed()) != read(mixed(), seed=1)
        alone = [document for document in read(mixed()) if document[0].startswith("two")]
        assert alone == [document for document in read(mixed(one=1.0)) if document[0].startswith("two")]

    def test_held_out_documents_come_once_and_are_never_trained_on(self, mixed):
        train, valid = ([document[0] for document in read(mixed(0.2), split)] for split in ("train", "valid"))
        assert len(valid) == len(set(valid)) > 100
        assert {text.split()[0] for text in valid} == {"one", "two"}
        assert not set(train) & set(valid)

    def test_duplicates_are_found_across_parts_and_counted_once(self, mixed, tmp_path):
        settings = mixed(one=2.0, two=2.0, duplicates="exact")
        write(tmp_path, "two.txt", "one 3.", "new.", "new.")
        report = Report()
        texts = Counter(document[0] for document in read(settings, report=report))
        assert texts == {**dict.fromkeys(numbered("one", 400), 2), "new.": 2}
        assert (report.num_read, report.dropped) == (403, {"duplicate": 2})

    def test_on_the_command_line(self, tmp_path):
        path = write(tmp_path, "a.txt", "A.")
        settings = load(
            CorpusSettings, overrides=[f"parts.a.path={path}", "parts.a.weight=3", "valid_ratio=0"]
        ).settings
        assert read(settings) == [["A."]] * 3
        assert title(settings) == f"a: {path} x 3"
        assert describe(settings) == f"a x 3: {path} (0.0 MB); held out: 0.00% of the documents"


def test_limit_stops_reading(tmp_path):
    path = write(tmp_path, "a.txt", *numbered("Text", 10))
    assert read(CorpusSettings(path=path, limit=3, valid_ratio=0)) == [["Text 0."], ["Text 1."], ["Text 2."]]


def test_the_fingerprint_follows_everything_that_changes_what_is_read(tmp_path):
    path = write(tmp_path, "a.txt", "One. Two.", "Three.")
    evaluation = {"task": [("row 1", TEXT)]}
    base = {"path": path, "valid_ratio": 0}
    settings = [
        base,
        {**base, "limit": 1},
        {**base, "split_sentences": "en"},
        {**base, "filters": (FILTERS["words"](),)},
        {**base, "filters": (FILTERS["words"](at_least=1),)},
        {**base, "duplicates": "exact"},
        {**base, "duplicates": "near"},
        {**base, "duplicates": "near", "similarity": 0.5},
        {**base, "decontaminate": ("task",)},
        {**base, "decontaminate": ("task",), "contaminated": "drop"},
        *(
            {"valid_ratio": 0, "parts": {name: Part(path=path, weight=weight)}}
            for name in "ab"
            for weight in (1, 1.5, 2)
        ),
    ]
    prints = [
        fingerprint(CorpusSettings(**each), "train", 0, evaluation if "decontaminate" in each else None)
        for each in settings
    ]
    assert len(set(prints)) == len(prints)
    other = {"task": [("row 1", "Another text.")]}
    assert fingerprint(CorpusSettings(**settings[8]), "train", 0, other) not in prints
    mixture = CorpusSettings(**settings[-2])
    assert fingerprint(mixture, "train", 0) != fingerprint(mixture, "train", 1)


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def peak(count):
        path = write(tmp_path, "a.txt", *numbered("A sentence that is read and given on and not kept,", count))
        settings = CorpusSettings(path=path, split_sentences="en", filters=(FILTERS["words"](at_least=1),))
        tracemalloc.start()
        for _ in documents(settings, "train", 0):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what is imported and cached on the first call
    assert peak(20_000) < peak(2_000) + 100_000  # the file is 1.2 MB larger
