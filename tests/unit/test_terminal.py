"""What is shown while a step works, in a log and on a terminal."""

import errno
import io

import pytest

from ptft.terminal import RichDisplay, figures_text


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(clock):
    stream = io.StringIO()
    return stream, RichDisplay(stream, clock)


def test_figures_are_few():
    figures = {"loss": 5.25, "masked_lm.loss": 3.0, "lr": 1e-4, "valid.mlm.accuracy": 0.5, "tokens_per_second": 12345.6}
    assert figures_text(figures) == "loss 5.250, valid.mlm.accuracy 0.500, 12,346 tokens/s"
    assert figures_text(None) == ""


def test_a_sentence_is_a_line_as_it_stands(log):
    stream, display = log
    sentence = "[bold] :smile: " + "word " * 60 + "end"
    display.say(sentence)
    assert stream.getvalue() == sentence + "\n"


def test_a_log_gets_a_line_each_ten_seconds_and_one_at_the_end(log, clock):
    stream, display = log
    for step in range(0, 31, 5):
        clock.now = float(step)
        display.progress("training", step, 30, {"loss": 2.0})
    assert stream.getvalue().splitlines() == [
        "training 10/30, loss 2.000, 0:00:20 left",
        "training 20/30, loss 2.000, 0:00:10 left",
        "training 30/30, loss 2.000",
    ]


def test_what_was_done_before_does_not_count_as_fast(log, clock):
    stream, display = log
    display.progress("training", 1_000, 2_000)
    clock.now = 10.0
    display.progress("training", 1_010, 2_000)
    assert stream.getvalue() == "training 1,010/2,000, 0:16:30 left\n"


def test_what_ends_inside_another_is_not_worth_a_line(log):
    stream, display = log
    display.progress("cells", 0, 2)
    display.progress("training", 3, 3)
    display.progress("cells", 1, 2)
    display.progress("training", 3, 3)
    display.progress("cells", 2, 2)
    assert stream.getvalue() == "cells 2/2\n"


def test_a_terminal_gets_a_bar_that_stays_when_it_is_full(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with RichDisplay(stream, clock) as display:
        display.progress("training", 1, 2, {"loss": 2.5})
        display.say("a sentence")
        display.progress("training", 2, 2, {"loss": 1.5})
    text = stream.getvalue()
    assert "a sentence" in text
    assert "2/2" in text.splitlines()[-2]
    assert "loss 1.500" in text
    assert text.endswith("\x1b[?25h")  # the cursor is back


def test_bars_inside_another_disappear(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with RichDisplay(stream, clock) as display:
        display.progress("cells", 0, 2)
        display.progress("training", 1, 2)
        display.progress("training", 2, 2)
        display.progress("cells", 2, 2)
    assert "training" in stream.getvalue()
    assert "training" not in stream.getvalue().rsplit("cells", 1)[1]


def test_an_exception_ends_the_bars(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), RichDisplay(stream, clock) as display:
        display.progress("training", 1, 2)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


def test_a_dumb_terminal_gets_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    RichDisplay(stream, clock).progress("training", 2, 2)
    assert stream.getvalue() == "training 2/2\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_nobody_need_listen(number):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(number, "gone")

    RichDisplay(Gone()).say("step 1")
