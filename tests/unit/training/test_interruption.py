import os
import signal
import threading

import pytest

from ptft.training.interruption import Interrupted, listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks(number):
    with listening() as request:
        assert not request.asked
        os.kill(os.getpid(), number)
        assert request.asked


def test_second_signal_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_former_handlers_come_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(RuntimeError), listening():
        raise RuntimeError
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


def test_interruption_is_no_mistake():
    assert issubclass(Interrupted, KeyboardInterrupt)
