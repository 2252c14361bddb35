"""Receipts: one line for each boot, and none twice, through restarts and lost transactions."""

import sqlite3

import pytest

from registry.errors import JournalUnavailable
from tests.unit.watcher.builders import HOST, SPAN, uuid_of
from tests.unit.watcher.test_receipts import (  # noqa: F401  (fixtures are found by name)
    build_desk, desk, halted, lines, machine, running)


def test_reboot_that_came_to_nothing_does_not_have_the_boot_before_told_again(
        desk, build_desk, machine, lines):  # noqa: F811
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'), running(7, 'start'), running(7))
    desk.look()
    desk.show(running(7, 'hard_reboot')._replace(operations=(('OpaqueRef:2', 'hard_reboot'),)),
              running(7))
    assert desk.boots[-1] == ('reboot', None, None)
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7))
    assert successor.look() == 0 and len(lines()) == 1


def test_reboot_under_way_when_the_daemon_ended_knows_the_domain_before(
        desk, build_desk, machine, lines):  # noqa: F811
    machine.run_domain(7, SPAN)
    machine.run_domain(8, SPAN)
    desk.show(halted(), running(7))
    desk.look()
    for number in range(7):
        rebooting = running(7)._replace(
            operations=(('OpaqueRef:task-%d' % (number + 2), 'hard_reboot'),))
        desk.show(rebooting, running(7))
    desk.show(rebooting._replace(operations=(('OpaqueRef:task-20', 'hard_reboot'),)))
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7), running(8))
    assert successor.look() == 1
    assert [line['domid'] for line in lines()] == [7, 8]


def test_receipts_of_a_transaction_that_was_undone_are_written_by_the_next(
        desk, machine):  # noqa: F811
    waiting, other = [], uuid_of(11)
    desk.receipts._write = waiting.append
    machine.run_domain(7, SPAN)
    machine.run_domain(8, SPAN)
    elsewhere = running(8)._replace(ref='OpaqueRef:vm-11', uuid=other)
    desk.show(halted(), running(7))

    def flush():
        with desk.journal.batch():
            for write in waiting:
                write(desk.journal)
    blocker = sqlite3.connect(desk.journal.path, isolation_level=None)
    blocker.execute('BEGIN')
    blocker.execute('SELECT count(*) FROM receipts').fetchall()  # keeps a commit from being done
    with pytest.raises(JournalUnavailable):
        flush()
    blocker.close()
    # What failed is written again, behind what was more urgent.
    desk.show(halted()._replace(ref=elsewhere.ref, uuid=other), elsewhere)
    waiting.sort(key=lambda write: write.__self__.boot.vm_uuid != other)
    flush()
    del waiting[:]
    desk.look()
    flush()
    assert desk.boots == [('start', 7, 'as_desired')]
    assert [(boot.domid, boot.verdict) for boot in desk.journal.list_boots(other)] == [
        (8, 'as_desired')]
