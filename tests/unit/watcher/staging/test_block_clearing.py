"""clear-fences: start blocks that 0.1 left are lifted by hand; the value that was away first."""

import pytest

from tests.unit.watcher.builders import OTHER_SPAN, SPAN
from watcher.errors import XapiUnreachable
from watcher.staging import block_clearing
from watcher.staging.block_clearing import NotTheWriter, clear_blocks
from watcher.vm.record import BLOCK_MARK
from watcher.xapi.role import Role

OURS = BLOCK_MARK + ' owner dom0 pid 1'
TELLING = OURS + ' value: -a ' + SPAN
KEY = 'device-model-args'


@pytest.fixture
def told():
    return []


@pytest.fixture
def clear(simulator, settings, told):
    """Lift all blocks; how many VMs had one."""
    def clear():
        return clear_blocks(settings(xapi={'url': 'unix:' + simulator.settings.socket_path}),
                            told.append)
    return clear


@pytest.fixture
def blocked(simulator):
    """Build a VM with blocks; its ref."""
    def build(args=SPAN, blocks=None, **fields):
        platform = {} if args is None else {KEY: args}
        ref = simulator.create_vm('web', platform=platform, **fields)
        blocks = {'start': OURS, 'start_on': OURS} if blocks is None else blocks
        simulator.set_field(ref, 'blocked_operations', blocks)
        return ref
    return build


def test_blocks_of_ours_are_lifted_and_others_stay(simulator, clear, blocked, told):
    first = blocked()
    second = blocked(blocks={'start': 'ask Anna', 'start_on': OURS, 'destroy': OURS})
    bare = blocked(blocks={})
    assert clear() == 2
    assert simulator.vm(first)['blocked_operations'] == {}
    assert simulator.vm(second)['blocked_operations'] == {'start': 'ask Anna', 'destroy': OURS}
    assert simulator.vm(bare)['blocked_operations'] == {}
    assert sorted(told) == sorted('lifted the start block of VM %s' % simulator.vm(ref)['uuid']
                                  for ref in (first, second))


def test_nothing_to_lift_is_no_error_and_writes_nothing(simulator, clear, blocked):
    blocked(blocks={'start': 'ask Anna'})
    simulator.clear_calls()
    assert clear() == 0
    assert not [call for call in simulator.calls if '_operations' in call.method
                or 'platform' in call.method]


def test_value_that_a_killed_replacement_had_removed_comes_back(simulator, clear, blocked):
    ref = blocked(args=None, blocks={'start': TELLING, 'start_on': TELLING})
    assert clear() == 1
    assert simulator.vm(ref)['platform'][KEY] == '-a ' + SPAN
    assert simulator.vm(ref)['blocked_operations'] == {}


def test_value_that_stands_there_is_left(simulator, clear, blocked):
    ref = blocked(args=OTHER_SPAN, blocks={'start': TELLING})
    assert clear() == 1
    assert simulator.vm(ref)['platform'][KEY] == OTHER_SPAN


def test_template_keeps_its_blocks(simulator, clear, blocked):
    ref = blocked(is_a_template=True)
    assert clear() == 0
    assert set(simulator.vm(ref)['blocked_operations']) == {'start', 'start_on'}


def test_member_and_old_xapi_write_nothing_and_say_so(simulator, clear, blocked, monkeypatch):
    ref = blocked()
    monkeypatch.setattr(block_clearing, 'decide_role', lambda _identity, is_local: Role(
        False, is_local, 'OpaqueRef:host', '1.249.3', 'this host is a member'))
    with pytest.raises(NotTheWriter, match='this host is a member'):
        clear()
    assert set(simulator.vm(ref)['blocked_operations']) == {'start', 'start_on'}


def test_without_xapi_it_says_so(settings, told):
    with pytest.raises(XapiUnreachable):
        clear_blocks(settings(), told.append)
