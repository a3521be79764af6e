"""Signals are noted, and what was there before comes back."""

import os
import signal

import pytest

from gcn_keras.training.interruption import Interruption
from pipelines.base.errors import Interrupted


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_noted(number, status):
    former = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.number is None
        os.kill(os.getpid(), number)
        assert interruption.number == number
    assert signal.getsignal(number) is former
    assert Interrupted("stopped", number).exit_status == status


def test_a_second_ctrl_c_interrupts_at_once():
    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former


def test_sigterm_twice_is_one():
    """Schedulers repeat themselves."""
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.number == signal.SIGTERM
