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
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TextIO

from ptft.display import Display, Silent
from ptft.errors import TrainingError, UserError
from ptft.training.interruption import SIGNALS

Answer = Callable[[Any], Any]


class _Heard(NamedTuple):
    """What a process said: ``say``, ``answer``, ``mistake`` or ``bug``; or ``end`` with its code when it is gone."""

    kind: str
    content: Any
    number: int


def answers(
    worker: str, greeting: Mapping[str, Any], questions: Sequence[Any], num_processes: int, display: Display
) -> Iterator[tuple[int, Any]]:
    """Let processes answer questions, each the next one as soon as it is free.

    Args:
        worker: Python code that calls :func:`serve`.
        greeting: What each process hears first; its ``threads`` are those of the libraries in it.
        questions: What they are asked, as JSON has it.
        num_processes: How many processes there are; none is left when the iterator ends, however it does.
        display: Shows what they say.

    Yields:
        The number of a question and its answer, in the order of the answers.

    Raises:
        UserError: The first mistake of any of them.
        TrainingError: One of them was ended from outside.
        RuntimeError: One of them met a bug; the text is its traceback.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(questions)):
        waiting.put(number)
    heard: SimpleQueue[_Heard] = SimpleQueue()
    processes: list[_Process] = []
    try:
        for _ in range(num_processes):
            processes.append(_Process(worker, greeting, questions, waiting, heard))
        num_left = len(questions)
        while num_left:
            kind, content, number = heard.get()
            if kind == "answer":
                num_left -= 1
                yield number, content
            elif kind == "say":
                display.say(content)
            else:
                raise _error(kind, content)
    finally:
        for process in processes:
            process.end()


def serve(prepare: Callable[[Any, Display], Answer]) -> None:
    """Answer questions, in a process that :func:`answers` started.

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
    """One process, and the thread that asks it until no question waits."""

    def __init__(
        self,
        worker: str,
        greeting: Mapping[str, Any],
        questions: Sequence[Any],
        waiting: "SimpleQueue[int]",
        heard: "SimpleQueue[_Heard]",
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(greeting["threads"])},
            process_group=0,  # a terminal's Ctrl-C is for the parent
        )  # fmt: skip
        self._asking = threading.Thread(target=self._ask, args=(greeting, questions, waiting, heard), daemon=True)
        self._asking.start()

    def end(self) -> None:
        """End it and wait until it is gone."""
        self._process.kill()
        self._asking.join()
        with suppress(BrokenPipeError), self._process:
            pass

    def _ask(
        self, greeting: Any, questions: Sequence[Any], waiting: "SimpleQueue[int]", heard: "SimpleQueue[_Heard]"
    ) -> None:
        self._tell(greeting)
        with suppress(Empty):
            while True:
                number = waiting.get_nowait()
                self._tell(questions[number])
                while (said := self._hear(number)).kind == "say":
                    heard.put(said)
                heard.put(said)
                if said.kind != "answer":
                    return
        with suppress(BrokenPipeError):
            self._stdin.close()

    def _tell(self, content: Any) -> None:
        with suppress(BrokenPipeError):  # it is gone, which is heard next
            self._stdin.write(json.dumps(content) + "\n")
            self._stdin.flush()

    def _hear(self, number: int) -> _Heard:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            return _Heard("end", self._process.wait(), number)
        kind, content = json.loads(line)
        return _Heard(kind, content, number)

    @property
    def _stdin(self) -> Any:
        return self._process.stdin


def _error(kind: str, content: Any) -> Exception:
    if kind == "mistake":
        name, sentence = content
        kinds = {error.__name__: error for error in UserError.__subclasses__()}
        return kinds.get(name, UserError)(sentence)
    if kind == "bug":
        return RuntimeError(f"a process that works beside this one met a bug\n{content}")
    how = f"by signal {-content}" if content < 0 else f"with code {content}"
    return TrainingError(
        f"a process that works beside this one was ended {how}, most often for lack of memory; give a smaller jobs=, "
        "and the same command goes on"
    )
