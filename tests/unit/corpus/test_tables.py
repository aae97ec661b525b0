import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from ptft.corpus.tables import check_columns, checked_cell, column_names, read_rows
from ptft.errors import DataError

MESSY = (
    "\ufeffreview,sentiment,id\r\n"
    '"He said ""wow"", twice",positive,1\r\n'
    '"first line\r\nsecond line\r\n\r\nlast line",negative,2\r\n'
    "한국어 리뷰 🙂👍🏽,positive,3\r\n"
    ",negative,4\r\n"
    "no label here,,5\r\n"
    "5\" disk is 'old',negative,6\r\n"
)


def write(folder, name, content):
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(path, *columns):
    """Rows with the place cut down to what follows the file's name."""
    return [(row.where.removeprefix(str(path)), *row.values.values()) for row in read_rows(path, columns)]


def test_messy_csv_is_read_cell_by_cell(tmp_path):
    assert rows(write(tmp_path, "reviews.csv", MESSY), "review", "sentiment") == [
        (":2", 'He said "wow", twice', "positive"),
        (":3", "first line\r\nsecond line\r\n\r\nlast line", "negative"),
        (":7", "한국어 리뷰 🙂👍🏽", "positive"),
        (":8", "", "negative"),
        (":9", "no label here", ""),
        (":10", "5\" disk is 'old'", "negative"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_csv_lines_are_counted_with_every_line_end(tmp_path, end):
    path = write(tmp_path, "a.csv", end.join(["text,label", f'"a{end}b",x', "", "c,y"]))
    assert rows(path, "text", "label") == [(":2", f"a{end}b", "x"), (":5", "c", "y")]


def test_csv_gz(tmp_path):
    assert rows(write(tmp_path, "a.csv.gz", MESSY), "id") == [
        (f":{n}", v) for n, v in zip((2, 3, 7, 8, 9, 10), "123456", strict=True)
    ]


def test_only_wanted_columns_in_the_order_asked(tmp_path):
    (row,) = read_rows(write(tmp_path, "a.csv", "a,b,c\n1,2,3\n"), ["c", "a", "c"])
    assert row.values == {"c": "3", "a": "1"}
    assert list(row.values) == ["c", "a"]


@pytest.mark.parametrize(("header", "row"), [("text;label", "a, b;x"), ("text\tlabel", "a, b\tx")])
def test_csv_with_another_separator(tmp_path, header, row):
    assert rows(write(tmp_path, "a.csv", f"{header}\n{row}\n"), "text", "label") == [(":2", "a, b", "x")]


def test_csv_of_one_column(tmp_path):
    assert rows(write(tmp_path, "a.csv", 'text\none\n\n"two, three"\n   \n'), "text") == [
        (":2", "one"),
        (":4", "two, three"),
    ]


def test_spaces_around_column_names_do_not_count(tmp_path):
    assert column_names(write(tmp_path, "a.csv", "text , label\na,x\n")) == ["text", "label"]


def test_csv_cell_of_a_million_characters(tmp_path):
    assert rows(write(tmp_path, "a.csv", f'text,label\n"{"long, " * 200_000}",x\n'), "label") == [(":2", "x")]


def test_columns_of_each_format(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    assert column_names(tmp_path / "a.parquet") == ["text", "label"]
    assert column_names(write(tmp_path, "a.tsv", "\ufefftext\tlabel\n")) == ["text", "label"]
    assert column_names(write(tmp_path, "a.jsonl", '{"text": "a"}\n{"label": 1, "text": "b"}\n')) == ["text", "label"]
    assert column_names(write(tmp_path, "a.json", '[{"text": "a"}, {"label": 1}]')) == ["text", "label"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_unknown_column_tells_the_nearest(tmp_path, name):
    table = {"review": ["good"], "sentiment": ["positive"]}
    path = tmp_path / name
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.table(table), path)
    elif "json" in name:
        row = json.dumps({"review": "good", "sentiment": "positive"})
        write(tmp_path, name, row if name == "a.jsonl" else f"[{row}]")
    else:
        write(tmp_path, name, "review,sentiment\ngood,positive\n".replace(",", "," if name == "a.csv" else "\t"))
    message = rf"{name}: there is no column 'sentimnt'; did you mean 'sentiment'\? Known: review, sentiment"
    with pytest.raises(DataError, match=message):
        rows(path, "sentimnt")


def test_columns_that_are_texts_are_shortened():
    with pytest.raises(DataError, match=r"there is no column 'text'; known: (x{39}…(, )?){30}$"):
        check_columns("a.csv", ["x" * 500] * 50, ["text"])


def test_ragged_row(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"a\nb",x\nno, quotes,y\n')
    with pytest.raises(DataError, match=r"a\.csv:4: the row has 3 cells where the header has 2 \(text, label\); put a"):
        rows(path, "text")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_column_named_twice(tmp_path, name):
    content = "text,label,text,,\n".replace(",", "," if name == "a.csv" else "\t")
    with pytest.raises(DataError, match=rf"{name}:1: two columns are named 'text'; give each column"):
        rows(write(tmp_path, name, content), "text")


def test_nameless_columns_of_spreadsheets_are_allowed(tmp_path):
    assert rows(write(tmp_path, "a.csv", "text,label,,\na,x,,\n"), "label") == [(":2", "x")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n"])
def test_empty_file(tmp_path, name, content):
    with pytest.raises(DataError, match=rf"{name}(: the file is empty|:\d: not JSON)"):
        rows(write(tmp_path, name, content), "text")


def test_header_without_rows(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: the table has columns \(text, label\) and no rows; add rows"):
        rows(write(tmp_path, "a.csv", "text,label\n"), "text")


def test_unclosed_quote_does_not_swallow_the_rest(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\nfine,x\n"never closed,y\nnext,x\n')
    with pytest.raises(DataError, match=r"a\.csv:3: the quotes of a cell do not fit \(unexpected end of data\)"):
        rows(path, "text")


def test_text_behind_a_closing_quote(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:2: the quotes of a cell do not fit .*; mend the row"):
        rows(write(tmp_path, "a.csv", 'text,label\n"Wow" it was,x\n'), "text")


def test_csv_in_a_foreign_encoding(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:3: the text is not UTF-8"):
        rows(write(tmp_path, "a.csv", "text,label\na,x\n영화,y\n".encode("cp949")), "text")


def test_quotes_in_tsv_are_text_unless_they_wrap_the_cell(tmp_path):
    content = 'text\tlabel\n"영화 최고\t1\n다른 "\t0\n"Wow" she said "no"\t1\n"all ""wrapped"""\t0\n"\t1\n'
    assert rows(write(tmp_path, "a.tsv", content), "text", "label") == [
        (":2", '"영화 최고', "1"),
        (":3", '다른 "', "0"),
        (":4", '"Wow" she said "no"', "1"),
        (":5", 'all "wrapped"', "0"),
        (":6", '"', "1"),
    ]


def test_tsv_as_pandas_writes_it(tmp_path):
    content = 'text\tlabel\r\n"a\r\nb\r\n\r\nc"\tx\r\n"tab\there"\ty\r\nlast\tx\r\n'
    assert rows(write(tmp_path, "a.tsv.gz", content), "text", "label") == [
        (":2", "a\nb\n\nc", "x"),
        (":6", "tab\there", "y"),
        (":7", "last", "x"),
    ]


def test_tsv_with_line_ends_in_the_last_cell(tmp_path):
    content = 'label\ttext\nx\t"a\n\nb ""c"""\ny\t"open\nx\tlast "\n'
    assert rows(write(tmp_path, "a.tsv", content), "label", "text") == [
        (":2", "x", 'a\n\nb "c"'),
        (":5", "y", '"open'),
        (":6", "x", 'last "'),
    ]


def test_tsv_with_a_ragged_row(tmp_path):
    with pytest.raises(DataError, match=r"a\.tsv:3: the row has 1 cells where the header has 2"):
        rows(write(tmp_path, "a.tsv", "text\tlabel\na\tx\nb\n"), "text")


def test_tsv_with_an_open_quote_in_a_ragged_row(tmp_path):
    with pytest.raises(DataError, match=r"a\.tsv:2: the quotes of a cell do not fit"):
        rows(write(tmp_path, "a.tsv", 'text\tlabel\n"no tab\na\tx\n'), "text")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl_keeps_kinds_and_fills_missing_keys(tmp_path, name):
    lines = [
        '{"text": "한\\n국 \\ud83d\\ude42", "label": 1}',
        "",
        '{"label": 0.5, "text": null, "more": [1]}',
        '{"text": "b"}',
    ]
    assert rows(write(tmp_path, name, "\n".join(lines)), "text", "label") == [
        (":1", "한\n국 🙂", 1),
        (":3", None, 0.5),
        (":4", "b", None),
    ]


@pytest.mark.parametrize("bad", ['{"text": "a"', "not json", '{"text": 1' + "1" * 5000 + "}"])
def test_bad_json_line(tmp_path, bad):
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON \(.*\); allowed: one object a line"):
        rows(write(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{bad}\n'), "text")


def test_jsonl_line_that_is_no_object(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: holds a list where an object is wanted"):
        rows(write(tmp_path, "a.jsonl", '["text"]\n'), "text")


def test_json_list(tmp_path):
    path = write(tmp_path, "a.json", '\ufeff[{"text": "a", "label": true},\n {"text": "b"}]')
    assert rows(path, "text", "label") == [(" row 1", "a", True), (" row 2", "b", None)]


def test_broken_json_file_tells_the_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.json:2: not JSON \(.*\); .*name a file of one object a line \.jsonl"):
        rows(write(tmp_path, "a.json", '{"text": "a"}\n{"text": "b"}\n'), "text")


def test_json_file_that_is_no_list(tmp_path):
    with pytest.raises(DataError, match=r"a\.json: holds a dict; allowed: one list of objects"):
        rows(write(tmp_path, "a.json", '{"data": []}'), "text")


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet(tmp_path, name):
    table = pyarrow.table({"text": ["a", None, "한국"], "label": [1, 0, None], "score": [0.5, None, 1.0]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    path = tmp_path / name
    if name.endswith(".gz"):
        write(tmp_path, name, (tmp_path / "a.parquet").read_bytes())
    assert rows(path, "label", "text") == [(" row 1", 1, "a"), (" row 2", 0, None), (" row 3", None, "한국")]


def test_parquet_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as Parquet \("):
        rows(write(tmp_path, "a.parquet", b"no parquet"), "text")


@pytest.mark.parametrize(("value", "kind"), [(["a"], "list"), ({"a": 1}, "dict"), (b"a", "bytes")])
def test_cell_of_another_kind(value, kind):
    message = rf"a\.jsonl:3: column 'text' holds a {kind}; allowed: text, numbers and null"
    with pytest.raises(DataError, match=message):
        checked_cell(value, "text", "a.jsonl:3")


def listed(path):
    return [(row.values, dict(row.lists)) for row in read_rows(path, ["text", "tags"], ["tags"])]


def test_lists_of_wanted_columns(tmp_path):
    whole = [{"text": "a", "tags": ["x", 1, None]}, {"text": "b", "tags": []}, {"text": "c", "tags": None}]
    expected = [
        ({"text": "a"}, {"tags": ["x", 1, None]}),
        ({"text": "b"}, {"tags": []}),
        ({"text": "c", "tags": None}, {}),
    ]
    path = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in whole))
    assert listed(path) == expected
    assert listed(write(tmp_path, "a.json", json.dumps(whole))) == expected
    assert listed(write(tmp_path, "a.csv", "text,tags\na,x\n")) == [({"text": "a", "tags": "x"}, {})]


def test_lists_of_a_parquet_file(tmp_path):
    table = pyarrow.table({"text": ["a", "b"], "tags": [["x", None], None]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert listed(tmp_path / "a.parquet") == [({"text": "a"}, {"tags": ["x", None]}), ({"text": "b", "tags": None}, {})]


def test_list_of_lists(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.jsonl:1: column 'tags\[1\]' holds a list; allowed: text, numbers and null"
    ):
        listed(write(tmp_path, "a.jsonl", '{"text": "a", "tags": ["x", ["y"]]}'))


def test_list_in_a_column_that_may_hold_none(tmp_path):
    with pytest.raises(DataError, match=r"column 'text' holds a list; allowed: text, numbers and null; name another"):
        listed(write(tmp_path, "a.jsonl", '{"text": ["a"], "tags": ["x"]}'))


def test_half_of_a_character(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: column 'text' holds half of a character \('\\ud83d'\)"):
        rows(write(tmp_path, "a.jsonl", '{"text": "wow \\ud83d"}'), "text")


@pytest.mark.parametrize(
    ("name", "hint"), [("a.txt", r"rename it \.tsv if tabs"), ("a.xlsx", "save it as CSV in UTF-8")]
)
def test_file_that_is_no_table(tmp_path, name, hint):
    with pytest.raises(
        DataError, match=rf"{name}: not a table that can be read; allowed: \.csv, .*\.parquet, .*{hint}"
    ):
        rows(write(tmp_path, name, "text"), "text")


def test_missing_table(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        column_names(tmp_path / "a.csv")
