"""apply-pending with the real daemon and the real simulator: what the VMs booted with, in order."""

import datetime
import os
import pty
import signal
import threading
from typing import Any, Dict, Iterator, List

import pytest

from registry.journal.journal import Journal
from registry.values import Priority
from tests.integration.cli.breaking import Daemon
from tests.integration.cli.program import Place, span, wait_until


class Pool:
    """Registered VMs that run, with a daemon beside."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.refs: Dict[str, str] = {}
        self.daemon = Daemon(place)
        self.daemon.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    def add(self, *names: str, is_running: bool = True) -> None:
        """Register VMs, numbered in their order, and start them."""
        for name in names:
            self.refs[name] = self.create_vm(name)
            self.registry_row(self.refs[name], len(self.refs))
        for number, name in enumerate(self.refs, 1):
            wait_until(lambda: self.carried(name) == span(number), 'staged')
        for name in names if is_running else ():
            self.start_vm(self.refs[name])
        for name in names if is_running else ():
            wait_until(lambda: self.verdict(name) == 'as_desired', 'verified')

    def change(self, *names: str, **fields: Any) -> None:
        """Change rows at once, by another program's hand."""
        with self.registry.edit(who='test', command='test') as edit:
            for name in names:
                edit.change_vm(self.uuid(self.refs[name]), **fields)
        self._await_pending(names)

    def renumber(self, **numbers: int) -> None:
        """Give rows other numbers, all at once."""
        path = os.path.join(self.directory, 'numbers.csv')
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('vm_uuid,vm_id\n' + ''.join(
                '%s,%d\n' % (self.uuid(self.refs[name]), number)
                for name, number in numbers.items()))
        run = self.run('import', path, '--yes')
        assert run.status == 0, run.err
        self._await_pending(list(numbers))

    def _await_pending(self, names: Any) -> None:
        wait_until(lambda: all(self.state(name) == 'pending' for name in names
                               if self.power(self.refs[name]) != 'Halted'), 'pending')

    def carried(self, name: str) -> Any:
        """What the record of a VM carries."""
        return self.args(self.refs[name])

    def verdict(self, name: str) -> Any:
        """The verdict on the VM's last boot."""
        with Journal(self.registry.journal_path, timeout_seconds=5.0) as journal:
            boot = journal.last_boot(self.uuid(self.refs[name]))
        return boot.verdict if boot is not None else None

    def state(self, name: str) -> Any:
        """The state of a VM."""
        return self.run('show-vm', '--vm-name=' + name, '--json').document['vm']['state']

    def boots(self, since: int = 0) -> List[Any]:
        """(VM, arguments) of each boot."""
        names = {ref: name for name, ref in self.refs.items()}
        return [(names[boot.ref], boot.args) for boot in self.xapi.boots[since:]]

    def powers(self) -> Dict[str, str]:
        """The power state of each VM."""
        return {name: self.power(ref) for name, ref in self.refs.items()}


class Running:
    """One apply-pending on its way, with a terminal."""

    def __init__(self, pool: Pool, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = pool.start('apply-pending', *words, stdin=theirs)
        os.close(theirs)
        self.told = self.printed = ''
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def await_text(self, text: str) -> None:
        """Wait until it has said something."""
        wait_until(lambda: text in self.told or self.process.poll() is not None, text)
        assert text in self.told, self.told

    def answer(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode('utf-8'))

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def finish(self) -> int:
        """Wait for the end; the exit status."""
        self.process.wait(60)
        self._reader.join(10)
        self.printed = self.process.stdout.read().decode('utf-8')
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        os.close(self._ours)
        assert 'Traceback' not in self.told
        return self.process.returncode

    def _read(self) -> None:
        while True:
            text = os.read(self.process.stderr.fileno(), 65536)
            if not text:
                return
            self.told += text.decode('utf-8')


@pytest.fixture
def pool(place: Place) -> Iterator[Pool]:
    place.registry.create('test')
    place.start_xapi()
    pool = Pool(place)
    yield pool
    place.xapi.faults.clear()
    pool.daemon.close()


def test_a_member_without_a_registry_names_the_master(place: Place) -> None:
    xapi = place.start_xapi(hosts=2, is_master=False)
    run = place.run('apply-pending')
    master = xapi.call('host.get_name_label', xapi.call('pool.get_master', xapi.pool))
    assert run.status == 1 and master in run.err and 'rebuild' not in run.err


def test_pending_vms_are_restarted_one_after_the_other(pool: Pool) -> None:
    pool.add('web', 'db', 'app')
    pool.add('off', is_running=False)
    pool.change('web', 'db', 'app', 'off', pool_id='B')
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    # By name.
    assert pool.boots(before) == [('app', span(3, 'B')), ('db', span(2, 'B')),
                                  ('web', span(1, 'B'))]
    assert pool.powers() == {'web': 'Running', 'db': 'Running', 'app': 'Running', 'off': 'Halted'}
    assert '3 of 3 VMs restarted, and verified.' in run.out
    assert [pool.state(name) for name in ('web', 'db', 'app')] == ['as_desired'] * 3
    again = pool.run('apply-pending', '--yes')
    assert again.status == 0 and 'Nothing is pending' in again.out
    assert len(pool.xapi.boots) == before + 3


def test_each_is_up_again_before_the_next_one_is_stopped(pool: Pool) -> None:
    pool.add('web', 'db')
    pool.change('web', 'db', priority=Priority.HIGH)
    pool.xapi.clear_calls()
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    order = [(call.method, call.params[0]) for call in pool.xapi.calls
             if call.method in ('Async.VM.clean_shutdown', 'Async.VM.start')]
    db, web = pool.refs['db'], pool.refs['web']
    assert order == [('Async.VM.clean_shutdown', db), ('Async.VM.start', db),
                     ('Async.VM.clean_shutdown', web), ('Async.VM.start', web)]


@pytest.mark.parametrize('words, expected', [
    (['--pool=B'], ['app']), (['--limit=1'], ['app']), (['web'], ['web']),
    (['--vm-name=web', '--pool=B'], [])], ids=['pool', 'limit', 'named', 'both'])
def test_what_is_chosen(pool: Pool, words: List[str], expected: List[str]) -> None:
    pool.add('web', 'app')
    pool.change('web', priority=Priority.HIGH)
    pool.change('app', pool_id='B')
    before = len(pool.xapi.boots)
    dry = pool.run('apply-pending', '--dry-run', '--json', *words)
    names = [vm['vm_name'] for vm in dry.document['vms'] if vm['result'] == 'would_restart']
    assert (dry.status, names, len(pool.xapi.boots)) == (0, expected, before)
    run = pool.run('apply-pending', '--yes', *words)
    assert run.status == 0, run.err
    assert [name for name, _args in pool.boots(before)] == expected


def test_a_suspended_vm_and_one_without_a_row_are_left(pool: Pool) -> None:
    pool.add('web', 'nap')
    pool.xapi.call('VM.suspend', pool.refs['nap'])
    pool.change('nap', pool_id='B')
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0 and 'it is Suspended, not running' in run.out, run
    assert pool.power(pool.refs['nap']) == 'Suspended'


def test_without_a_terminal_and_without_yes_nothing_happens(pool: Pool) -> None:
    pool.add('web')
    pool.change('web', pool_id='B')
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending')
    assert run.status == 2 and '--yes' in run.err
    assert pool.answer('no\n', 'apply-pending').status == 1
    assert len(pool.xapi.boots) == before and pool.power(pool.refs['web']) == 'Running'
    assert pool.answer('yes\n', 'apply-pending').status == 0
    assert pool.boots(before) == [('web', span(1, 'B'))]


def test_what_changed_since_it_was_shown_is_not_restarted(pool: Pool) -> None:
    pool.add('web')
    pool.change('web', pool_id='B')
    running = Running(pool)
    running.await_text('(yes/no): ')
    before = len(pool.xapi.boots)
    pool.change('web', priority=Priority.LOW)
    running.answer('yes\n')
    assert running.finish() == 4 and 'look again' in running.told
    assert len(pool.xapi.boots) == before


def test_an_assignment_that_changes_on_the_way_is_passed_over(pool: Pool) -> None:
    pool.add('app', 'web')
    pool.change('app', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    held = pool.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    running = Running(pool, '--yes')
    running.await_text('stopping')
    pool.change('web', priority=Priority.LOW)
    pool.xapi.faults.remove(held)
    assert running.finish() == 0
    assert pool.boots(before) == [('app', span(1, 'B'))]
    assert 'its assignment has changed since it was shown' in running.told
    assert 'go on with' not in running.printed


def test_two_vms_that_swap_their_numbers_are_stopped_together(pool: Pool) -> None:
    pool.add('web', 'db', 'app')
    pool.renumber(web=2, db=1)
    pool.change('app', pool_id='B')
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    assert pool.boots(before) == [('app', span(3, 'B')), ('db', span(1)), ('web', span(2))]
    assert 'together' in run.err


def test_a_circle_with_a_vm_that_does_not_run(pool: Pool) -> None:
    pool.add('web', 'db')
    pool.add('off', is_running=False)
    pool.renumber(web=2, db=3, off=1)
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    assert pool.boots(before) == [('db', span(3)), ('web', span(2))]
    assert pool.power(pool.refs['off']) == 'Halted'
    wait_until(lambda: pool.carried('off') == span(1), 'staged')


def test_a_chain_is_restarted_from_its_end(pool: Pool) -> None:
    pool.add('app', 'web')
    # app waits for the number of web, whose new one is free.
    pool.renumber(app=2, web=7)
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    assert pool.boots(before) == [('web', span(7)), ('app', span(2))]


def test_a_vm_that_waits_for_one_that_is_not_restarted_is_left(pool: Pool) -> None:
    pool.add('app', 'web')
    pool.renumber(app=2, web=7)
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes', '--vm-name=app', '--json')
    assert run.status == 0, run.err
    assert run.document['result'] == 'nothing_to_do'
    left = run.document['vms'][0]
    assert left['result'] == 'left' and pool.uuid(pool.refs['web']) in left['message']
    assert len(pool.xapi.boots) == before


def test_numbers_are_swapped_without_a_daemon(pool: Pool) -> None:
    pool.add('web', 'db')
    pool.renumber(web=2, db=1)
    pool.daemon.kill()
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    assert pool.boots(before) == [('db', span(1)), ('web', span(2))]


def test_what_was_verified_without_a_daemon_is_known_from_then_on(pool: Pool) -> None:
    pool.add('web')
    pool.change('web', pool_id='B')
    pool.daemon.kill()
    assert pool.run('apply-pending', '--yes').status == 0
    before = len(pool.xapi.boots)
    assert pool.state('web') == 'as_desired'
    assert pool.run('apply-pending', '--yes', '--json').document['result'] == 'nothing_to_do'
    assert len(pool.xapi.boots) == before
    told = pool.run('explain', 'web').out
    assert 'start on' in told and 'it took what was assigned then.' in told, told
    pool.daemon.start()
    boot = wait_until(pool.daemon.booted, 'the line')[0]
    assert (boot['kind'], boot['verdict'], boot['found']) == ('start', 'as_desired', span(1, 'B'))


def test_a_daemon_that_is_killed_on_the_way(pool: Pool) -> None:
    pool.add('app', 'web')
    pool.change('app', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    held = pool.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    running = Running(pool, '--yes')
    running.await_text('stopping')
    pool.daemon.kill()
    pool.xapi.faults.remove(held)
    assert running.finish() == 0, running.told
    assert pool.boots(before) == [('app', span(1, 'B')), ('web', span(2, 'B'))]


def test_the_first_that_fails_ends_it(pool: Pool) -> None:
    pool.add('app', 'db', 'web')
    pool.change('app', 'db', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    pool.xapi.add_fault('operation_failure', method='VM.clean_shutdown', ref=pool.refs['db'],
                        parameters={'code': 'VM_LACKS_FEATURE'})
    run = pool.run('apply-pending', '--yes', '--json')
    assert run.status == 1, run
    assert pool.boots(before) == [('app', span(1, 'B'))]
    assert run.document['result'] == 'failed'
    assert [(vm['vm_name'], vm['result'], vm['state']) for vm in run.document['vms']] == [
        ('app', 'restarted', 'as_desired'), ('db', 'failed', 'pending'), ('web', 'left', 'pending')]
    assert 'VM_LACKS_FEATURE' in run.document['vms'][1]['message']
    pool.xapi.faults.clear()
    assert pool.run('apply-pending', '--yes').status == 0
    assert pool.boots(before) == [('app', span(1, 'B')), ('db', span(2, 'B')),
                                  ('web', span(3, 'B'))]


def test_ctrl_c_cancels_a_stop(pool: Pool) -> None:
    pool.add('app', 'web')
    pool.change('app', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    held = pool.xapi.add_fault('operation_hang', method='VM.clean_shutdown')
    running = Running(pool, '--yes')
    wait_until(lambda: 'clean_shutdown' in set(
        pool.xapi.vm(pool.refs['app'])['current_operations'].values()), 'stopping')
    running.interrupt()
    assert running.finish() == 130, running.told
    assert pool.powers() == {'app': 'Running', 'web': 'Running'}
    assert len(pool.xapi.boots) == before
    assert 'cancelled' in running.printed and 'go on with' in running.printed
    pool.xapi.faults.remove(held)
    assert pool.run('apply-pending', '--yes').status == 0
    assert pool.boots(before) == [('app', span(1, 'B')), ('web', span(2, 'B'))]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_stopped_is_started_before_the_end(pool: Pool, number: int) -> None:
    pool.add('app', 'web')
    pool.change('app', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    held = pool.xapi.add_fault('operation_hang', method='VM.start')
    running = Running(pool, '--yes')
    wait_until(lambda: 'start' in set(
        pool.xapi.vm(pool.refs['app'])['current_operations'].values()), 'starting')
    running.interrupt(number)
    running.await_text('Ctrl-C again')
    pool.xapi.faults.remove(held)
    assert running.finish() == 130, running.told
    assert pool.boots(before) == [('app', span(1, 'B'))]
    assert '1 of 2 VMs restarted' in running.printed and 'Left: web' in running.printed
    assert pool.run('apply-pending', '--yes').status == 0
    assert pool.boots(before) == [('app', span(1, 'B')), ('web', span(2, 'B'))]


def test_a_second_ctrl_c_leaves_it_stopped_and_says_so(pool: Pool) -> None:
    pool.add('app')
    pool.change('app', pool_id='B')
    held = pool.xapi.add_fault('operation_hang', method='VM.start')
    running = Running(pool, '--yes')
    wait_until(lambda: 'start' in set(
        pool.xapi.vm(pool.refs['app'])['current_operations'].values()), 'starting')
    running.interrupt()
    running.await_text('Ctrl-C again')
    running.interrupt()
    assert running.finish() == 130, running.told
    assert 'xe vm-start uuid=' + pool.uuid(pool.refs['app']) in running.printed
    pool.xapi.faults.remove(held)


def test_a_circle_whose_second_stop_fails_is_started_again(pool: Pool) -> None:
    pool.add('db', 'web')
    pool.renumber(db=2, web=1)
    before = len(pool.xapi.boots)
    pool.xapi.add_fault('operation_failure', method='VM.clean_shutdown', ref=pool.refs['web'],
                        parameters={'code': 'VM_LACKS_FEATURE'})
    run = pool.run('apply-pending', '--yes')
    assert run.status == 1, run
    assert pool.powers() == {'db': 'Running', 'web': 'Running'}
    # With the number that it had.
    assert pool.boots(before) == [('db', span(1))]


def test_a_boot_that_is_not_right_ends_it(pool: Pool) -> None:
    """The consumer was switched off: each VM would lose its device."""
    pool.add('app', 'web')
    pool.change('app', 'web', pool_id='B')
    before = len(pool.xapi.boots)
    pool.xapi.set_consumer('off')
    run = pool.run('apply-pending', '--yes')
    assert run.status == 1 and 'not_consumed' in run.out, run
    assert [name for name, _args in pool.boots(before)] == ['app']


def _clock(shift_hours: float) -> str:
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=shift_hours)
    return at.strftime('%H:%M')


def test_a_window_that_is_closed_is_waited_for(pool: Pool) -> None:
    pool.add('app')
    pool.change('app', pool_id='B')
    before = len(pool.xapi.boots)
    running = Running(pool, '--yes', '--window=%s-%s' % (_clock(3), _clock(5)))
    running.await_text('waiting until the window opens')
    running.interrupt()
    assert running.finish() == 130 and len(pool.xapi.boots) == before
    run = pool.run('apply-pending', '--yes', '--window=%s-%s' % (_clock(-2), _clock(2)))
    assert run.status == 0 and pool.boots(before) == [('app', span(1, 'B'))]
