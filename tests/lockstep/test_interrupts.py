"""Signals where they do no harm."""

import os
import signal

import pytest

from lockstep.interrupts import ended_as_interrupted


def test_termination_interrupts_and_means_afterwards_what_it_did() -> None:
    """A process begun afterwards, told to end before it is itself, would go on as its parent."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
