import gzip
import json
from collections import Counter

import pyarrow
import pyarrow.parquet
import pytest

from ptft.errors import DataError, RecipeError
from ptft.tasks.table import read_task
from ptft.tasks.task import Example

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
    write(in_folder, "test.csv", "sentiment,review\nnegative,poor\n")
    data, notes = read_task("reviews.csv", valid="more.csv", test="test.csv", text="review", label="sentiment")
    assert data.name == "reviews"
    assert data.labels == ("negative", "positive")
    assert data.train == (
        Example('He said "wow", twice', "positive", "", "reviews.csv:2"),
        Example("first line\r\nsecond line", "negative", "", "reviews.csv:3"),
        Example("한국어 리뷰 🙂👍🏽", "positive", "", "reviews.csv:5"),
        Example("plain", "negative", "", "reviews.csv:9"),
    )
    assert data.valid == (Example("fine", "positive", "", "more.csv:2"),)
    assert data.tests["test"] == (Example("poor", "negative", "", "test.csv:2"),)
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
        (["none", "inf"], ("inf", "none")),
        (["1.0", "0.0", "1", "-2."], ("-2", "0", "1")),
        (["01.0", "2.0"], ("01", "2")),
        (["3.0", "many"], ("3.0", "many")),
    ],
)
def test_labels_are_text_in_order(tmp_path, labels, expected):
    assert read_task(**labelled(tmp_path, *labels))[0].labels == expected


@pytest.mark.parametrize("bad", [0.5, float("nan"), "0.5", "-.25"])
def test_label_that_is_a_measure(tmp_path, bad):
    message = r"rows\.jsonl:2: column 'label' holds (0\.5|nan|-\.25), which is no class; allowed: text or whole numbers"
    with pytest.raises(DataError, match=message):
        read_task(**labelled(tmp_path, 1, bad))


@pytest.mark.parametrize("labels", [["neg", "pos", "nan"], ["0.0", "1.0", "NaN"], ["x", "<NA>"], ["1", "2", "n/a"]])
def test_label_that_stands_for_none(tmp_path, labels):
    rows = "".join(f"text {n},{label}\n" for n, label in enumerate(labels * 3))
    message = rf"a\.csv:{len(labels) + 1}: column 'label' holds '{labels[-1]}', which stands for no label; allowed: .*"
    with pytest.raises(DataError, match=message):
        read_task(write(tmp_path, "a.csv", f"text,label\n{rows}"))


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
    valid, test = (table(tmp_path, dict.fromkeys(names, 3), f"{part}.csv") for part in ("valid", "test"))
    data, _ = read_task(table(tmp_path, dict.fromkeys(names, 1)), valid=valid, test=test)
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


def test_texts_that_two_parts_have_are_told(in_folder):
    table(in_folder, {"x": 3, "y": 3})
    write(in_folder, "valid.csv", "text,label\nx 0,x\nx 1,x\nnew,x\n")
    write(in_folder, "test.csv", "text,label\nx 0,x\nnew,x\nnewer,x\n")
    _, notes = read_task("a.csv", valid="valid.csv", test="test.csv")
    assert notes == [
        "a.csv: 1 of 3 rows for test have the text of a row to train on, which flatters the result",
        "a.csv: 2 of 3 rows for valid have the text of a row to train on, which flatters what is chosen by them",
        "a.csv: 2 of 3 rows for test have the text of a row for valid, which flatters the result of what is chosen "
        "there",
    ]


def test_rows_held_out_of_the_table_for_validation_are_told(in_folder):
    table(in_folder, {"x": 20, "y": 20})
    notes = read_task("a.csv", valid="a.csv")[1]
    assert "a.csv: 4 of 4 rows for test have the text of a row for valid" in notes[-1]


def test_one_table_for_validation_and_testing(in_folder):
    table(in_folder, {"x": 3, "y": 3}, "train.csv")
    table(in_folder, {"x": 3, "y": 3}, "test.csv")
    for given in ({"data": "train.csv", "test": "test.csv"}, {"data": "."}):
        with pytest.raises(RecipeError, match=r"valid and test are both '(\./)?test\.csv'; allowed: two tables, since"):
            read_task(**given, valid="./test.csv")
