import gzip
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from ptft.config import load
from ptft.corpus import embedded
from ptft.corpus.sources import CorpusSettings, Part, describe, documents, fingerprint
from ptft.errors import DataError, RecipeError

TEXT = "  One sentence. \nTwo.\n\n\n \t \nThree.\n"
DOCUMENTS = [["One sentence.", "Two."], ["Three."]]


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def settings(path, **others):
    return CorpusSettings(path=str(path), **{"valid_ratio": 0.0, **others})


def read(path, split="train", seed=0, **others):
    return list(documents(settings(path, **others), split, seed))


def numbered(folder, count):
    return write(folder, "a.txt", "\n\n".join(f"Document {number}." for number in range(count)))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"body": ["One.\nTwo.", "", None, "Three."], "n": [1, 2, 3, 4]})
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=rows, validation=rows.select([0]), extra=rows.select([3])).save_to_disk(
        tmp_path / "more"
    )
    return tmp_path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_line_is_a_sentence_and_a_blank_line_ends_the_document(tmp_path, name):
    assert read(write(tmp_path, name, TEXT)) == DOCUMENTS


def test_windows_text_with_a_byte_order_mark(tmp_path):
    assert read(write(tmp_path, "a.txt", "\ufeff" + TEXT.replace("\n", "\r\n"))) == DOCUMENTS


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_a_text_cell_is_a_document_and_its_lines_are_sentences(tmp_path, name):
    cells = ["One sentence.\r\n\r\n Two. ", "", "  ", "Three."]
    path = tmp_path / name
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": cells}), path)
    elif "json" in name:
        lines = [json.dumps({"text": cell}) for cell in cells]
        write(tmp_path, name, f"[{','.join(lines)}]" if name == "a.json" else "\n".join(lines))
    else:
        tab = "\t" if "tsv" in name else ","
        write(tmp_path, name, "".join(f'{id}{tab}"{cell}"\n' for id, cell in [("id", "text"), *enumerate(cells)]))
    assert read(path) == DOCUMENTS


def test_cells_that_are_null_or_numbers(tmp_path):
    assert read(write(tmp_path, "a.jsonl", '{"text": null}\n{"text": 7}\n{}\n')) == [["7"]]


def test_another_text_column(tmp_path):
    assert read(write(tmp_path, "a.csv", "text,review\nno,yes\n"), text="review") == [["yes"]]


def test_wrong_text_column(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"texts": "One."}')
    with pytest.raises(DataError, match=r"a\.jsonl: there is no column 'text'; did you mean 'texts'\?"):
        read(path)


def test_folder_with_train_and_valid_files(tmp_path):
    write(tmp_path, "train.txt.gz", "Train.\n")
    write(tmp_path, "dev.txt", "Valid.\n")
    write(tmp_path, "test.txt", "Test.\n")
    write(tmp_path, "docs.jsonl.gz", "{}\n")
    assert read(tmp_path, valid_ratio=0.01) == [["Train."]]
    assert read(tmp_path, "valid", valid_ratio=0.01) == [["Valid."]]


def test_folder_with_a_train_file_only_holds_documents_out(tmp_path):
    write(tmp_path, "train.txt", "One.\n\nTwo.\n")
    assert sorted(read(tmp_path, valid_ratio=0.01) + read(tmp_path, "valid", valid_ratio=0.01)) == [["One."], ["Two."]]


def test_folder_without_a_train_file_is_one_corpus_in_order_of_names(tmp_path):
    for name in ["b.txt", "a/z.txt.gz", "a/train.txt", "c.TXT"]:
        write(tmp_path, name, f"{name} one.\n{name} two.")
    for name in [".hidden.txt", ".git/x.txt", "readme.md", "meta.json"]:
        write(tmp_path, name, "Not wanted.")
    write(tmp_path, "a.csv", "text\ntable\n")
    names = ["a.csv", "a/train.txt", "a/z.txt.gz", "b.txt", "c.TXT"]
    wanted = [["table"] if name == "a.csv" else [f"{name} one.", f"{name} two."] for name in names]
    assert read(tmp_path) == wanted


@pytest.mark.parametrize("names", [("train.txt", "train.jsonl"), ("train.txt", "dev.txt", "valid.txt")])
def test_two_files_for_one_part(tmp_path, names):
    for name in names:
        write(tmp_path, name, "")
    with pytest.raises(
        DataError, match=rf"both claim to be the {'valid' if len(names) > 2 else 'train'} part; allowed"
    ):
        read(tmp_path)


def test_folder_without_text(tmp_path):
    write(tmp_path, "readme.md", "Text.")
    with pytest.raises(DataError, match=r": the folder holds no text file; allowed: \.txt, .*, each also with \.gz"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("content", ["", "\n\n", " \t\n\u3000\n"])
def test_corpus_without_a_sentence(tmp_path, name, content):
    stream = documents(settings(write(tmp_path, name, content)), "train", 0)
    with pytest.raises(DataError, match=r"a\.txt.* \(0\.0 MB\): the corpus holds no sentence; allowed: text; name an"):
        next(stream)


def test_validation_file_without_a_sentence(tmp_path):
    write(tmp_path, "train.txt", "One.\n")
    write(tmp_path, "valid.txt", "\n")
    with pytest.raises(DataError, match="valid part: the corpus holds no sentence"):
        read(tmp_path, "valid", valid_ratio=0.01)


def test_missing_file_is_told_on_the_call(tmp_path):
    write(tmp_path, "reviews.txt", "One.")
    with pytest.raises(DataError, match=r"there is no file .*; did you mean '.*reviews\.txt'\?"):
        documents(settings(tmp_path / "reviws.txt"), "train", 0)


def test_empty_path_is_not_the_working_folder():
    with pytest.raises(DataError, match="there is no file ''"):
        documents(settings(""), "train", 0)


def test_file_of_another_kind(tmp_path):
    with pytest.raises(DataError, match=r"a\.pdf: not a table that can be read; allowed: "):
        read(write(tmp_path, "a.pdf", "One."))


def test_held_out_documents_are_parted_by_number_and_seed(tmp_path):
    path = numbered(tmp_path, 2000)
    train, valid = (read(path, split, seed=3, valid_ratio=0.1) for split in ("train", "valid"))
    everything = read(path)
    assert sorted(train + valid) == sorted(everything)
    assert train == [document for document in everything if document in train]
    assert 150 < len(valid) < 250
    assert valid != read(path, "valid", seed=4, valid_ratio=0.1)
    assert valid == read(path, "valid", seed=3, valid_ratio=0.1)


def test_documents_added_at_the_end_move_no_other(tmp_path):
    few = read(numbered(tmp_path / "few", 100) if (tmp_path / "few").mkdir() is None else "", "valid", valid_ratio=0.2)
    many = read(numbered(tmp_path, 300), "valid", valid_ratio=0.2)
    assert many[: len(few)] == few


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("count", "ratio"), [(2, 0.01), (2, 0.99), (3, 0.001), (30, 0.99)])
def test_no_part_is_empty_with_two_documents_or_more(tmp_path, seed, count, ratio):
    path = numbered(tmp_path, count)
    train, valid = (read(path, split, seed=seed, valid_ratio=ratio) for split in ("train", "valid"))
    assert len(train) + len(valid) == count
    assert train
    assert valid


def test_which_of_the_first_two_is_held_out_depends_on_the_seed(tmp_path):
    path = numbered(tmp_path, 2)
    assert len({str(read(path, "valid", seed=seed, valid_ratio=0.01)) for seed in range(8)}) == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_single_document_is_trained_on(tmp_path, seed):
    path = numbered(tmp_path, 1)
    assert read(path, seed=seed, valid_ratio=0.5) == [["Document 0."]]
    assert read(path, "valid", seed=seed, valid_ratio=0.5) == []


def test_nothing_is_held_out_at_ratio_zero(tmp_path):
    path = numbered(tmp_path, 50)
    assert len(read(path)) == 50
    assert read(path, "valid") == []


@pytest.mark.parametrize(
    ("path", "kind"), [("embedded", "prose"), ("embedded:prose", "prose"), ("embedded:lists", "lists")]
)
def test_embedded_corpus(path, kind):
    for split in ("train", "valid"):
        stream = documents(CorpusSettings(path=path), split, 5)
        ours = [next(stream) for _ in range(20)]
        theirs = embedded.documents(kind, split, 5)
        assert ours == [next(theirs) for _ in range(20)]


def test_unknown_embedded_corpus():
    with pytest.raises(RecipeError, match="unknown kind 'list'; did you mean 'lists'"):
        documents(CorpusSettings(path="embedded:list"), "train", 0)


def test_saved_data_set(saved):
    assert read(saved / "one", text="body") == [["One.", "Two."], ["Three."]]


def test_saved_data_sets_with_splits(saved):
    others = {"text": "body", "valid_ratio": 0.01}
    assert read(saved / "more", split="train", **others) == [["One.", "Two."], ["Three."]]
    assert read(saved / "more", "valid", **others) == [["One.", "Two."]]
    chosen = CorpusSettings(path=str(saved / "more"), text="body", split="extra")
    assert list(documents(chosen, "train", 0)) == [["Three."]]


def test_saved_data_set_with_another_split_or_column(saved):
    path = str(saved / "more")
    with pytest.raises(DataError, match=r"data set '.*more' has no split 'trian'; did you mean 'train'\? Known: extra"):
        list(documents(CorpusSettings(path=path, split="trian", text="body"), "train", 0))
    with pytest.raises(DataError, match=r"more\[train\]: there is no column 'text'; known: body, n"):
        list(documents(CorpusSettings(path=path), "train", 0))


def test_damaged_saved_data_set(saved):
    (saved / "one" / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"one: the saved data set cannot be opened \(.*\); save it anew"):
        read(saved / "one")


def test_name_that_is_no_path_and_cannot_be_reached(monkeypatch):
    def unreachable(path, config):
        raise ConnectionError(f"Couldn't reach '{path}'\non the Hub")

    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    message = (
        r"'nobody/nothing:en' is neither a file or folder, nor a data set that can "
        r"be reached \(ConnectionError: Couldn't reach 'nobody/nothing' on the Hub\); check the name, or the network"
    )
    with pytest.raises(DataError, match=message):
        documents(settings("nobody/nothing:en"), "train", 0)


def test_name_on_the_hub_with_its_config(monkeypatch):
    rows = datasets.Dataset.from_dict({"text": ["One.", "Two."]})
    asked = []

    def loaded(path, config, split, streaming):
        asked.append((path, config, split, streaming))
        return rows.to_iterable_dataset() if streaming else rows

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path, config: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", loaded)
    assert read("somebody/something:en") == [["One."], ["Two."]]
    assert read("somebody/something:en", streaming=True) == [["One."], ["Two."]]
    assert asked == [("somebody/something", "en", "train", False), ("somebody/something", "en", "train", True)]


def test_a_stream_of_the_hub_without_named_columns_is_known_by_its_commit(monkeypatch):
    class Builder:
        hash = "commit 1"

    def loaded(path, config, split, streaming):
        assert streaming, "nothing may be stored"
        return datasets.IterableDataset.from_generator(
            lambda: iter([{"text": "One.", "n": 1}, {"text": "Two.", "n": 2}])
        )

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path, config: ["train"])
    monkeypatch.setattr(datasets, "load_dataset", loaded)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda path, config: Builder())
    assert read("somebody/something", streaming=True) == [["One."], ["Two."]]
    assert read("somebody/something", streaming=True, limit=1) == [["One."]]
    first = fingerprint(settings("somebody/something", streaming=True), "train", 0)
    assert fingerprint(settings("somebody/something", streaming=True), "train", 0) == first
    Builder.hash = "commit 2"
    assert fingerprint(settings("somebody/something", streaming=True), "train", 0) != first


@pytest.mark.parametrize(
    ("path", "others", "message"),
    [
        (
            "embedded",
            {"text": "body"},
            r"corpus\.text is 'body' but has no effect on 'embedded': the embedded corpus has",
        ),
        ("embedded", {"valid_ratio": 0.5}, r"corpus\.valid_ratio is 0\.5 .*; leave corpus\.valid_ratio out"),
        ("a.txt", {"text": "body"}, r"corpus\.text is 'body' .*: text files have no columns"),
        ("a.txt", {"split": "test"}, r"corpus\.split is 'test' .*: only data sets of the datasets library have"),
        (
            "a.txt",
            {"streaming": True},
            r"corpus\.streaming is True .*: only data sets of the Hub would be stored first",
        ),
        ("more", {"streaming": True}, r"corpus\.streaming is True .*: only data sets of the Hub would be stored first"),
        ("embedded", {"similarity": 0.9}, r"corpus\.similarity is 0\.9 .*: only corpus\.duplicates=near compares"),
        ("embedded", {"contaminated": "drop"}, r"corpus\.contaminated is 'drop' .*: corpus\.decontaminate names noth"),
        ("a.txt", {"parts": {"one": Part(path="a.txt")}}, r"corpus\.path is 'a\.txt' .*: corpus\.parts say what is r"),
        (
            "embedded",
            {"parts": {"one": Part(path="a.txt", text="b")}},
            r"corpus\.parts\.one\.text is 'b' .*'a\.txt': te",
        ),
        (".", {"valid_ratio": 0.5}, r"corpus\.valid_ratio is 0\.5 .*: it brings what is held out \(valid\.txt\); l"),
        ("more", {"valid_ratio": 0.5}, r"corpus\.valid_ratio is 0\.5 .*: it brings what is held out \(validation\); l"),
    ],
)
def test_settings_without_effect(saved, monkeypatch, path, others, message):
    monkeypatch.chdir(saved)
    for name in ("a.txt", "train.txt", "valid.txt"):
        write(saved, name, "One.")
    with pytest.raises(RecipeError, match=message):
        documents(CorpusSettings(path=path, **others), "train", 0)


def test_fingerprint_follows_bytes_not_names(tmp_path):
    one, same, other = (write(tmp_path, f"{n}.txt", text) for n, text in enumerate(["One.\n", "One.\n", "Two.\n"]))
    prints = [fingerprint(settings(path), "train", 0) for path in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]
    assert all(len(print) == 64 for print in prints)


def test_fingerprint_follows_what_is_held_out_and_the_column(tmp_path):
    path = write(tmp_path, "a.csv", "text,body\na,b\nc,d\n")
    arguments = [
        (settings(path), "train", 0),
        (settings(path), "valid", 0),
        (settings(path, valid_ratio=0.1), "train", 0),
        (settings(path, valid_ratio=0.1), "valid", 0),
        (settings(path, valid_ratio=0.1), "train", 1),
        (settings(path, valid_ratio=0.2), "train", 0),
        (settings(path, text="body"), "train", 0),
    ]
    assert len({fingerprint(*each) for each in arguments}) == len(arguments)
    assert fingerprint(settings(path), "train", 0) == fingerprint(settings(path), "train", 1)


def test_fingerprint_of_a_folder_follows_the_part_alone(tmp_path):
    write(tmp_path, "train.txt", "One.")
    write(tmp_path, "valid.txt", "Two.")
    corpus = CorpusSettings(path=str(tmp_path))
    before = [fingerprint(corpus, split, 0) for split in ("train", "valid")]
    write(tmp_path, "valid.txt", "Three.")
    after = [fingerprint(corpus, split, 1) for split in ("train", "valid")]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_fingerprint_of_the_embedded_corpus():
    corpus = CorpusSettings(path="embedded")
    prints = [fingerprint(corpus, "valid", 0), fingerprint(corpus, "valid", 1)]
    prints.append(fingerprint(CorpusSettings(path="embedded:lists"), "valid", 0))
    assert len(set(prints)) == 3
    assert fingerprint(corpus, "valid", 0) == prints[0]


def test_fingerprint_of_a_data_set(saved):
    corpus = CorpusSettings(path=str(saved / "more"), text="body")
    assert fingerprint(corpus, "train", 0) == fingerprint(corpus, "train", 1) != fingerprint(corpus, "valid", 0)


def test_description_says_what_is_read_and_held_out(saved, tmp_path):
    path = write(tmp_path, "a.txt", "x" * 2_100_000)
    assert describe(settings(path, valid_ratio=0.015)) == f"{path} (2.1 MB); held out: 1.50% of the documents"
    assert describe(CorpusSettings()) == "the embedded corpus (prose); held out: documents of its own"
    folder = path.parent / "folder"
    write(folder, "b.txt", "One.")
    assert describe(settings(folder)).startswith(f"1 files below {folder} (0.0 MB)")
    write(folder, "train.txt", "One.")
    write(folder, "valid.txt", "One.")
    described = describe(CorpusSettings(path=str(folder)))
    assert described == f"{folder / 'train.txt'} (0.0 MB); held out: {folder / 'valid.txt'}"
    more = CorpusSettings(path=str(saved / "more"), text="body")
    assert describe(more) == f"data set {saved / 'more'}, split train; held out: validation"


def test_settings_are_ranged():
    with pytest.raises(RecipeError, match="valid_ratio"):
        load(CorpusSettings, overrides=["valid_ratio=1.0"])
