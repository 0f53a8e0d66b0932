import os
import signal

import pytest

from tempohand.training import stop
from tempohand.training.stop import StopRequest


def alone(x):
    return x


@pytest.mark.parametrize("number", stop.SIGNALS)
def test_a_signal_leaves_a_note_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert request.agreed(alone) is None
        os.kill(os.getpid(), number)
        assert request.agreed(alone) == number
    assert signal.getsignal(number) is before


def test_what_one_process_was_told_all_know():
    with StopRequest() as request:
        assert request.agreed(lambda notes: notes + notes.new_tensor([1.0, 0.0])) == signal.SIGTERM
        assert request.agreed(lambda notes: notes + notes.new_tensor([0.0, 3.0])) == signal.SIGINT


def test_a_second_ctrl_c_interrupts_but_one_that_a_launcher_repeats_does_not(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: now[0])
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += stop.ONE_PRESS / 2
        os.kill(os.getpid(), signal.SIGINT)
        assert request.agreed(alone) == signal.SIGINT
        now[0] += stop.ONE_PRESS
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
