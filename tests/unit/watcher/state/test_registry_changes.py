"""A row with a new number waits until what XAPI has shown by then was taken (P10)."""

import pytest

from watcher.state.registry_changes import RegistryChanges
from watcher.state.registry_view import Change


class FakeView:
    """Polls that find what they are told to."""

    def __init__(self):
        self.found, self.watch, self.next_look = [], self, None
        self.has_unclaimed = False

    def poll(self):
        return self.found.pop(0) if self.found else Change()


@pytest.fixture
def desk():
    class Desk:
        now, view, told = 100.0, FakeView(), []
    Desk.changes = RegistryChanges(Desk.view, Desk.told.append, lambda: Desk.now)
    return Desk


def touched(*names):
    return Change(is_changed=True, touched=frozenset(names))


def test_change_without_a_new_number_is_acted_on_at_once(desk):
    desk.view.found = [touched('a')]
    desk.changes.poll()
    assert desk.changes.take() == touched('a')
    assert not desk.changes.take().is_changed and desk.told == [touched('a')]


@pytest.mark.parametrize('seconds, is_acted_on', [
    pytest.param(0.1, False, id='events-may-be-on-their-way'),
    pytest.param(0.7, True, id='they-have-come')])
def test_new_number_waits_for_events_that_are_on_their_way(desk, seconds, is_acted_on):
    desk.view.found, desk.view.has_unclaimed = [touched('a')], True
    desk.changes.poll()
    desk.now += seconds
    assert desk.changes.take().is_changed == is_acted_on
    assert desk.changes.is_waiting != is_acted_on


def test_changes_that_wait_are_taken_together(desk):
    desk.view.found, desk.view.has_unclaimed = [
        touched('a')._replace(concerns_all=True), touched('b')], True
    desk.changes.poll()
    assert not desk.changes.take().is_changed
    desk.changes.poll()
    desk.now += 1.0
    change = desk.changes.take()
    assert change.touched == {'a', 'b'} and change.concerns_all


def test_what_the_kernel_told_is_due_in_sync_or_not(desk):
    desk.view.next_look = 100.5
    assert desk.changes.find_due(True) == desk.changes.find_due(False) == 100.5


def test_what_waits_is_due_only_in_sync(desk):
    desk.view.found, desk.view.has_unclaimed = [touched('a')], True
    desk.changes.poll()
    assert desk.changes.find_due(False) is None
    assert 100.0 < desk.changes.find_due(True) < 101.0
