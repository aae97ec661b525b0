import json

import pytest

from ptft.errors import DataError
from ptft.tasks.minimal_pairs import MinimalPair, read_minimal_pairs

ROW = {"sentence_good": "It was good.", "sentence_bad": "It were good."}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_columns_of_blimp(tmp_path):
    path = write(tmp_path / "a.jsonl", ROW | {"UID": "set", "linguistics_term": "term", "field": "syntax"})
    assert read_minimal_pairs(path) == ([MinimalPair("It was good.", "It were good.", "set", "term")], [])


def test_other_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("right,wrong,kind,theme\n좋았다,좋았았다,k,t\n")
    pairs, _ = read_minimal_pairs(str(path), good="right", bad="wrong", subtask="kind", phenomenon="theme")
    assert pairs == [MinimalPair("좋았다", "좋았았다", "k", "t")]


def test_folder_of_tables_without_groups(tmp_path):
    write(tmp_path / "b.jsonl", ROW, ROW)
    write(tmp_path / "a.jsonl", ROW)
    (tmp_path / "README.md").write_text("no table")
    pairs, _ = read_minimal_pairs(str(tmp_path))
    assert [pair.subtask for pair in pairs] == ["a", "b", "b"]
    assert {pair.phenomenon for pair in pairs} == {""}


def test_equal_sentences_stay_and_are_told(tmp_path):
    equal = {"sentence_good": "It was.", "sentence_bad": "It was. "}
    path = write(tmp_path / "a.jsonl", ROW, equal, equal)
    pairs, notes = read_minimal_pairs(path)
    assert len(pairs) == 3
    assert notes == [f"{path}: 2 of 3 pairs have two equal sentences (first: {path}:2); each counts as half a hit"]


@pytest.mark.parametrize("value", ["", "  ", None])
def test_empty_sentence(tmp_path, value):
    path = write(tmp_path / "a.jsonl", ROW, ROW | {"sentence_bad": value})
    with pytest.raises(DataError, match=r"a\.jsonl:2: the sentence in column 'sentence_bad' is empty; give both"):
        read_minimal_pairs(path)


def test_missing_column(tmp_path):
    path = write(tmp_path / "a.jsonl", {"sentence_god": "x", "sentence_bad": "y"})
    with pytest.raises(DataError, match=r"no column 'sentence_good'; did you mean 'sentence_god'.*with good=COLUMN"):
        read_minimal_pairs(path)


def test_missing_group(tmp_path):
    with pytest.raises(DataError, match="there is no column 'kind'"):
        read_minimal_pairs(write(tmp_path / "a.jsonl", ROW), subtask="kind")


def test_missing_file(tmp_path):
    write(tmp_path / "a.jsonl", ROW)
    with pytest.raises(DataError, match=r"there is no file or folder '.*b\.jsonl'; did you mean '.*a\.jsonl'"):
        read_minimal_pairs(str(tmp_path / "b.jsonl"))


def test_folder_without_tables(tmp_path):
    with pytest.raises(DataError, match=r"the folder holds no table of minimal pairs; allowed: .*\.jsonl"):
        read_minimal_pairs(str(tmp_path))
