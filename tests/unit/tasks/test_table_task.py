import gzip
import json
from collections import Counter
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from ptft.errors import DataError, RecipeError
from ptft.tasks import TASKS
from ptft.tasks.table import read_task, read_texts, subset
from ptft.tasks.task import Example, TaskData

MESSY = (
    "\ufeffreview,sentiment\r\n"
    '"He said ""wow"", twice",positive\r\n'
    '"first line\r\nsecond line",negative\r\n'
    "한국어 리뷰 🙂👍🏽 , positive \r\n"
    " ,negative\r\n"
    "no label here,\r\n"
    "no label there,  \r\n"
    "plain,negative\r\n"
)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return str(path)


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(folder, counts, name="a.csv"):
    """A table with so many rows of each label, in turns."""
    rows = [(number, label) for label, count in counts.items() for number in range(count)]
    return write(folder, name, "text,label\n" + "".join(f"{label} {n},{label}\n" for n, label in sorted(rows)))


def labelled(folder, *labels):
    """A .jsonl file with these labels, each twice, and a test file with one row of the first."""
    test = write(folder, "test_rows.jsonl", jsonl({"text": "t", "label": labels[0]}))
    rows = ({"text": f"text {number}", "label": label} for number, label in enumerate(labels * 2))
    return {"data": write(folder, "rows.jsonl", jsonl(*rows)), "test": test}


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_messy_table(in_folder):
    write(in_folder, "reviews.csv", MESSY)
    write(in_folder, "more.csv", "sentiment,review\npositive,fine\n")
    data, notes = read_task("reviews.csv", valid="more.csv", test="more.csv", text="review", label="sentiment")
    assert data.name == "reviews"
    assert data.labels == ("negative", "positive")
    assert data.train == (
        Example('He said "wow", twice', "positive", "", "reviews.csv:2"),
        Example("first line\r\nsecond line", "negative", "", "reviews.csv:3"),
        Example("한국어 리뷰 🙂👍🏽", "positive", "", "reviews.csv:5"),
        Example("plain", "negative", "", "reviews.csv:9"),
    )
    assert data.valid == data.tests["test"] == (Example("fine", "positive", "", "more.csv:2"),)
    assert notes == [
        "reviews.csv: 1 row without a text was left out (first: line 6)",
        "reviews.csv: 2 rows without a label were left out (first: line 7)",
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "jsonl.gz", "json", "parquet"])
def test_folder_with_three_parts(tmp_path, ending):
    for part, texts in {"train": ["a", "b", "c"], "dev": ["d", "e"], "test": ["f", "g"]}.items():
        rows = [{"text": text, "label": "xyx"[number]} for number, text in enumerate(texts)]
        mark = "\t" if "tsv" in ending else ","
        if ending == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{part}.parquet")
        elif "json" in ending:
            write(tmp_path, f"{part}.{ending}", json.dumps(rows) if ending == "json" else jsonl(*rows))
        else:
            lines = [["text", "label"], *(row.values() for row in rows)]
            write(tmp_path, f"{part}.{ending}", "".join(mark.join(line) + "\n" for line in lines))
    write(tmp_path, "notes.txt", "no table")
    data, notes = read_task(str(tmp_path))
    assert data.name == tmp_path.name
    assert [[row.text for row in rows] for rows in (data.train, data.valid, data.tests["test"])] == [
        ["a", "b", "c"],
        ["d", "e"],
        ["f", "g"],
    ]
    assert notes == []


def test_folder_without_a_training_table(tmp_path):
    write(tmp_path, "test.csv", "text,label\na,x\n")
    with pytest.raises(
        DataError, match=r": the folder holds no table named train; allowed: train, valid and test, each"
    ):
        read_task(str(tmp_path))


def test_name_drops_every_ending(tmp_path):
    assert read_task(table(tmp_path, {"x": 5, "y": 5}, "my.reviews.csv.gz"))[0].name == "my.reviews"


@pytest.mark.parametrize(
    ("columns", "given", "pair"),
    [
        ("text,b", {}, ("first", "")),
        ("text_a,text_b", {}, ("first", "second")),
        ("text,text_b", {}, ("first", "")),
        ("text,text_b", {"text_b": "text_b"}, ("first", "second")),
        ("text_b,text", {"text": "text_b"}, ("first", "")),
        ("premise,hypothesis", {"text_a": "premise", "text_b": "hypothesis"}, ("first", "second")),
        ("premise,hypothesis", {"text": "premise", "text_b": "hypothesis"}, ("first", "second")),
    ],
)
def test_columns_of_text(tmp_path, columns, given, pair):
    path = write(tmp_path, "a.csv", f"{columns},label\n" + "first,second,x\nfirst,second,y\n" * 3)
    data, _ = read_task(path, **given)
    assert (data.train[0].text, data.train[0].text_b) == pair


def test_pair_with_an_empty_text_is_left_out(in_folder):
    write(in_folder, "a.csv", "text_a,text_b,label\n" + "a,b,x\na,b,y\n" * 3 + "a,,x\n,b,y\n")
    assert "a.csv: 2 rows without a text were left out (first: line 8)" in read_task("a.csv")[1]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"text": "a", "text_a": "b"}, RecipeError, r"text is 'a' and text_a is 'b'; allowed: one of the two"),
        ({"text_a": "review"}, RecipeError, r"text_a is 'review' without text_b; allowed: both"),
        ({"text": "review", "text_b": "review"}, RecipeError, r"both texts of the pair are column 'review'"),
        ({"text": "review", "label": "review"}, RecipeError, r"label is 'review', which is a column of text too"),
        (
            {},
            DataError,
            r"a\.csv: there is no column 'text'; known: label, review; name the column of texts with text=",
        ),
        ({"text": "reviw"}, DataError, r"there is no column 'reviw'; did you mean 'review'\? Known: label, review"),
        ({"text": "review", "label": "lable"}, DataError, r"no column 'lable'; did you mean 'label'\? .*label=COLUMN"),
    ],
)
def test_wrong_columns(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        read_task(write(tmp_path, "a.csv", "review,label\na,x\nb,y\n"), **given)


def test_columns_of_the_other_parts_are_checked(tmp_path):
    test = write(tmp_path, "test.csv", "text,labels\na,x\n")
    with pytest.raises(DataError, match=r"test\.csv: there is no column 'label'; did you mean 'labels'"):
        read_task(table(tmp_path, {"x": 4, "y": 4}), test=test)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        ([10, 9], ("9", "10")),
        ([True, False], ("False", "True")),
        ([1.0, 0.0], ("0", "1")),
        (["10", "9", "many"], ("10", "9", "many")),
        (["나쁨", "좋음"], ("나쁨", "좋음")),
        (["nan", "inf"], ("inf", "nan")),
    ],
)
def test_labels_are_text_in_order(tmp_path, labels, expected):
    assert read_task(**labelled(tmp_path, *labels))[0].labels == expected


@pytest.mark.parametrize("bad", [0.5, float("nan"), "0.5", "-.25"])
def test_label_that_is_a_measure(tmp_path, bad):
    message = r"rows\.jsonl:2: column 'label' holds (0\.5|nan|-\.25), which is no class; allowed: text or whole numbers"
    with pytest.raises(DataError, match=message):
        read_task(**labelled(tmp_path, 1, bad))


def test_label_of_another_kind(tmp_path):
    with pytest.raises(DataError, match=r"rows\.jsonl:2: column 'label' holds a list; allowed: text, numbers and null"):
        read_task(**labelled(tmp_path, 1, ["x"]))


def test_column_with_too_many_labels(tmp_path):
    with pytest.raises(
        DataError, match=r"column 'label' has 1001 different values in 3003 rows and does not look like"
    ):
        read_task(table(tmp_path, {f"label{number}": 3 for number in range(1001)}))
    with pytest.raises(
        DataError, match=r"has 6 different values in 10 rows and does not look like a label; allowed: at"
    ):
        read_task(table(tmp_path, {"x": 5} | {f"label{number}": 1 for number in range(5)}))


def test_one_row_of_each_label_is_enough_to_train_with_a_test_part(tmp_path):
    names = [f"label{number}" for number in range(20)]
    test = table(tmp_path, dict.fromkeys(names, 3), "test.csv")
    data, _ = read_task(table(tmp_path, dict.fromkeys(names, 1)), valid=test, test=test)
    assert len(data.train) == len(data.labels) == 20


def test_single_label(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: column 'label' holds a single label, 'x'; allowed: two or more"):
        read_task(table(tmp_path, {"x": 9}))


def test_single_row(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: holds 1 row with text and label; allowed: 2 or more"):
        read_task(table(tmp_path, {"x": 1}))


@pytest.mark.parametrize("part", ["valid", "test"])
def test_label_that_training_rows_lack(tmp_path, part):
    other = write(tmp_path, "other.csv", 'text,label\n"a\nb",positive\nc,Negative\n')
    data = table(tmp_path, {"positive": 4, "negative": 4})
    message = (
        r"other\.csv:4: label 'Negative' does not occur in the training rows; did you mean 'negative'\? Known: neg"
    )
    with pytest.raises(DataError, match=message):
        read_task(data, **{part: other})


@pytest.mark.parametrize("part", ["data", "valid"])
def test_table_whose_rows_all_lack_something(tmp_path, part):
    empty = write(tmp_path, "empty.csv", "text,label\na,\n,x\n")
    full = table(tmp_path, {"x": 4, "y": 4})
    with pytest.raises(DataError, match=r"empty\.csv: no row has both a text and a label; fill some in"):
        read_task(**{"data": full, part: empty})


def test_parts_are_held_out_by_label(in_folder):
    table(in_folder, {"x": 100, "y": 40, "z": 4})
    data, notes = read_task("a.csv", seed=3)
    counts = [Counter(row.label for row in rows) for rows in (data.train, data.valid, data.tests["test"])]
    assert counts == [{"x": 80, "y": 32, "z": 2}, {"x": 10, "y": 4, "z": 1}, {"x": 10, "y": 4, "z": 1}]
    assert notes == ["a.csv: 144 rows were divided by label: 114 to train on, 15 for test, 15 for valid (seed 3)"]
    everything = [row.where for rows in (data.train, data.valid, data.tests["test"]) for row in rows]
    assert len(set(everything)) == 144


def test_what_is_held_out_depends_on_the_seed_alone(tmp_path):
    path = table(tmp_path, {"x": 50, "y": 50})
    assert read_task(path, seed=1)[0] == read_task(path, seed=1)[0]
    assert read_task(path, seed=1)[0].tests != read_task(path, seed=2)[0].tests


def test_rows_stay_in_the_order_of_the_file(tmp_path):
    data, _ = read_task(table(tmp_path, {"x": 50, "y": 50}))
    for rows in (data.train, data.valid, data.tests["test"]):
        lines = [int(row.where.rsplit(":", 1)[1]) for row in rows]
        assert lines == sorted(lines)


@pytest.mark.parametrize("given", ["valid", "test"])
def test_only_the_missing_part_is_held_out(in_folder, given):
    table(in_folder, {"x": 20, "y": 20})
    table(in_folder, {"x": 3, "y": 3}, "b.csv")
    data, notes = read_task("a.csv", **{given: "b.csv"})
    sizes = {"valid": len(data.valid), "test": len(data.tests["test"])}
    missing = "test" if given == "valid" else "valid"
    assert sizes == {given: 6, missing: 4}
    assert notes[0] == f"a.csv: 40 rows were divided by label: 36 to train on, 4 for {missing} (seed 0)"


def test_testing_comes_before_validation_when_rows_are_few(tmp_path):
    data, _ = read_task(table(tmp_path, {"x": 2, "y": 1}))
    assert (len(data.train), len(data.valid), len(data.tests["test"])) == (2, 0, 1)


def test_nothing_left_to_test_on(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: 2 rows, one of each label, are too few to hold some out for testing"):
        read_task(table(tmp_path, {"x": 1, "y": 1}))


def test_texts_that_are_trained_and_tested_on_are_told(in_folder):
    table(in_folder, {"x": 3, "y": 3})
    write(in_folder, "test.csv", "text,label\nx 0,x\nnew,x\n")
    _, notes = read_task("a.csv", valid="test.csv", test="test.csv")
    assert notes == ["a.csv: 1 of 2 rows for test have the text of a row to train on, which flatters the result"]


@pytest.fixture
def task_member(monkeypatch):
    class Toy:
        def data(self, seed):
            return TaskData("toy", ("x", "y"), (Example(f"seed {seed}", "x"),), (), {"test": ()})

    monkeypatch.setattr(type(TASKS), "_members", {"toy": (Toy, Path(__file__))})


def test_name_of_a_task(task_member):
    data, notes = read_task("toy", seed=7)
    assert data.train[0].text == "seed 7"
    assert notes == []


@pytest.mark.parametrize("given", [{"text": "review"}, {"label": "sentiment"}, {"valid": "a.csv"}, {"test": "a.csv"}])
def test_settings_without_effect_on_a_task(task_member, given):
    ((setting, value),) = given.items()
    with pytest.raises(RecipeError, match=rf"{setting} is '{value}' but has no effect: task 'toy' has rows of its own"):
        read_task("toy", **given)


def test_unknown_name(task_member, monkeypatch):
    def unreachable(path, config):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    message = r"'tyo' is neither a file or folder.*, nor a data set that can be reached .*; nor is it a task; .*toy"
    with pytest.raises(DataError, match=message):
        read_task("tyo")


def test_missing_file_is_not_looked_for_on_the_hub(tmp_path):
    table(tmp_path, {"x": 1}, "reviews.csv")
    with pytest.raises(DataError, match=r"there is no file '.*/reviws\.csv'; did you mean '.*/reviews\.csv'"):
        read_task(str(tmp_path / "reviws.csv"))


def saved(folder, **splits):
    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    parts = {
        split: datasets.Dataset.from_dict(
            {"text": [f"{split} {number}" for number in range(len(labels))], "label": labels}, features=features
        )
        for split, labels in splits.items()
    }
    datasets.DatasetDict(parts).save_to_disk(folder / "saved")
    return str(folder / "saved")


def test_data_set_with_names_of_labels(tmp_path):
    path = saved(tmp_path, train=[0, 1, 1], validation=[1], test=[0])
    data, notes = read_task(path)
    assert data.labels == ("neg", "pos")
    assert [row.label for row in data.train] == ["neg", "pos", "pos"]
    assert data.train[1].where == f"{path}[train] row 2"
    assert [row.text for row in (*data.valid, *data.tests["test"])] == ["validation 0", "test 0"]
    assert notes == []


def test_data_set_that_keeps_its_test_labels_secret(tmp_path):
    path = saved(tmp_path, train=[0, 1] * 10, validation=[1], test=[-1, -1])
    data, notes = read_task(path)
    assert [row.text.split()[0] for row in data.tests["test"]] == ["train", "train"]
    assert notes == [
        f"{path}[test]: 2 rows without a label were left out (first: row 1)",
        f"{path}[train]: 20 rows were divided by label: 18 to train on, 2 for test (seed 0)",
    ]


def test_data_set_of_a_single_split(tmp_path):
    data, _ = read_task(saved(tmp_path, everything=[0, 1] * 10))
    assert (len(data.train), len(data.valid), len(data.tests["test"])) == (16, 2, 2)


def task_data(**counts):
    rows = [Example(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]
    return TaskData("toy", tuple(counts), tuple(rows), tuple(rows[:1]), {"test": tuple(rows[:2])})


def test_subsets_are_nested_and_leave_the_other_parts():
    data = task_data(x=50, y=50)
    small, large = subset(data, 16, seed=1), subset(data, 64, seed=1)
    assert small.train == large.train[:16]
    assert len(set(large.train)) == 64
    assert (small.valid, small.tests, small.labels) == (data.valid, data.tests, data.labels)


def test_subset_depends_on_the_seed_alone():
    data = task_data(x=50, y=50)
    assert subset(data, 16, 1) == subset(data, 16, 1)
    assert set(subset(data, 16, 1).train) != set(subset(data, 16, 2).train)


@pytest.mark.parametrize("seed", range(3))
def test_subset_begins_with_each_label_and_keeps_proportions(seed):
    data = task_data(a=600, b=300, c=99, d=1)
    assert {row.label for row in subset(data, 4, seed).train} == {"a", "b", "c", "d"}
    counts = Counter(row.label for row in subset(data, 100, seed).train)
    assert counts["d"] == 1
    assert all(abs(counts[label] - share) <= 2 for label, share in {"a": 60, "b": 30, "c": 10}.items())


def test_subset_of_balanced_labels_is_balanced():
    counts = Counter(row.label for row in subset(task_data(a=50, b=50, c=50, d=50), 16, 0).train)
    assert set(counts.values()) == {4}


def test_subset_of_everything_is_a_reordering():
    data = task_data(x=5, y=7)
    assert sorted(subset(data, 12, 0).train, key=str) == sorted(data.train, key=str)


@pytest.mark.parametrize("wanted", [0, -1, 101])
def test_subset_larger_than_the_data(wanted):
    with pytest.raises(DataError, match=rf"{wanted} labelled rows are wanted of toy; allowed: 1 to 100, the number of"):
        subset(task_data(x=50, y=50), wanted, 0)


def test_texts_without_labels(tmp_path):
    path = write(tmp_path, "a.csv", 'text,id\n" one\ntwo ",1\n,2\nthree,3\n')
    assert read_texts(path) == [(f"{path}:2", "one\ntwo", ""), (f"{path}:4", "", ""), (f"{path}:5", "three", "")]


def test_pairs_without_labels(tmp_path):
    path = write(tmp_path, "a.jsonl", jsonl({"text_a": "one", "text_b": "two"}, {"text_a": "three"}))
    assert read_texts(path) == [(f"{path}:1", "one", "two"), (f"{path}:2", "three", "")]


def test_lines_of_text_without_labels(tmp_path):
    path = write(tmp_path, "a.txt.gz", "one \n\n둘\n")
    assert read_texts(path) == [(f"{path}:1", "one", ""), (f"{path}:2", "", ""), (f"{path}:3", "둘", "")]


def test_columns_of_a_text_file(tmp_path):
    with pytest.raises(
        RecipeError, match=r"text is 'review' but has no effect: .*a\.txt has no columns; leave text out"
    ):
        read_texts(write(tmp_path, "a.txt", "one"), text="review")


@pytest.mark.parametrize(("name", "content"), [("a.txt", "\n \n"), ("a.csv", "text,label\n,x\n")])
def test_file_without_any_text(tmp_path, name, content):
    with pytest.raises(DataError, match=rf"{name}: holds no text; allowed: at least one row with text"):
        read_texts(write(tmp_path, name, content))


def test_missing_file_of_texts(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_texts(str(tmp_path / "a.csv"))
