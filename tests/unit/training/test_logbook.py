import json

from ptft.training.logbook import Logbook, read_log


def test_lines_are_appended(tmp_path):
    book = Logbook(tmp_path / "metrics.jsonl", 0)
    book.write({"step": 1, "loss": 2.5})
    book.write({"step": 2, "loss": 2.0})
    assert read_log(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}]


def test_missing_log_is_empty(tmp_path):
    assert read_log(tmp_path / "metrics.jsonl") == []


def test_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert read_log(path) == [{"step": 1}, {"step": 2}]


def test_lines_after_the_last_saved_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (10, 20, 30)) + '{"step"')
    Logbook(path, 20).write({"step": 21})
    assert [line["step"] for line in read_log(path)] == [10, 20, 21]


def test_log_is_replaced_whole(tmp_path):
    Logbook(tmp_path / "metrics.jsonl", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
