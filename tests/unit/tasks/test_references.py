import json

import pytest

from ptft.errors import DataError, RecipeError
from ptft.tasks.references import read_references


@pytest.fixture
def table(tmp_path):
    """Writes rows to a table and tells its path."""

    def write(*rows, name="a.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def told(examples):
    return [(example.text, example.text_b, example.label) for example in examples]


def test_a_reference_is_a_cell_or_a_list_of_them(table):
    path = table(
        {"text": " Long text. ", "label": " short "},
        {"text": "Another.", "label": ["one", " two ", "one", "", None]},
        {"text": "How many?", "label": 4},
        {"text": "How much?", "label": [4.0, 4.5]},
    )
    examples, notes = read_references(path)
    assert told(examples) == [
        ("Long text.", "", ("short",)),
        ("Another.", "", ("one", "two")),
        ("How many?", "", ("4",)),
        ("How much?", "", ("4", "4.5")),
    ]
    assert [(example.where, example.row) for example in examples][1] == (f"{path}:2", 2)
    assert notes == []


def test_columns_have_the_settings_of_labelled_tables(table):
    path = table({"context": "It rained.", "question": "Did it?", "answers": ["yes"]})
    examples, _ = read_references(path, text_a="context", text_b="question", label="answers")
    assert told(examples) == [("It rained.", "Did it?", ("yes",))]


def test_rows_that_lack_something_are_left_out_and_told(table):
    path = table(
        {"text": "a", "label": "x"},
        {"text": "", "label": "x"},
        {"text": "b", "label": []},
        {"text": "c", "label": None},
        {"text": "d", "label": float("nan")},
    )
    examples, notes = read_references(path)
    assert told(examples) == [("a", "", ("x",))]
    assert notes == [
        f"{path}: 1 row without a text was left out (first: line 2)",
        f"{path}: 3 rows without a reference were left out (first: line 3)",
    ]


def test_a_folder_brings_rows_to_ask_about_and_to_show(table, tmp_path):
    table({"text": "a", "label": "x"}, name="train.jsonl")
    table({"text": "b", "label": "y"}, name="test.jsonl")
    assert told(read_references(str(tmp_path))[0]) == [("b", "", ("y",))]
    assert told(read_references(str(tmp_path), split="train")[0]) == [("a", "", ("x",))]
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(DataError, match="has no test rows of its own; name a table"):
        read_references(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "settings", "error", "match"),
    [
        ({"text": "a", "summary": "x"}, {}, DataError, "no column 'label'.*; name the column of references with label"),
        ({"body": "a", "label": "x"}, {}, DataError, "no column 'text'.*; name the column of texts with text=COLUMN"),
        ({"text": "a", "label": ""}, {}, DataError, "no row has both a text and a reference; fill some in"),
        ({"text": "a", "label": "x"}, {"label": "text"}, RecipeError, "label is 'text', which is a column of text too"),
        ({"text": "a", "label": {"n": 1}}, {}, DataError, "column 'label' holds a dict; allowed: text, numbers"),
        ({"text": "a", "label": "x"}, {"text_a": "text"}, RecipeError, "text_a is 'text' without text_b"),
    ],
)
def test_what_cannot_be_used_is_refused(table, row, settings, error, match):
    with pytest.raises(error, match=match):
        read_references(table(row), **settings)


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"the table has columns \(text, label\) and no rows"):
        read_references(str(tmp_path / "a.csv"))
