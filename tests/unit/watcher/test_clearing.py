"""What a dead daemon left is lifted; the value that it had taken away comes back first."""

import os
import sqlite3

import pytest

from registry.journal import Journal, Replacement
from registry.lock import WriterLock
from registry.store import Registry
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.unit.watcher.builders import OTHER_SPAN, SPAN
from watcher import clearing
from watcher.clearing import DaemonAlive, ValueMissing, clear_fences, read_replacements
from watcher.errors import XapiUnreachable
from watcher.fence import MARK

OURS = MARK + ' owner dom0 pid 1'
KEY = 'device-model-args'


@pytest.fixture
def simulator(tmp_path):
    simulator = Simulator(SimulatorSettings(socket_path=str(tmp_path / 'xapi')))
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def told():
    return []


@pytest.fixture
def clear(simulator, settings, told):
    """Lift all fences; how many VMs had one."""
    def clear():
        return clear_fences(settings(xapi={'url': 'unix:' + simulator.settings.socket_path}),
                            told.append)
    return clear


@pytest.fixture
def fenced(simulator):
    """Build a VM with fences; its ref."""
    def build(args=SPAN, blocks=None, **fields):
        platform = {} if args is None else {KEY: args}
        ref = simulator.create_vm('web', platform=platform, **fields)
        blocks = {'start': OURS, 'start_on': OURS} if blocks is None else blocks
        simulator.set_field(ref, 'blocked_operations', blocks)
        return ref
    return build


@pytest.fixture
def save(simulator, settings):
    """Have the journal say that a VM's replacement is under way."""
    def save(ref, after):
        path = settings().registry.path
        if not os.path.exists(path):
            Registry(path, timeout_seconds=1.0).create('the test')
        with Journal(os.path.join(os.path.dirname(path), 'vgpu_journal.db'),
                     timeout_seconds=1.0) as journal:
            journal.begin_replacement(
                Replacement(simulator.vm(ref)['uuid'], ref, OTHER_SPAN, after, 'span_differs'))
    return save


def test_fences_of_ours_are_lifted_and_others_stay(simulator, clear, fenced, told):
    first = fenced()
    second = fenced(blocks={'start': 'ask Anna', 'start_on': OURS, 'destroy': OURS})
    bare = fenced(blocks={})
    assert clear() == 2
    assert simulator.vm(first)['blocked_operations'] == {}
    assert simulator.vm(second)['blocked_operations'] == {'start': 'ask Anna', 'destroy': OURS}
    assert simulator.vm(bare)['blocked_operations'] == {}
    assert sorted(told) == sorted('lifted the fence of VM %s' % simulator.vm(ref)['uuid']
                                  for ref in (first, second))
    assert clear() == 0


def test_running_vm_is_freed_too(simulator, clear, fenced):
    ref = fenced(power_state='Running')
    assert clear() == 1 and simulator.vm(ref)['blocked_operations'] == {}


@pytest.mark.parametrize('fields', [{'is_a_template': True}, {'is_a_snapshot': True}])
def test_template_and_snapshot_are_never_written_to(simulator, clear, fenced, fields):
    ref = fenced(**fields)
    assert clear() == 0 and set(simulator.vm(ref)['blocked_operations']) == {'start', 'start_on'}


def test_value_comes_back_before_the_fence_goes(simulator, clear, fenced, save, told):
    ref = fenced(None)
    save(ref, '-a ' + SPAN)
    simulator.clear_calls()
    assert clear() == 1 and simulator.vm(ref)['platform'][KEY] == '-a ' + SPAN
    methods = [call.method for call in simulator.calls]
    assert methods.index('VM.add_to_platform') < methods.index(
        'VM.remove_from_blocked_operations')
    assert told[0].startswith('restored the arguments of VM')


@pytest.mark.parametrize('args, after, fields', [
    pytest.param(OTHER_SPAN, SPAN, {}, id='a-value-stands-there'),
    pytest.param(None, None, {}, id='nothing-was-to-come'),
    pytest.param(None, SPAN, {'power_state': 'Running'}, id='running'),
    pytest.param(None, SPAN, {'power_state': 'Suspended'}, id='suspended')])
def test_value_comes_back_only_where_one_is_missing_at_rest(simulator, clear, fenced, save, args,
                                                            after, fields):
    ref = fenced(args, **fields)
    save(ref, after)
    assert clear() == 1 and simulator.vm(ref)['platform'].get(KEY) == args
    assert simulator.vm(ref)['blocked_operations'] == {}


def test_fence_stays_while_the_value_cannot_come_back(simulator, clear, fenced, save, told):
    ref, other = fenced(None), fenced(SPAN)
    save(ref, SPAN)
    fault = simulator.add_fault('failure', method='VM.add_to_platform',
                                parameters={'code': 'INTERNAL_ERROR', 'params': []})
    with pytest.raises(ValueMissing):
        clear()
    assert told[0].startswith('could not restore')
    assert set(simulator.vm(ref)['blocked_operations']) == {'start', 'start_on'}
    assert simulator.vm(other)['blocked_operations'] == {}
    simulator.faults.remove(fault)
    assert clear() == 1 and simulator.vm(ref)['blocked_operations'] == {}
    assert simulator.vm(ref)['platform']['device-model-args'] == SPAN


def test_session_is_given_back(simulator, clear):
    clear()
    assert [call.method for call in simulator.calls][-1] == 'session.logout'


def test_live_daemon_lifts_its_own_fences(simulator, clear, fenced, settings, monkeypatch):
    monkeypatch.setattr(clearing, '_LOCK_SECONDS', 0.0)
    ref, lock = fenced(), WriterLock(settings().registry.path)
    assert lock.acquire()
    with pytest.raises(DaemonAlive):
        clear()
    lock.release()
    assert set(simulator.vm(ref)['blocked_operations']) == {'start', 'start_on'}
    assert clear() == 1


def test_without_xapi_nothing_is_lifted_and_the_lock_is_free_again(simulator, clear, settings):
    simulator.stop()
    with pytest.raises(XapiUnreachable):
        clear()
    lock = WriterLock(settings().registry.path)
    assert lock.acquire()
    lock.release()


def test_fences_go_also_where_the_directory_of_the_registry_is_missing(simulator, fenced, settings,
                                                                       tmp_path, told):
    ref = fenced()
    built = settings(xapi={'url': 'unix:' + simulator.settings.socket_path},
                     registry={'path': str(tmp_path / 'nowhere' / 'vgpu_config.db')})
    assert clear_fences(built, told.append) == 1
    assert simulator.vm(ref)['blocked_operations'] == {}


@pytest.mark.parametrize('content', [None, b'', b'no database'], ids=['missing', 'empty', 'odd'])
def test_journal_that_cannot_be_read_has_no_replacements(tmp_path, content):
    if content is not None:
        (tmp_path / 'vgpu_journal.db').write_bytes(content)
    assert read_replacements(str(tmp_path / 'vgpu_config.db')) == {}


def test_locked_journal_is_no_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr(clearing, '_JOURNAL_SECONDS', 0.1)
    with Journal(str(tmp_path / 'vgpu_journal.db'), timeout_seconds=1.0) as journal:
        journal.begin_replacement(Replacement('u', 'r', SPAN, OTHER_SPAN, 'span_differs'))
    lock = sqlite3.connect(str(tmp_path / 'vgpu_journal.db'), isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    with pytest.raises(ValueMissing, match='run this again'):
        read_replacements(str(tmp_path / 'vgpu_config.db'))
    lock.close()
    assert list(read_replacements(str(tmp_path / 'vgpu_config.db'))) == ['u']
