"""Signals that wait while a program is started."""

import os
import signal

import pytest

from simulator.playground.held_signals import ENDING_SIGNALS, held_signals


@pytest.mark.parametrize('number', ENDING_SIGNALS)
def test_signal_comes_when_what_it_must_not_break_is_done(number):
    came, done = [], []
    before = signal.signal(number, lambda number, _frame: came.append((number, len(done))))
    try:
        with held_signals():
            os.kill(os.getpid(), number)
            done.append('started')
        assert came == [(number, 1)]
    finally:
        signal.signal(number, before)
