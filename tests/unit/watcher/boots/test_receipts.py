"""Receipts: each boot of a registered VM ends in one line, with what its QEMU really runs."""

import os

import pytest

from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from tests.unit.watcher.builders import HOST, NAMES, OTHER_HOST, OTHER_SPAN, SPAN, UUID, build_vm
from tests.unit.watcher.steps import answer
from watcher.boots.host import Host
from watcher.boots.inspection import find_in_arguments
from watcher.boots.receipts import Inspected, Receipts
from watcher.loop.steps import run
from watcher.vm.boot import BootFinding
from watcher.vm.record import PowerState

TEXT_PATH = '/local/domain/%d/platform/device-model-args'


class Machine:
    """The host: domains by number, each with QEMU's words and what xenstore holds."""

    def __init__(self, directory):
        self.proc = os.path.join(directory, 'proc')
        self.program = os.path.join(directory, 'xenstore-read')
        self.values = {}
        with open(self.program, 'w', encoding='utf-8'):
            os.chmod(self.program, 0o755)
        self.set_boot_id('boot-1')
        self.host = Host(self.program, self.proc, run=self._run)

    def set_boot_id(self, text):
        directory = os.path.join(self.proc, 'sys', 'kernel', 'random')
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, 'boot_id'), 'w', encoding='utf-8') as stream:
            stream.write(text + '\n')

    def run_domain(self, domid, runs='', delivered=None):
        """Have a domain run, with these words behind its QEMU's own."""
        pid = 1000 + domid
        os.makedirs(os.path.join(self.proc, str(pid)), exist_ok=True)
        words = ['qemu', '-xen-domid', str(domid)] + runs.split()
        with open(os.path.join(self.proc, str(pid), 'cmdline'), 'w', encoding='utf-8') as stream:
            stream.write('\0'.join(words) + '\0')
        self.values['/local/domain/%d/qemu-pid' % domid] = str(pid)
        if delivered is not None:
            self.values[TEXT_PATH % domid] = delivered

    def _run(self, arguments, _timeout_seconds):
        value = self.values.get(arguments[1])
        return answer(
            (1, b'', b'') if value is None else (0, value.encode('ascii') + b'\n', b''))


class Desk:
    """Receipts with a clock that stands still, and looks that run when told to."""

    def __init__(self, directory, machine):
        self.now, self.wall = 50.0, 1800000000.0
        self.jobs = []
        self.journal = Journal(os.path.join(directory, 'vgpu_journal.db'), timeout_seconds=1.0)
        self.journal.open()
        self.receipts = Receipts(inspect=self.jobs.append, write=lambda write: write(self.journal),
                                 clock=lambda: self.now, wall=lambda: self.wall)
        self.receipts.attend(machine.host, HOST, NAMES)

    def show(self, *vms, desired=SPAN, carried=SPAN, is_registered=True):
        for vm in vms:
            self.receipts.note_record(vm, desired, carried, is_registered)

    def look(self, staged=SPAN):
        """Run the looks that wait, and take what they found."""
        jobs, self.jobs[:] = self.jobs[:], []
        for job in jobs:
            self.receipts.note_looked(run(job()), frozenset([] if staged is None else [staged]))
        return len(jobs)

    @property
    def boots(self):
        """(kind, domid, verdict) of each receipt, the oldest first."""
        return [(boot.kind, boot.domid, boot.verdict)
                for boot in reversed(self.journal.list_boots(UUID))]


@pytest.fixture
def machine(tmp_path):
    return Machine(str(tmp_path))


@pytest.fixture
def build_desk(tmp_path, machine):
    """Build a desk over the same journal; the one before is closed."""
    desks = []

    def build():
        for desk in desks:
            desk.journal.close()
        desks.append(Desk(str(tmp_path), machine))
        return desks[-1]
    yield build
    for desk in desks:
        desk.journal.close()


@pytest.fixture
def desk(build_desk):
    return build_desk()


@pytest.fixture
def lines(log_output):
    """The lines vm.booted so far."""
    return lambda: [line for line in log_output if line['event'] == 'vm.booted']


def halted(operation=None):
    return build_vm(operation=operation)


def running(domid, operation=None, host=HOST):
    return build_vm(operation=operation, power_state=PowerState.RUNNING, domid=domid,
                    resident_on=host)


def test_boot_ends_in_one_line_that_tells_the_whole_story(desk, machine, lines):
    machine.run_domain(7, '-device x,y=1 ' + SPAN, delivered=SPAN)
    desk.show(halted(), halted('start'))
    desk.now += 1.25
    desk.show(running(7, 'start'), running(7, 'start'), running(7))
    desk.look()
    assert lines() == [{
        'event': 'vm.booted', 'log_level': 'info', 'vm_uuid': UUID, 'vm_name': 'web-01',
        'kind': 'start', 'domid': 7, 'desired': SPAN, 'carried': SPAN, 'found': SPAN,
        'verdict': 'as_desired', 'rescued': False, 'elapsed_ms': 1250}]
    assert desk.boots == [('start', 7, 'as_desired')]


@pytest.mark.parametrize('runs, delivered, staged, verdict, level', [
    pytest.param(SPAN, SPAN, SPAN, 'as_desired', 'info', id='as-desired'),
    pytest.param(OTHER_SPAN, OTHER_SPAN, OTHER_SPAN, 'pending', 'info', id='pending'),
    pytest.param(OTHER_SPAN, OTHER_SPAN, SPAN, 'stale', 'warning', id='stale'),
    pytest.param('', None, SPAN, 'missing', 'warning', id='missing'),
    pytest.param('', SPAN, SPAN, 'not_consumed', 'warning', id='not-consumed'),
    pytest.param('', '"' + SPAN, SPAN, 'not_consumed', 'warning', id='delivered-unreadable'),
    pytest.param('', '-foo "', SPAN, 'missing', 'warning', id='delivered-unreadable-not-ours'),
    pytest.param('-device vgpu-stub2,vm_id=10', None, SPAN, 'missing', 'warning',
                 id='a-device-that-begins-like-ours')])
def test_line_says_what_the_qemu_of_the_domain_runs(desk, machine, lines, runs, delivered, staged,
                                                    verdict, level):
    machine.run_domain(7, runs, delivered)
    desk.show(halted(), running(7))
    desk.look(staged=staged)
    assert [(line['verdict'], line['log_level']) for line in lines()] == [(verdict, level)]


def test_boot_on_another_host_is_unverified(desk, lines):
    desk.show(halted(), running(7, host=OTHER_HOST))
    desk.look()
    line, = lines()
    assert (line['verdict'], line['log_level']) == ('unverified', 'warning') and line['problem']


class Afar:
    """Other hosts whose plugin always finds our span; looks wait like the desk's."""

    def __init__(self, desk):
        self.callers = self
        self.asked = []
        self._jobs = desk.jobs

    def submit(self, job):
        self._jobs.append(lambda: job('the client'))

    def inspect(self, client, host, request):
        self.asked.append((client, host, request.domid, request.vm_uuid))
        return answer(BootFinding(SPAN))


def test_master_has_the_host_that_runs_the_vm_asked_once(desk, machine, lines):
    other_hosts = Afar(desk)
    desk.receipts.attend(machine.host, HOST, NAMES, other_hosts)
    desk.show(halted(), running(7, host=OTHER_HOST), running(7, host=OTHER_HOST))
    assert desk.look() == 1 and other_hosts.asked == [
        ('the client', OTHER_HOST, 7, UUID)]
    assert [line['verdict'] for line in lines()] == ['as_desired']
    assert desk.boots == [('start', 7, 'as_desired')]


def test_member_records_boots_on_other_hosts_as_unverified(desk, machine, lines):
    desk.receipts.attend(machine.host, HOST, NAMES)
    desk.show(halted(), running(7, host=OTHER_HOST))
    assert desk.look() == 1
    assert [line['verdict'] for line in lines()] == ['unverified']


def test_over_tcp_every_boot_is_unverified(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.receipts.attend(None, HOST, NAMES)
    desk.show(halted(), running(7))
    desk.look()
    assert [line['verdict'] for line in lines()] == ['unverified']


def test_host_that_does_not_show_it_at_once_is_asked_again(desk, machine, lines, monkeypatch):
    monkeypatch.setattr('watcher.boots.inspection.pause',
                        lambda _seconds: answer(machine.run_domain(7, SPAN)))
    desk.show(halted(), running(7))
    desk.look()
    assert [line['verdict'] for line in lines()] == ['as_desired']


def test_host_that_never_shows_it_leaves_the_boot_unverified(desk, lines, monkeypatch):
    pauses = []
    monkeypatch.setattr('watcher.boots.inspection.pause',
                        lambda seconds: answer(pauses.append(seconds)))
    desk.show(halted(), running(7))
    desk.look()
    assert [line['verdict'] for line in lines()] == ['unverified'] and 0 < sum(pauses) <= 2


@pytest.mark.parametrize('records', [
    pytest.param([running(7), running(7)], id='unchanged'),
    pytest.param([halted(), halted('start'), halted()], id='a-start-that-failed'),
    pytest.param([halted(), halted('clone'), halted()], id='a-clone')])
def test_no_new_qemu_is_no_line(desk, machine, lines, records):
    machine.run_domain(7, SPAN)
    desk.show(records[0])
    desk.look()
    before = len(lines())
    desk.show(*records[1:])
    assert desk.look() == 0 and len(lines()) == before


def test_boot_of_an_unregistered_vm_without_our_arguments_has_no_receipt(desk, machine):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'), running(7), is_registered=False, carried=None)
    assert desk.look() == 0 and desk.boots == []


def test_boot_of_an_unregistered_vm_with_our_arguments_has_a_quiet_receipt(desk, machine, lines):
    machine.run_domain(7, OTHER_SPAN)
    desk.show(halted(), halted('start'), running(7), running(7), is_registered=False, desired=None,
              carried=OTHER_SPAN)
    assert desk.look(staged=None) == 1 and lines() == []
    assert desk.boots == [('start', 7, 'as_desired')]
    assert desk.receipts.newest.find(UUID).found == OTHER_SPAN


@pytest.mark.parametrize('fields', [
    pytest.param(dict(is_registered=True), id='registered'),
    pytest.param(dict(is_registered=False, desired=None), id='carries-our-arguments')])
def test_what_runs_is_looked_at_once_when_it_becomes_our_business(desk, machine, lines, fields):
    machine.run_domain(7)
    desk.show(halted(), running(7), is_registered=False, desired=None, carried=None)
    assert desk.look() == 0
    desk.show(running(7), running(7), **fields)
    assert desk.look(staged=None) == 1 and lines() == []
    desk.show(running(7), **fields)
    assert desk.look() == 0
    assert desk.receipts.newest.find(UUID).found is None


def test_withheld_arguments_of_an_unregistered_vm_are_told(desk, machine, lines):
    machine.run_domain(7, delivered=SPAN)
    desk.show(halted(), running(7), is_registered=False, desired=None)
    looked = run(desk.jobs.pop()())
    desk.receipts.note_looked(
        looked._replace(finding=looked.finding._replace(is_withheld=True)), frozenset())
    assert [(line['verdict'], line['log_level'], line['found']) for line in lines()] == [
        ('withheld', 'warning', None)]


def test_boot_is_judged_by_what_was_desired_when_it_came_up(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    desk.show(running(7), desired=OTHER_SPAN)
    desk.look(staged=None)
    assert [(line['verdict'], line['desired']) for line in lines()] == [('as_desired', SPAN)]


def test_as_desired_is_what_was_found_and_not_what_the_record_carries(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7), carried=OTHER_SPAN)
    desk.look()
    assert [(line['verdict'], line['carried']) for line in lines()] == [('as_desired', OTHER_SPAN)]


def test_member_leaves_the_verdict_of_other_hosts_to_the_master(desk, machine, lines):
    desk.receipts.attend(machine.host, HOST, NAMES, is_member=True)
    desk.show(running(7, host=OTHER_HOST))
    desk.look()
    assert [(line['verdict'], line['log_level']) for line in lines()] == [('unverified', 'info')]


def test_boot_whose_row_went_meanwhile_still_ends_in_a_line(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'))
    desk.show(running(7), is_registered=False, desired=None)
    desk.look(staged=None)
    assert [line['verdict'] for line in lines()] == ['stale']


def test_rescue_shows_in_the_line(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'))
    desk.receipts.note_rescued(UUID)
    desk.show(running(7))
    desk.look()
    assert [line['rescued'] for line in lines()] == [True]


def test_each_reboot_has_a_line_of_its_own(desk, machine, lines):
    for domid in (7, 8, 9):
        machine.run_domain(domid, SPAN)
        desk.show(running(domid))
        desk.look()
    assert [(line['kind'], line['domid']) for line in lines()] == [
        ('unknown', 7), ('reboot', 8), ('reboot', 9)]


def test_late_word_of_another_domain_is_ignored(desk, lines):
    desk.show(halted(), running(7))
    desk.receipts.note_looked(Inspected(UUID, (HOST, 6), BootFinding(SPAN)), frozenset([SPAN]))
    desk.receipts.note_looked(Inspected('unknown', (HOST, 7), BootFinding(SPAN)), frozenset([SPAN]))
    assert lines() == []


def test_end_of_a_start_does_not_close_the_boot_that_is_being_looked_at(desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'), running(7, 'start'), running(7, 'start'), running(7))
    assert desk.look() == 1 and len(lines()) == 1


# Across a restart of the daemon.

def test_known_domain_is_not_told_again_by_the_next_daemon(desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    desk.look()
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7))
    assert successor.look() == 0 and len(lines()) == 1


def test_boot_that_was_missed_is_found_by_the_next_daemon(desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    machine.run_domain(8, SPAN)
    desk.show(halted(), running(7))
    desk.look()
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(8))
    successor.look()
    assert [(line['kind'], line['domid']) for line in lines()] == [('start', 7), ('unknown', 8)]


def test_same_domid_after_a_restart_of_the_host_is_a_new_boot(desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), running(7))
    desk.look()
    machine.set_boot_id('boot-2')
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7))
    successor.look()
    assert len(lines()) == 2


def test_open_boot_is_closed_by_the_next_daemon(desk, build_desk, machine, lines):
    machine.run_domain(7, SPAN)
    desk.show(halted(), halted('start'))
    successor = build_desk()
    successor.wall += 30.0
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7, 'start'), running(7))
    successor.look()
    line, = lines()
    assert (line['kind'], line['verdict'], line['elapsed_ms']) == ('start', 'as_desired', 30000)
    assert successor.boots == [('start', 7, 'as_desired')]


def open_seen_boot(desk, **fields):
    """What vgpu-admin leaves of a restart while no daemon runs."""
    desk.journal.open_boot(Boot(**dict({
        'id': 0, 'vm_uuid': UUID, 'vm_name': 'web01', 'kind': 'start', 'host': HOST, 'domid': 7,
        'boot_id': 'boot-1', 'task': None, 'opened_at': '', 'desired': SPAN, 'carried': SPAN,
        'found': SPAN, 'verdict': 'as_desired'}, **fields)))


def test_what_vgpu_admin_saw_while_no_daemon_ran_is_looked_at_and_told(desk, machine, lines):
    machine.run_domain(7, OTHER_SPAN)
    open_seen_boot(desk)
    desk.receipts.recall(desk.journal, HOST)
    desk.show(running(7))
    desk.look()
    assert desk.boots == [('start', 7, 'stale')] and len(lines()) == 1


def test_what_vgpu_admin_saw_stands_where_it_cannot_be_looked_at_any_more(desk, lines):
    open_seen_boot(desk)
    desk.receipts.recall(desk.journal, HOST)
    desk.show(halted())
    desk.look()
    assert desk.boots == [('start', 7, 'as_desired')]
    line, = lines()
    assert (line['verdict'], line['found'], line['log_level']) == ('as_desired', SPAN, 'info')


def test_open_boot_of_an_earlier_boot_of_the_host_is_none_of_the_domain_that_runs(
        desk, build_desk, machine, lines):
    open_seen_boot(desk)
    machine.set_boot_id('boot-2')
    machine.run_domain(7, OTHER_SPAN)
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(running(7))
    successor.look()
    assert [(line['kind'], line['verdict']) for line in lines()] == [
        ('start', 'as_desired'), ('unknown', 'stale')]


def test_open_boot_that_came_to_nothing_is_closed_without_a_verdict(desk, build_desk, lines):
    desk.show(halted(), halted('start'))
    successor = build_desk()
    successor.receipts.recall(successor.journal, HOST)
    successor.show(halted())
    assert lines() == [] and successor.journal.open_boots() == ()
    assert successor.boots == [('start', None, None)]


def test_unwatched_boot_is_of_unknown_kind(desk, machine, lines):
    machine.run_domain(7, SPAN)
    machine.run_domain(8, SPAN)
    desk.show(running(7))
    desk.look()
    desk.receipts.doubt()
    desk.show(running(8))
    desk.look()
    assert [line['kind'] for line in lines()] == ['unknown', 'unknown']


@pytest.mark.parametrize('arguments, found', [
    pytest.param('qemu -device vgpu-stub,vm_id=1', '-device vgpu-stub,vm_id=1', id='one'),
    pytest.param('qemu -device vgpu-stub,vm_id=1 -x -device vgpu-cuda,vm_id=2',
                 '-device vgpu-stub,vm_id=1 -device vgpu-cuda,vm_id=2', id='two'),
    pytest.param('qemu -device VGA -name vgpu-stub,vm_id=1', None, id='none'),
    pytest.param('', None, id='nothing')])
def test_our_devices_are_found_among_arguments(arguments, found):
    assert find_in_arguments(tuple(arguments.split()), NAMES) == found
