import gzip
import json
from collections import Counter

import datasets
import pytest

from ptft.errors import DataError, RecipeError
from ptft.tasks.table import read_inputs, read_task, subset
from ptft.tasks.task import Example, TaskData


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


@pytest.fixture
def task_member(monkeypatch):
    class Toy:
        def data(self, seed):
            return TaskData("toy", ("x", "y"), (Example(f"seed {seed}", "x"),), (), {"test": ()})

    for module in ("table", "table_source"):
        monkeypatch.setattr(f"ptft.tasks.{module}.TASKS", {"toy": Toy})


def told(path):
    """Where each input stands, and its texts."""
    return [(row.where, row.text, row.text_b) for row in read_inputs(path)]


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


def test_data_set_on_the_hub(monkeypatch):
    rows = datasets.Dataset.from_dict({"text": [f"text {number}" for number in range(20)], "label": [0, 1] * 10})
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path, config: ["train"])
    monkeypatch.setattr(datasets, "load_dataset", lambda path, config, split, streaming: rows)
    data, _ = read_task("somebody/something:en")
    assert data.name == "somebody/something:en"
    assert data.labels == ("0", "1")


def test_no_data_is_not_the_working_folder():
    with pytest.raises(DataError, match="there is no file ''"):
        read_task("")


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
    assert told(path) == [
        (f"{path}:2", "one\ntwo", ""),
        (f"{path}:4", "", ""),
        (f"{path}:5", "three", ""),
    ]


def test_pairs_without_labels(tmp_path):
    path = write(tmp_path, "a.jsonl", jsonl({"text_a": "one", "text_b": "two"}, {"text_a": "three"}))
    assert told(path) == [
        (f"{path}:1", "one", "two"),
        (f"{path}:2", "three", ""),
    ]


def test_lines_of_text_without_labels(tmp_path):
    path = write(tmp_path, "a.txt.gz", "one \n\n둘\n")
    assert told(path) == [
        (f"{path}:1", "one", ""),
        (f"{path}:2", "", ""),
        (f"{path}:3", "둘", ""),
    ]


def test_columns_of_a_text_file(tmp_path):
    with pytest.raises(
        RecipeError, match=r"text is 'review' but has no effect: .*a\.txt has no columns; leave text out"
    ):
        read_inputs(write(tmp_path, "a.txt", "one"), text="review")


@pytest.mark.parametrize(("name", "content"), [("a.txt", "\n \n"), ("a.csv", "text,label\n,x\n")])
def test_file_without_any_text(tmp_path, name, content):
    with pytest.raises(DataError, match=rf"{name}: holds no text; allowed: at least one row with text"):
        read_inputs(write(tmp_path, name, content))


def test_missing_file_of_texts(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_inputs(str(tmp_path / "a.csv"))
