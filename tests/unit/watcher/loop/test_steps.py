"""Steps: what `run` makes of them, and how long it waits."""

import os
import time

import pytest

from watcher.loop import steps
from watcher.loop.steps import FOREVER, READ, TURN, WRITE, Wait, count_milliseconds, pause, run


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def polls(monkeypatch):
    """What was polled for how long; nothing is ready, and no time passes."""
    noted = []

    class Poller:
        """Notes what it is asked."""

        def __init__(self):
            self.registered = []

        def register(self, descriptor, events):
            """Note a descriptor."""
            self.registered.append((descriptor, events))

        def poll(self, milliseconds):
            """Note the time."""
            noted.append((self.registered, milliseconds))
            return []
    monkeypatch.setattr(steps.select, 'poll', Poller)
    monkeypatch.setattr(steps.time, 'monotonic', lambda: 100.0)
    return noted


def ask(*waits):
    """Steps that wait for these; what each of them brought."""
    brought = []
    for wait in waits:
        brought.append((yield wait) > 0.0)
    return brought


def test_what_steps_return_is_returned():
    assert run(ask()) == []


def test_what_steps_raise_is_raised():
    def fail():
        yield TURN
        raise ValueError('in the middle')
    with pytest.raises(ValueError, match='in the middle'):
        run(fail())


def test_descriptor_that_is_ready_is_told_apart_from_one_that_is_not(pipe):
    reader, writer = pipe
    now = time.monotonic()
    assert run(ask(Wait(FOREVER, writer, WRITE), Wait(now, reader))) == [True, False]
    os.write(writer, b'x')
    assert run(ask(Wait(FOREVER, reader))) == [True]


def test_steps_of_steps_are_run_as_well(pipe):
    def outer():
        first = yield from ask(Wait(FOREVER, pipe[1], WRITE))
        second = yield from ask(TURN)
        return first + second
    assert run(outer()) == [True, False]


def test_waits_are_as_long_as_they_say(polls):
    run(ask(Wait(100.5), Wait(101.0, 7), Wait(99.0, 8, WRITE), TURN, Wait(FOREVER, 9)))
    assert polls == [([], 500), ([(7, READ)], 1000), ([(8, WRITE)], 0), ([], 0), ([(9, READ)], None)]


def test_pause_takes_its_time():
    began_at = time.monotonic()
    run(pause(0.05))
    assert time.monotonic() - began_at >= 0.05


@pytest.mark.parametrize('seconds, milliseconds', [
    (0.0, 0), (-5.0, 0), (0.0001, 1), (0.001, 1), (1.0004, 1001),
    (FOREVER, None)])
def test_poll_waits_never_shorter(seconds, milliseconds):
    assert count_milliseconds(seconds) == milliseconds


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
def test_what_steps_hold_is_closed_when_the_wait_is_broken_off(monkeypatch, error):
    def hold():
        try:
            yield TURN
        finally:
            closed.append(1)

    def break_off(_wait):
        raise error
    closed = []
    monkeypatch.setattr(steps, '_await', break_off)
    with pytest.raises(error):
        run(hold())
    assert closed == [1]
