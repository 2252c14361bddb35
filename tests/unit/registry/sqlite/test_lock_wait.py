"""How long one call waits, by a clock that the waiting itself moves."""

import sqlite3

import pytest

from registry.sqlite.lock_wait import BUSY_SLICE_SECONDS, Patience


class Waits:
    """A clock, and an action that meets a lock until a time."""

    def __init__(self, free_at):
        self.now = 100.0
        self.attempts = 0
        self._free_at = 100.0 + free_at

    def sleep(self, seconds):
        self.now += seconds

    def action(self, result):
        self.attempts += 1
        if self.now < self._free_at:
            self.now += BUSY_SLICE_SECONDS
            raise sqlite3.OperationalError('locked')
        return result


def patience_of(waits, timeout_seconds):
    return Patience(timeout_seconds, monotonic=lambda: waits.now, sleep=waits.sleep)


@pytest.mark.parametrize('timeout_seconds', [0, 0.25, 10])
def test_waiting_ends_within_the_time_allowed(timeout_seconds):
    waits = Waits(free_at=3600)
    with pytest.raises(sqlite3.OperationalError):
        patience_of(waits, timeout_seconds).run(waits.action, 'done')
    waited = waits.now - 100
    assert waited <= max(timeout_seconds, BUSY_SLICE_SECONDS)
    assert waited >= timeout_seconds - 2 * BUSY_SLICE_SECONDS


def test_waiting_ends_when_the_lock_is_gone():
    waits = Waits(free_at=0.1)
    assert patience_of(waits, 10).run(waits.action, 'done') == 'done'
    assert 0.1 <= waits.now - 100 < 0.2


def test_one_deadline_counts_for_several_waits_until_it_is_renewed():
    waits = Waits(free_at=0.2)
    patience = patience_of(waits, 0.25)
    patience.run(waits.action, 'done')
    waits._free_at = waits.now + 0.2
    with pytest.raises(sqlite3.OperationalError):
        patience.run(waits.action, 'done')
    patience.renew()
    assert patience.run(waits.action, 'done') == 'done'


def test_what_may_not_be_repeated_is_tried_once():
    waits = Waits(free_at=3600)
    with pytest.raises(sqlite3.OperationalError):
        patience_of(waits, 10).run(waits.action, 'done', may_repeat=lambda error: False)
    assert waits.attempts == 1


def test_sqlite_itself_waits_for_a_slice_only():
    assert patience_of(Waits(0), 10).busy_seconds == BUSY_SLICE_SECONDS
    assert patience_of(Waits(0), 0).busy_seconds == 0
