"""Columns and pages of help."""

from typing import Annotated, ClassVar

from ptft.config import Choice, Settings
from ptft.layout import columns, page_width, paragraphs, settings_page, unmarked
from ptft.optim.schedule import Schedule
from ptft.optim.schedules import SCHEDULES
from ptft.optim.schedules.decays import Linear


class Example(Settings):
    """An example."""

    name: ClassVar[str] = "example"
    out: str
    """The ``folder``."""
    lr: float = 0.1
    schedule: Annotated[Schedule, Choice(SCHEDULES)] = Linear()
    """How the rate goes."""


def test_columns_are_aligned():
    assert columns([("lr", "0.1", "Peak rate."), ("seed", "0", "")]) == "  lr    0.1  Peak rate.\n  seed  0"


def test_no_rows_are_no_text():
    assert columns([]) == ""


def test_the_flexible_column_takes_what_is_left_and_wraps():
    rows = [("name", "some words that do not fit into one line of this page", "a/long/path.py")]
    assert columns(rows, width=50, flexible=1).splitlines() == [
        "  name  some words that do not fit  a/long/path.py",
        "        into one line of this page",
    ]


def test_other_columns_are_wrapped_when_they_are_too_wide():
    assert columns([("a" * 7, "text")], width=40, widest=5) == "  aaaaa  text\n  aa"


def test_without_a_width_nothing_is_wrapped():
    assert columns([("a" * 200, "b")]) == f"  {'a' * 200}  b"


def test_the_page_is_neither_too_narrow_nor_too_wide(monkeypatch):
    widths = []
    for wide in ("20", "100", "300"):
        monkeypatch.setenv("COLUMNS", wide)
        widths.append(page_width())
    assert widths == [60, 100, 120]


def test_paragraphs_stay_apart(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert paragraphs("One ``two``\nthree.\n\nFour.") == "One 'two' three.\n\nFour."
    assert unmarked("``a`` and `b`") == "'a' and 'b'"


def test_a_page_shows_the_settings_of_the_default_member(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page, other = settings_page(Example, {})
    assert page.startswith(
        "  SETTING   DEFAULT   TYPE\n  out       required  text\n      The 'folder'.\n  lr        0.1       number\n"
    )
    assert "one of constant, cosine, linear, slanted_triangular, wsd" in " ".join(page.split())
    assert "\n\nwith schedule=linear:\n" in page
    assert "schedule=cosine" not in page
    assert other == "schedule=wsd"


def test_a_page_shows_the_settings_of_the_chosen_member(monkeypatch):
    page, other = settings_page(Example, {"schedule": "wsd"})
    assert "with schedule=wsd:\n  schedule.warmup_ratio" in page
    assert "schedule=linear" not in page
    assert other == "schedule=slanted_triangular"
