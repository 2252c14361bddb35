"""Faults that reviews and the model found: each stood once in the code."""

import pytest

from tests.unit.watcher.boots.test_receipts import build_desk, desk, halted, lines, machine, running
from tests.unit.watcher.builders import SPAN, UUID, build_raw
from tests.unit.watcher.xapi.test_event_stream import END, Script
from watcher.errors import SessionLost
from watcher.loop.steps import run
from watcher.xapi.event_stream import read_one_by_one

# Fixtures are found by name in this module.
__all__ = ['build_desk', 'desk', 'lines', 'machine']


def test_reboot_while_the_boot_before_is_looked_at_has_a_line_of_its_own(desk, machine, lines):
    machine.run_domain(7, SPAN)
    machine.run_domain(8, SPAN)
    desk.show(halted(), running(7))
    desk.show(running(8))
    desk.look()
    assert [line['domid'] for line in lines()] == [7, 8]


def test_reboot_that_fails_does_not_close_the_boot_that_is_being_looked_at(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7), running(7, 'clean_reboot'), running(7))
    desk.look()
    assert len(lines()) == 1


def test_vm_that_is_gone_before_the_look_ended_has_its_line(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    desk.receipts.note_gone(running(7))
    desk.look()
    assert [line['domid'] for line in lines()] == [7]


def test_boot_that_had_arrived_when_the_daemon_died_has_a_verdict(desk, build_desk, lines):
    desk.show(halted(), halted('start'), running(7, 'start'))
    successor = build_desk()
    successor.receipts.recall(successor.journal, 'OpaqueRef:host-1')
    successor.show(halted())
    successor.look()
    assert successor.boots == [('start', 7, 'unverified')]


def test_rescue_survives_a_restart_of_the_daemon(desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'))
    desk.receipts.note_rescued(UUID)
    successor = build_desk()
    successor.receipts.recall(successor.journal, 'OpaqueRef:host-1')
    successor.show(running(7))
    successor.look()
    assert [line['rescued'] for line in lines()] == [True]


def test_reading_vm_by_vm_ends_with_the_session():
    with pytest.raises(SessionLost):
        run(read_one_by_one(Script(records={'a': build_raw(), 'b': END})))
