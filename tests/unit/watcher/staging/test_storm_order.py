"""Many VMs that start at once, and few callers: those that started first are written first."""

import threading
from typing import Any, Dict, Iterator, List, Optional

import pytest

from registry.store import Registry
from tests.unit.watcher.builders import HOST, POLICY, build_raw, uuid_of
from watcher.config.settings import XapiSettings
from watcher.daemon import Watcher
from watcher.runtime.waiting import Inbox
from watcher.state.registry_view import RegistryView
from watcher.vm.record import parse_batch
from watcher.xapi.role import Role
from watcher.xapi.workers import Urgency, Workers

VMS = 24
PATIENCE_SECONDS = 60.0


class Xapi:
    """Notes which VM is written to; the first write waits until it is let go."""

    handle = 'OpaqueRef:session'
    settings = XapiSettings()

    def __init__(self) -> None:
        self.written: List[str] = []
        self.gate = threading.Event()

    def current(self) -> 'Xapi':
        """This is the client of every thread."""
        return self

    def is_current(self, _handle: Optional[str]) -> bool:
        """There is one session."""
        return True

    def add_args(self, ref: str, _value: str) -> None:
        """Note it."""
        self.written.append(ref)
        assert self.gate.wait(PATIENCE_SECONDS)


class Storm:
    """A Watcher in sync with its callers, and the answers that XAPI gives it."""

    def __init__(self, path: str, callers: int) -> None:
        registry = Registry(path, timeout_seconds=1.0)
        registry.create('the test')
        with registry.edit(who='the test', command='import') as edit:
            for number in range(1, VMS + 1):
                edit.add_vm(uuid_of(number), vm_id=number)
        self.xapi = Xapi()
        self.inbox = Inbox()
        self.callers = Workers('caller', callers, self.inbox.put)
        self.watcher = Watcher(
            RegistryView(path), POLICY, callers=self.callers, inspectors=self.callers,
            clients=self.xapi, restart_stream=lambda: None)  # type: ignore
        self.watcher.begin_session(Role(True, True, HOST, '26.1.4'))
        self._event_id = 0
        # At rest they carry their arguments: nothing is written before the storm.
        self.watcher.handle(parse_batch(self._build_answer(range(1, VMS + 1), {}), is_first=True))
        self.watcher.is_locked = True

    def show_starts(self, numbers: Any) -> None:
        """One answer in which VMs start, in this order; it lists them in another."""
        answer = self._build_answer(numbers, {'OpaqueRef:task': 'start'})
        answer['events'] = answer['events'][1::2] + answer['events'][::2]
        self.watcher.handle(parse_batch(answer, is_first=False))

    def end(self, jobs: int) -> List[str]:
        """Let the first write go, and wait for so many; the refs in the order of the writes."""
        self.xapi.gate.set()
        while len(self.xapi.written) < jobs or self.watcher.staging.busy:
            messages = self.inbox.take(PATIENCE_SECONDS)
            assert messages, 'a write is missing'
            for message in messages:
                self.watcher.handle(message)
        return self.xapi.written

    def _build_answer(self, numbers: Any, operations: Dict[str, str]) -> Dict[str, Any]:
        events = []
        for number in numbers:
            self._event_id += 1
            args = {} if operations else {'device-model-args': span_of(number)}
            events.append({
                'id': str(self._event_id), 'class': 'vm', 'operation': 'mod',
                'ref': ref_of(number), 'snapshot': build_raw(
                    uuid=uuid_of(number), current_operations=operations,
                    platform=dict({'device-model': 'qemu-upstream-uefi'}, **args))})
        return {'events': events, 'token': str(self._event_id)}


def span_of(number: int) -> str:
    return '-device vgpu-stub,pool_id=A,priority=medium,vm_id=%d' % number


def ref_of(number: int) -> str:
    return 'OpaqueRef:%04d' % number


@pytest.fixture
def storm(tmp_path: Any) -> Iterator[Storm]:
    """One caller: nothing but the order of the queue decides."""
    storm = Storm(str(tmp_path / 'vgpu_config.db'), 1)
    yield storm
    storm.xapi.gate.set()


@pytest.mark.parametrize('order', [
    pytest.param(list(range(VMS, 0, -1)), id='against-refs-and-numbers'),
    pytest.param(list(range(1, VMS + 1)), id='with-refs-and-numbers'),
    pytest.param([number * 7 % 25 for number in range(1, VMS + 1)], id='mixed')])
def test_those_that_started_first_are_written_first(storm: Storm, order: List[int]) -> None:
    storm.show_starts(order)
    assert storm.end(VMS) == [ref_of(number) for number in order]


def test_starts_of_a_later_answer_wait_behind_those_before(storm: Storm) -> None:
    storm.show_starts([9, 3, 7])
    storm.show_starts([8, 1])
    assert storm.end(5) == [ref_of(number) for number in (9, 3, 7, 8, 1)]


def test_a_start_goes_before_whatever_else_waits(storm: Storm) -> None:
    begun = threading.Event()
    storm.callers.submit(lambda: begun.set() or storm.xapi.gate.wait(PATIENCE_SECONDS))
    assert begun.wait(PATIENCE_SECONDS)
    for urgency in (Urgency.LATER, Urgency.STAGE):
        storm.callers.submit(lambda: storm.xapi.written.append('something else'), urgency)
    storm.show_starts([2, 1])
    assert storm.end(4) == [ref_of(2), ref_of(1), 'something else', 'something else']


def test_whoever_gave_way_goes_on_although_xapi_hangs(storm: Storm) -> None:
    storm.show_starts([4, 5, 6])
    assert len(storm.xapi.written) <= 1 and len(storm.watcher.staging.busy) == 3
    assert len(storm.end(3)) == 3
