"""An answer that says nothing costs next to nothing, and no answer that says something is missed."""

from typing import Any, Callable

import pytest

from registry.values import Priority
from tests.unit.watcher.builders import HOST, SPAN, UUID, build_vm, uuid_of
from tests.unit.watcher.watchers import build_watcher, build_writer
from watcher.daemon import Watcher
from watcher.errors import MalformedRecord
from watcher.staging.injector import Outcome, OutcomeKind
from watcher.vm.record import Batch, PoolRecord, PowerState, VmRecord
from watcher.xapi.event_stream import StreamBroken

STAGED = build_vm(SPAN)
BARE = STAGED._replace(args=None)
RUNNING = STAGED._replace(power_state=PowerState.RUNNING, domid=3, resident_on=HOST)


@pytest.fixture
def watcher(tmp_path: Any) -> Watcher:
    """A Watcher in sync with one VM, which carries its span."""
    watcher = build_writer(str(tmp_path / 'vgpu_config.db'), {UUID: 10}, Priority.HIGH)
    watcher.handle(Batch('1', (STAGED,), is_first=True))
    return watcher


def is_followed(watcher: Watcher, *vms: Any, **fields: Any) -> bool:
    """Whether anything follows from a batch: the first step is a look at the registry."""
    polls = []
    watcher.poll_registry = lambda: polls.append(Watcher.poll_registry(watcher))  # type: ignore
    watcher.handle(Batch('2', vms, **fields))
    return bool(polls)


def test_record_that_was_followed_says_nothing_again(watcher: Watcher) -> None:
    assert not is_followed(watcher, build_vm(SPAN))
    assert is_followed(watcher, RUNNING) and not is_followed(watcher, RUNNING)
    assert is_followed(watcher, build_vm(SPAN)) and not is_followed(watcher, build_vm(SPAN))
    assert watcher.last_answer == 100.0


def test_an_empty_answer_says_nothing(watcher: Watcher) -> None:
    assert not is_followed(watcher)


@pytest.mark.parametrize('fields', [
    pytest.param({'args': None}, id='args'), pytest.param({'name': 'other'}, id='name'),
    pytest.param({'operations': (('OpaqueRef:task', 'start'),)}, id='operation'),
    pytest.param({'uuid': uuid_of(11)}, id='uuid'), pytest.param({'domid': 5}, id='domid'),
    pytest.param({'mirror': (('vgpu-watcher-1', '{}'),)}, id='mirror'),
    pytest.param({'ref': 'OpaqueRef:new'}, id='another-vm')])
def test_whatever_differs_is_followed(watcher: Watcher, fields: Any) -> None:
    assert is_followed(watcher, STAGED._replace(**fields))


@pytest.mark.parametrize('fields', [
    pytest.param({'gone': ('OpaqueRef:x',)}, id='gone'),
    pytest.param({'malformed': (MalformedRecord('OpaqueRef:x', 'uuid', 'is no UUID'),)},
                 id='malformed'),
    pytest.param({'pools': (PoolRecord('OpaqueRef:pool', uuid_of(1), HOST),)}, id='pool'),
    pytest.param({'is_first': True}, id='first')])
def test_what_is_no_record_of_a_vm_is_followed(watcher: Watcher, fields: Any) -> None:
    assert is_followed(watcher, STAGED, **fields)


def be_interrupted(watcher: Watcher) -> None:
    watcher.handle(StreamBroken('cut', 1.0))


def be_set_aside(watcher: Watcher) -> None:
    watcher.handle(Batch('2', (), malformed=(MalformedRecord(STAGED.ref, 'uuid', 'x'),)))


def meet_a_copy(watcher: Watcher) -> None:
    watcher.handle(Batch('2', (RUNNING, RUNNING._replace(ref='OpaqueRef:2', uuid=uuid_of(2)))))
    watcher.handle(Batch('2', (STAGED,)))


def read_another_record(watcher: Watcher) -> None:
    """A job of ours was overtaken: what it read stands in the inventory."""
    watcher.handle(Batch('2', (BARE,)))
    plan = watcher.staging.busy[STAGED.ref]
    watcher.handle(Outcome(OutcomeKind.OVERTAKEN, plan, RUNNING))


@pytest.mark.parametrize('happen', [be_interrupted, be_set_aside, meet_a_copy])
def test_after_this_the_same_record_is_news(watcher: Watcher,
                                            happen: Callable[[Watcher], None]) -> None:
    assert not is_followed(watcher, STAGED)
    happen(watcher)
    assert is_followed(watcher, STAGED)


@pytest.mark.parametrize('shown', [
    pytest.param(RUNNING, id='the-same'), pytest.param(BARE, id='what-was-there-before')])
def test_what_an_event_shows_after_a_job_has_read_is_followed(
        watcher: Watcher, shown: VmRecord) -> None:
    read_another_record(watcher)
    assert is_followed(watcher, shown)


def test_vm_that_waits_for_something_is_looked_at_again(watcher: Watcher) -> None:
    drifted = STAGED._replace(args=SPAN.replace('high', 'low'))
    assert is_followed(watcher, drifted) and is_followed(watcher, drifted)


def test_fence_is_looked_at_again(watcher: Watcher) -> None:
    fenced = STAGED._replace(start_blocks=(('start', 'somebody'),))
    assert is_followed(watcher, fenced) and is_followed(watcher, fenced)


def test_before_anybody_knows_who_is_registered_nothing_counts_as_followed(
        tmp_path: Any) -> None:
    watcher = build_watcher(str(tmp_path / 'missing.db'))
    watcher.handle(Batch('1', (STAGED,), is_first=True))
    taken = []
    watcher.inventory.update = lambda *_all: taken.append(1)  # type: ignore
    watcher.handle(Batch('2', (STAGED,)))
    assert taken
