import os
import signal
import subprocess
import sys
import threading

import pytest

from ptft.training import interruption
from ptft.training.interruption import SIGNALS, Interrupted, Request, ending, exit_code, listening, passing_on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_first_signal_asks(number):
    with listening() as request:
        assert not request.asked
        os.kill(os.getpid(), number)
        assert request.asked
        assert request.signal_number == number


def test_second_signal_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_same_signal_within_a_moment_is_an_echo(monkeypatch):
    """A terminal sends Ctrl-C to all processes, and a launcher passes it on to them again."""
    now = [10.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with listening() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += interruption.ECHO_SECONDS / 2
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.asked
        now[0] += interruption.ECHO_SECONDS
        with pytest.raises(Interrupted) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
    assert exit_code(stop.value) == 143


def test_an_echo_that_the_main_thread_hears_late_is_no_second_signal():
    script = (
        "import hashlib, os, signal, threading, time\n"
        "from ptft.training.interruption import ECHO_SECONDS, ending, listening\n"
        "def echo():\n"
        "    time.sleep(ECHO_SECONDS / 3)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "with ending(print), listening() as request:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Thread(target=echo).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 3_000_000)\n"  # about a second in which Python hears nothing
        "    print('saved', request.signal_number)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"saved {signal.SIGTERM.value}\n"), done.stderr


@pytest.mark.parametrize(("first", "second", "is_second"), [(2, 2, False), (2, 15, True), (15, 10, True)])
def test_another_signal_is_no_echo(first, second, is_second):
    request = Request()
    assert not request.hear(first)
    assert request.hear(second) is is_second
    assert request.signal_number == first


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Interrupted(), 130),
        (Interrupted("stopped", signal.SIGTERM), 143),
        (Interrupted("stopped", signal.SIGUSR1), 138),
    ],
)
def test_codes(stop, code):
    assert exit_code(stop) == code


@pytest.mark.parametrize("context", [listening, lambda: ending(lambda sentence: None)])
def test_former_handlers_come_back(context):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    threads = threading.active_count()
    with pytest.raises(RuntimeError), context():
        raise RuntimeError
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1
    assert {number: signal.getsignal(number) for number in before} == before


def test_other_threads_listen_to_nothing():
    found = []

    def work():
        with listening() as request:
            found.append((request.asked, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGTERM))]


class Child:
    """A subprocess that notes the signals sent to it."""

    def __init__(self):
        self.signals = []

    def send_signal(self, number):
        self.signals.append(number)


def test_signals_reach_subprocesses():
    child, late, gone = Child(), Child(), Child()
    with passing_on(gone):
        pass
    with pytest.raises(Interrupted), listening(), passing_on(child):
        os.kill(os.getpid(), signal.SIGUSR1)
        with passing_on(late):  # started when the signal had come already
            os.kill(os.getpid(), signal.SIGTERM)
    assert child.signals == [signal.SIGUSR1, signal.SIGTERM]
    assert late.signals == child.signals
    assert gone.signals == []


@pytest.mark.parametrize("number", SIGNALS)
def test_what_does_not_listen_is_interrupted(number):
    with pytest.raises(Interrupted) as stop, ending(lambda sentence: None):
        os.kill(os.getpid(), number)
    assert exit_code(stop.value) == 128 + number


STUCK = """
import hashlib, sys, time
from ptft.training import interruption
interruption.PATIENCE_SECONDS = {patience}
with interruption.ending(lambda sentence: print(sentence, file=sys.stderr, flush=True)):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("heard", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1 << 30)  # minutes without an instruction of Python
"""


@pytest.mark.parametrize(
    ("patience", "signals", "sentence", "code"),
    [
        (1, [signal.SIGTERM], "stopped", 143),
        (60, [signal.SIGTERM, signal.SIGINT], "stopped at once", 130),
    ],
)
def test_a_process_inside_a_library_ends(patience, signals, sentence, code):
    script = STUCK.format(patience=patience)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signals[0])
        assert process.stdout.readline() == "heard\n"
        for number in signals[1:]:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, f"{sentence}\n")


def test_a_training_that_saves_is_not_hurried():
    """The thread that ends a process that does not react leaves one alone that listens."""
    script = (
        "import os, signal, sys, time\n"
        "from ptft.training import interruption\n"
        "interruption.PATIENCE_SECONDS = 1\n"
        "with interruption.ending(print), interruption.listening() as request:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    for _ in range(30): time.sleep(0.1)\n"
        "    print(request.asked)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_interruption_is_no_mistake():
    assert issubclass(Interrupted, KeyboardInterrupt)
