"""Questions answered by processes side by side: each starts once, hears one after another, and ends with its parent.

Questions, answers and mistakes are lines of JSON in pipes: a script that calls us needs no main guard, which Python's
own pools ask for, and nothing is pickled. A process whose standard input ends, because its parent did, ends at once.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, Self, TextIO

from ptft.display import Display, Silent
from ptft.errors import TrainingError, UserError
from ptft.training.interruption import SIGNALS

Answer = Callable[[Any], Any]


class _Heard(NamedTuple):
    """What a process said: ``say``, ``answer``, ``mistake`` or ``bug``; or ``end`` with its code when it is gone."""

    kind: str
    content: Any
    number: int


_Waiting = SimpleQueue[tuple[int, Any] | None]


class Processes:
    """Processes that answer questions, each the next one as soon as it is free; a context, after which none is left.

    Args:
        worker: Python code that calls :func:`serve`.
        greeting: What each process hears first; its ``threads`` are those of the libraries in it.
        number: How many there are.
        display: Shows what they say.
    """

    def __init__(self, worker: str, greeting: Mapping[str, Any], number: int, display: Display) -> None:
        self._display = display
        self._waiting: _Waiting = SimpleQueue()
        self._heard: SimpleQueue[_Heard] = SimpleQueue()
        self._processes: list[_Process] = []
        try:
            for _ in range(number):
                self._processes.append(_Process(worker, greeting, self._waiting, self._heard))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
        for _ in self._processes:
            self._waiting.put(None)
        for process in self._processes:
            process.join()

    def answers(self, questions: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Ask questions, as JSON has them.

        Yields:
            The number of a question and its answer, in the order of the answers.

        Raises:
            UserError: The first mistake of any of them.
            TrainingError: One of them was ended from outside.
            RuntimeError: One of them met a bug; the text is its traceback.
        """
        for question in enumerate(questions):
            self._waiting.put(question)
        num_left = len(questions)
        while num_left:
            kind, content, number = self._heard.get()
            if kind == "answer":
                num_left -= 1
                yield number, content
            elif kind == "say":
                self._display.say(content)
            else:
                raise _error(kind, content)


def serve(prepare: Callable[[Any, Display], Answer]) -> None:
    """Answer questions, in a process that :class:`Processes` started.

    Args:
        prepare: Makes what answers, from the greeting and a display whose sentences the parent shows.
    """
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent hears them too, and its end is ours
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, lines), daemon=True).start()
    try:
        answer = prepare(json.loads(lines.get()), _Sayer(output))
        while True:
            _send(output, "answer", answer(json.loads(lines.get())))
    except UserError as error:
        _send(output, "mistake", [type(error).__name__, str(error)])
    except Exception:
        _send(output, "bug", traceback.format_exc())


class _Sayer(Silent):
    """Sends sentences to the parent, and no progress."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def say(self, sentence: str) -> None:
        """Send it."""
        _send(self._output, "say", sentence)


def _send(output: TextIO, kind: str, content: Any) -> None:
    output.write(json.dumps([kind, content]) + "\n")
    output.flush()


def _listen(source: TextIO, lines: "SimpleQueue[str]") -> None:
    """Take note of questions; their end ends the process, whatever it is doing."""
    for line in source:
        lines.put(line)
    os._exit(0)


class _Process:
    """One process, and the thread that asks it."""

    def __init__(
        self, worker: str, greeting: Mapping[str, Any], waiting: _Waiting, heard: "SimpleQueue[_Heard]"
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={
                **os.environ, "OMP_NUM_THREADS": str(greeting["threads"]),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # wherever this process found us
            },
            process_group=0,  # a terminal's Ctrl-C is for the parent
        )  # fmt: skip
        self._asking = threading.Thread(target=self._ask, args=(greeting, waiting, heard), daemon=True)
        self._asking.start()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def join(self) -> None:
        """Wait until it is gone, and its thread as well."""
        self._asking.join()
        with suppress(BrokenPipeError), self._process:
            pass

    def _ask(self, greeting: Any, waiting: _Waiting, heard: "SimpleQueue[_Heard]") -> None:
        self._tell(greeting)
        while (asked := waiting.get()) is not None:
            number, question = asked
            self._tell(question)
            while (said := self._hear(number)).kind == "say":
                heard.put(said)
            heard.put(said)
            if said.kind != "answer":
                return

    def _tell(self, content: Any) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it is gone, which is heard next
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()

    def _hear(self, number: int) -> _Heard:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            return _Heard("end", self._process.wait(), number)
        kind, content = json.loads(line)
        return _Heard(kind, content, number)


def _error(kind: str, content: Any) -> Exception:
    if kind == "mistake":
        name, sentence = content
        kinds = {error.__name__: error for error in UserError.__subclasses__()}
        return kinds.get(name, UserError)(sentence)
    if kind == "bug":
        return RuntimeError(f"a process that works beside this one met a bug\n{content}")
    if content >= 0:
        return RuntimeError(f"a process that works beside this one ended with code {content}")
    return TrainingError(
        f"a process that works beside this one was ended by signal {-content}, most often for lack of memory; give a "
        "smaller jobs=, and the same command goes on"
    )
