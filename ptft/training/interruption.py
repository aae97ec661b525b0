"""Ctrl-C and SIGTERM: the running step is finished and saved before the process ends; a second one ends at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside after it saved its state."""


@dataclass
class Request:
    """Whether somebody asked to stop."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[Request]:
    """Within the context, the first SIGINT or SIGTERM sets ``asked``; the second one interrupts at once."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(signal_number: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
