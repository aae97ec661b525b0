import gzip

import pytest

from ptft.errors import DataError
from ptft.tasks.table import read_inputs, read_task

PEOPLE = (
    "-DOCSTART- -X- -X- O\n\n"
    "Ann NNP I-NP B-PER\r\n"
    "left\tVBD\tI-VP\tO\n"
    "\n  \n"
    "# NN I-NP O\n"
    "Bo\u00a0Lee  NNP  I-NP  B-PER \n"
)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.conll").write_bytes(PEOPLE.encode())
    (tmp_path / "people.conll.gz").write_bytes(gzip.compress(PEOPLE.encode()))
    return tmp_path


def rows(examples):
    return [(example.words, example.label, example.where.rpartition(":")[2]) for example in examples]


@pytest.mark.parametrize("name", ["people.conll", "people.conll.gz"])
def test_words_and_tags_of_lines(in_folder, name):
    (in_folder / "valid.conll").write_text("Bo B-PER\n")
    data, notes = read_task(name, valid="valid.conll", test=name, problem="token_classification")
    assert rows(data.train) == [(("Ann", "left"), ("B-PER", "O"), "3"), (("#", "Bo\u00a0Lee"), ("O", "B-PER"), "7")]
    assert (data.name, data.labels) == ("people", ("B-PER", "O"))
    assert notes == [f"{name}: 2 of 2 rows for test have the text of a row to train on, which flatters the result"]


def test_folder_of_parts(in_folder):
    for part in ("train", "dev", "test"):
        (in_folder / f"{part}.conll").write_text(f"{part} B-X\n\nword O\n")
    data, _ = read_task(str(in_folder), problem="token_classification")
    assert [part[0].words for part in (data.train, data.valid, data.tests["test"])] == [("train",), ("dev",), ("test",)]


def test_words_to_predict_from_need_no_tags(in_folder):
    (in_folder / "words.conll").write_text("Ann\nleft O\n\nBo\n")
    examples = read_inputs("words.conll", problem="token_classification")
    assert rows(examples) == [(("Ann", "left"), "", "1"), (("Bo",), "", "4")]


def test_word_without_a_tag(in_folder):
    (in_folder / "a.conll").write_text("Ann B-PER\nleft\n")
    message = r"a\.conll:2: holds 'left' alone; allowed: a word and its tag, with a space or tab between them; add the"
    with pytest.raises(DataError, match=message):
        read_task("a.conll", problem="token_classification")


@pytest.mark.parametrize("content", ["", "\n\n", "-DOCSTART- O\n"])
def test_file_without_a_sentence(in_folder, content):
    (in_folder / "a.conll").write_text(content)
    with pytest.raises(DataError, match=r"a\.conll: holds no sentence; allowed: a word and its tag a line; add some"):
        read_task("a.conll", problem="token_classification")


def test_tags_are_no_labels_of_texts(in_folder):
    message = r"people\.conll: holds words with a tag each; allowed: problem=token_classification, or a model that"
    with pytest.raises(DataError, match=message):
        read_task("people.conll")
    with pytest.raises(DataError, match=message):
        read_inputs("people.conll")


def test_mistyped_file(in_folder):
    with pytest.raises(DataError, match=r"there is no file 'peple\.conll'; did you mean 'people\.conll"):
        read_task("peple.conll", problem="token_classification")


def test_column_that_such_files_lack(in_folder):
    with pytest.raises(DataError, match=r"there is no column 'tags'; known: label, text"):
        read_task("people.conll", label="tags", problem="token_classification")


def test_file_that_is_no_text(in_folder):
    (in_folder / "a.conll").write_bytes("좋은 O\n".encode("cp949"))
    with pytest.raises(DataError, match=r"a\.conll:1: the text is not UTF-8"):
        read_task("a.conll", problem="token_classification")
