"""The plugin's limits: what takes too long ends as a whole, whoever catches errors on the way."""

import signal

import pytest

from cli.doctor.command import _make
from cli.plugin.__main__ import CallTookTooLong, limited


def test_check_that_hangs_ends_the_doctor_and_is_no_finding():
    before = signal.getsignal(signal.SIGALRM)
    try:
        with pytest.raises(CallTookTooLong):
            with limited(1):
                _make(lambda _examination: signal.pause(), None)
    finally:
        signal.signal(signal.SIGALRM, before)
