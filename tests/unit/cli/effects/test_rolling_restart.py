"""The order of a rolling restart in time: windows that open and close, a clock of our own."""

import pytest

from cli.commandline.time_window import parse_window
from cli.effects import rolling_restart
from cli.effects.rolling_restart import Roll
from cli.queries.pending import select
from tests.unit.cli.queries.test_pending import build

NAMES = ('a', 'b', 'c')


class Clock:
    """A day of which each restart takes an hour, and waiting as long as it takes."""

    def __init__(self, hour):
        self.now = hour * 3600.0
        self.is_json = True
        self.done = []

    def clock(self):
        """The time."""
        return self.now

    def sleep(self, seconds):
        """Wait."""
        self.now += seconds

    def tell(self, _text):
        """Nobody listens."""


@pytest.fixture
def roll(monkeypatch):
    """Runs a roll over three VMs; how each step ends is not asked here."""
    def run(hour, window):
        clock, items = Clock(hour), {name: build(name) for name in NAMES}
        monkeypatch.setattr(rolling_restart, 'read_pending', lambda _context, _contents: tuple(
            item for name, item in items.items()))
        clock.registry = type('Registry', (), {'read': staticmethod(lambda: None)})
        began = []

        def take(self, step):
            began.append(clock.now / 3600)
            clock.now += 3600
            for waiting in step.vms:
                del items[waiting.vm.uuid]
            self._note(step, [], 3600)
            return False
        monkeypatch.setattr(Roll, '_take', take)
        shown = select(tuple(items.values()), lambda _item: True)
        outcome = Roll(clock, shown, 'vgpu-admin apply-pending', wall=lambda: clock.now,
                       window=parse_window(window) if window else None).run()
        return outcome, began
    return run


@pytest.mark.parametrize('hour, window, word, begins', [
    (12, '', 'applied', [12, 13, 14]), (12, '11:00-18:00', 'applied', [12, 13, 14]),
    (12, '22:00-04:00', 'applied', [22, 23, 24]), (2, '22:00-04:00', 'window_closed', [2, 3]),
    (2, '02:00-02:30', 'window_closed', [2])])
def test_restarts_begin_within_the_window(roll, hour, window, word, begins):
    outcome, began = roll(hour, window)
    assert (outcome.word, began, int(outcome.status)) == (word, begins, 0)
    left = NAMES[len(begins):]
    assert ('Left: ' in outcome.lines[-2] and outcome.lines[-1].startswith('go on with')) \
        if left else outcome.lines == ['3 of 3 VMs restarted, and verified.']
