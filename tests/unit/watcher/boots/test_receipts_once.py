"""Receipts: one line for each boot, and none twice, through restarts and lost transactions."""

import sqlite3

import pytest

from registry.errors import JournalUnavailable
from registry.journal.receipts import Boot
from tests.unit.watcher.boots.test_receipts import build_desk, desk, halted, lines, machine, running
from tests.unit.watcher.builders import HOST, NAMES, OTHER_HOST, OTHER_SPAN, SPAN, UUID, uuid_of
from watcher.loop.steps import run

# Fixtures are found by name in this module.
__all__ = ['build_desk', 'desk', 'lines', 'machine']


def test_reboot_that_came_to_nothing_does_not_have_the_boot_before_told_again(
        desk, build_desk, machine, lines):
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
        desk, build_desk, machine, lines):
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
        desk, machine):
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


def test_domain_that_a_xapi_after_a_crash_shows_again_is_not_told_again(
        desk, machine, lines):
    for domid in (7, 8):
        machine.run_domain(domid, SPAN)
        desk.show(running(domid))
        desk.look()
    desk.receipts.doubt()
    desk.show(running(7), running(8))
    machine.run_domain(9, SPAN)
    desk.show(running(9))
    desk.look()
    assert [line['domid'] for line in lines()] == [7, 8, 9]


def test_domain_that_has_ended_may_come_again_unless_the_stream_broke_in_between(
        desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(running(7))
    desk.look()
    desk.show(halted(), halted('start'), running(7))
    desk.look()
    assert [(line['kind'], line['domid']) for line in lines()] == [('unknown', 7), ('start', 7)]
    desk.show(halted())
    desk.receipts.doubt()
    desk.show(running(7))
    assert desk.look() == 0


def test_vm_that_only_seemed_to_rest_after_a_crash_has_what_its_boot_found(desk, machine):
    changed = []
    machine.run_domain(7, OTHER_SPAN)
    desk.show(halted(), running(7))
    desk.look()
    desk.receipts.newest.on_change = changed.append
    desk.receipts.doubt()
    desk.show(halted())
    assert desk.receipts.newest.find(UUID) is None
    desk.show(running(-1), running(7), running(7))
    assert desk.receipts.newest.find(UUID).found == OTHER_SPAN and changed == [UUID] * 2
    # A domain that was watched to its end is over, and so is what it had.
    desk.show(halted())
    machine.run_domain(8, SPAN)
    desk.show(running(8))
    desk.look()
    assert desk.receipts.newest.find(UUID).found == SPAN


def test_domain_of_another_host_may_come_again(desk, lines):
    for domid in (7, 8, 7):
        desk.show(running(domid, host=OTHER_HOST))
        desk.look()
    assert [line['domid'] for line in lines()] == [7, 8, 7]


def test_domain_comes_again_after_a_restart_of_this_host(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(running(7), halted())
    desk.look()
    machine.set_boot_id('boot-2')
    desk.receipts.attend(machine.host, HOST, NAMES)
    desk.show(running(7))
    desk.look()
    assert [line['domid'] for line in lines()] == [7, 7]


def test_records_wait_until_it_is_known_what_the_daemon_before_has_told(
        desk, build_desk, machine, lines):
    for domid in (7, 8):
        machine.run_domain(domid, SPAN)
    desk.show(halted(), running(7))
    desk.look()
    successor = build_desk()
    successor.receipts.hold_back()
    successor.show(running(7), running(8))
    assert successor.look() == 0
    successor.receipts.recall(successor.journal, HOST)
    successor.receipts.go_on()
    successor.look()
    assert [line['domid'] for line in lines()] == [7, 8]


def test_boot_told_before_the_past_was_known_is_not_told_again(
        desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))  # and killed before it was looked at
    successor = build_desk()
    successor.show(running(7))
    successor.look()
    successor.receipts.recall(successor.journal, HOST)
    assert successor.look() == 0 and len(lines()) == 1
    assert successor.journal.open_boots() == ()


def test_vm_imported_under_the_uuid_of_one_that_is_gone_keeps_its_boot_under_way(
        desk, machine, lines):
    machine.run_domain(7, SPAN)
    imported = halted('start')._replace(ref='OpaqueRef:imported')
    desk.show(halted(), imported)
    desk.receipts.note_gone(halted(), is_replaced=True)
    desk.show(running(7)._replace(ref='OpaqueRef:imported'))
    desk.look()
    assert desk.boots == [('start', 7, 'as_desired')] and len(lines()) == 1


def test_boot_under_way_of_a_vm_that_is_no_more_is_closed(desk, build_desk, lines):
    desk.show(halted(), halted('start'))
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.receipts.forget_vanished(frozenset())
    assert successor.journal.open_boots() == () and lines() == []


def test_vm_that_is_gone_when_its_look_ends_is_judged_by_what_was(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    desk.receipts.note_gone(running(7))
    desk.receipts.note_looked(run(desk.jobs.pop()()), frozenset())
    assert [line['verdict'] for line in lines()] == ['as_desired']


@pytest.mark.parametrize('odd', [{'kind': 'odd'}, {'verdict': 'odd'}])
@pytest.mark.parametrize('where', [{}, {'host': HOST, 'domid': 3}])
def test_a_boot_that_no_daemon_has_written_is_left_out(desk, machine, lines, odd, where):
    boot = Boot(0, UUID, 'one', 'start', None, None, 'boot-0', None, '2027-01-15 07:00:00')
    desk.journal.open_boot(boot._replace(**dict(odd, **where)))
    desk.receipts.recall(desk.journal, HOST)
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    assert desk.look() == 1 and [line['domid'] for line in lines()] == [7]
