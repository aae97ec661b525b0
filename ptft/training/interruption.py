"""Signals that ask to stop: the running step is finished and saved before the process ends; a second ends it at once.

SIGINT is Ctrl-C, SIGTERM what batch systems and containers send, SIGUSR1 what some send ahead of it. A process that was
asked ends with code 128 + the signal's number, as shells report it: 130, 143, 138.
"""

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
ECHO_SECONDS = 0.3
PATIENCE_SECONDS = 5
_children: set[subprocess.Popen[str]] = set()
_listening: list["Request"] = []
_watching: list[threading.Thread] = []


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside; if it was training, after it saved its state.

    Args:
        sentence: What was stopped, and where.
        signal_number: Which signal asked.
    """

    def __init__(self, sentence: str = "stopped", signal_number: int = signal.SIGINT) -> None:
        super().__init__(sentence)
        self.signal_number = int(signal_number)


def exit_code(stop: KeyboardInterrupt) -> int:
    """The code that a stopped process ends with."""
    return 128 + (stop.signal_number if isinstance(stop, Interrupted) else signal.SIGINT)


@dataclass
class Request:
    """Whether somebody asked to stop, and with which signal.

    Attributes:
        signal_number: Of the first signal; 0 for none.
    """

    signal_number: int = 0
    _heard: float = field(default=0.0, repr=False)

    @property
    def asked(self) -> bool:
        """Whether somebody did."""
        return self.signal_number > 0

    def hear(self, signal_number: int) -> bool:
        """Take note of a signal; says whether it is a second one.

        The same signal again within 0.3 s is an echo: a launcher passes on what the terminal or the batch system sent
        to all processes already.
        """
        if self.asked:
            return signal_number != self.signal_number or time.monotonic() - self._heard > ECHO_SECONDS
        self.signal_number, self._heard = signal_number, time.monotonic()
        return False


@contextmanager
def listening() -> Iterator[Request]:
    """Within the context, the first of :data:`SIGNALS` sets ``asked``; a second one interrupts at once.

    Both are passed on to what :func:`passing_on` knows of. In other threads than the main one nothing is heard. Within
    :func:`ending` its thread alone judges what is a second signal: this one may hear of an echo late.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(signal_number: int, frame: FrameType | None) -> None:
        is_second = request.hear(signal_number)
        pass_on(signal_number)
        if is_second and not _watching:
            raise Interrupted("stopped at once", signal_number)

    former = {number: signal.signal(number, note) for number in SIGNALS}
    _listening.append(request)
    try:
        yield request
    finally:
        _listening.remove(request)
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def passing_on(process: subprocess.Popen[str]) -> Iterator[None]:
    """Within the context, a signal that this process listens to reaches a subprocess too."""
    _children.add(process)
    try:
        for request in _listening:  # asked while the process started
            if request.asked:
                process.send_signal(request.signal_number)
        yield
    finally:
        _children.discard(process)


def pass_on(signal_number: int) -> None:
    """Send a signal to the subprocesses of :func:`passing_on`."""
    for process in [*_children]:
        with suppress(OSError):
            process.send_signal(signal_number)


@contextmanager
def ending(complain: Callable[[str], None]) -> Iterator[None]:
    """Within the context, each of :data:`SIGNALS` ends this process: it raises, or see :func:`listening`.

    Handlers run between two instructions of Python only, and the main thread may be inside a library for minutes. A
    thread therefore watches: it ends the process at a second signal, and where what was interrupted has not ended after
    some seconds.

    Args:
        complain: Shows the sentence with which the thread ends the process.
    """

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped", signal_number)

    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    with receiver, sender:
        former_wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))  # a child's signals are its own
        former = {number: signal.signal(number, stop) for number in SIGNALS}
        watcher = threading.Thread(target=_watch, args=(receiver, complain), daemon=True, name="ptft-signals")
        watcher.start()
        _watching.append(watcher)
        try:
            yield
        finally:
            _watching.remove(watcher)
            signal.set_wakeup_fd(former_wakeup)
            for number, handler in former.items():
                signal.signal(number, handler)
            sender.shutdown(socket.SHUT_WR)
            watcher.join()


def _watch(receiver: socket.socket, complain: Callable[[str], None]) -> None:
    """End the process at a second signal, or some seconds after the first where nothing listens to it.

    Args:
        receiver: Gets a byte for each signal; its end ends the watch.
        complain: Shows a sentence.
    """
    request, seconds = Request(), 0
    while True:
        ready, _, _ = select.select([receiver], [], [], 1.0 if request.asked else None)
        heard = receiver.recv(64) if ready else b""
        if ready and not heard:
            return
        seconds = 0 if _listening or ready else seconds + 1
        numbers = [number for number in heard if number in SIGNALS]
        is_second = any(request.hear(number) for number in numbers)
        if is_second or seconds >= PATIENCE_SECONDS:
            number = numbers[-1] if numbers else request.signal_number
            pass_on(number)
            complain("stopped at once" if is_second else "stopped")
            os._exit(128 + number)
