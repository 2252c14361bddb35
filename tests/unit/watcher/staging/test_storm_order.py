"""Many VMs that start at once, and few callers: those that started first are written first."""

from typing import Any, Dict, List

import pytest

from registry.store import Registry
from tests.unit.watcher.builders import HOST, POLICY, build_raw, uuid_of
from watcher.config.settings import XapiSettings
from watcher.assembly import build_watcher
from watcher.loop.loop import Inbox, Loop, Urgency
from watcher.loop.steps import TURN, Steps
from watcher.state.registry_view import RegistryView
from watcher.xapi.callers import Callers
from watcher.xapi.record_parser import parse_batch
from watcher.xapi.role import Role

VMS = 24
PATIENCE_SECONDS = 60.0


class Xapi:
    """The client of every job: notes which VM is written to; each write waits to be let go."""

    handle = 'OpaqueRef:session'

    def __init__(self) -> None:
        self.written: List[str] = []
        self.is_hanging = True

    def add_args(self, ref: str, _value: str) -> Steps[None]:
        """Note it."""
        self.written.append(ref)
        yield from self.hang()

    def hang(self) -> Steps[None]:
        """Until it is let go."""
        while self.is_hanging:
            yield TURN


class Storm:
    """A Watcher in sync with its callers, and the answers that XAPI gives it."""

    def __init__(self, path: str, callers: int, xapi: Xapi) -> None:
        registry = Registry(path, timeout_seconds=1.0)
        registry.create('the test')
        with registry.edit(who='the test', command='import') as edit:
            for number in range(1, VMS + 1):
                edit.add_vm(uuid_of(number), vm_id=number)
        self.xapi = xapi
        self.loop, self.inbox = Loop(), Inbox()
        self.callers = Callers('caller', callers, self.loop, self.inbox.put)
        self.callers.begin(XapiSettings(), xapi.handle)
        self.watcher = build_watcher(
            RegistryView(path), POLICY, callers=self.callers,
            inspectors=self.callers, restart_stream=lambda: None)  # type: ignore
        self.watcher.begin_session(Role(True, True, HOST, '26.1.4'))
        self._event_id = 0
        # At rest they carry their arguments: nothing is written before the storm.
        self.watcher.handle(parse_batch(self._build_answer(range(1, VMS + 1), {}), is_first=True))
        self.watcher.permit.is_locked = True

    def show_starts(self, numbers: Any) -> None:
        """One answer in which VMs start, in this order; it lists them in another."""
        answer = self._build_answer(numbers, {'OpaqueRef:task': 'start'})
        answer['events'] = answer['events'][1::2] + answer['events'][::2]
        self.watcher.handle(parse_batch(answer, is_first=False))

    def end(self, jobs: int) -> List[str]:
        """Let the writes go, and wait for so many; the refs in their order."""
        self.xapi.is_hanging = False
        while len(self.xapi.written) < jobs or self.watcher.staging.busy:
            messages = self.inbox.take()
            assert messages or self.loop.turn(PATIENCE_SECONDS), 'a write is missing'
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
def storm(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Storm:
    """One caller: nothing but the order of the queue decides."""
    xapi = Xapi()
    monkeypatch.setattr('watcher.xapi.callers.Client', lambda *_words, **_options: xapi)
    return Storm(str(tmp_path / 'vgpu_config.db'), 1, xapi)


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
    def note(_client: Any) -> Steps[None]:
        storm.xapi.written.append('something else')
        yield from storm.xapi.hang()
    storm.callers.submit(lambda _client: storm.xapi.hang())
    for urgency in (Urgency.LATER, Urgency.STAGE):
        storm.callers.submit(note, urgency)
    storm.show_starts([2, 1])
    assert storm.xapi.written == []
    assert storm.end(4) == [ref_of(2), ref_of(1), 'something else', 'something else']


def test_starts_are_taken_note_of_while_xapi_hangs(storm: Storm) -> None:
    storm.show_starts([4, 5, 6])
    assert len(storm.xapi.written) == 1 and len(storm.watcher.staging.busy) == 3
    assert len(storm.end(3)) == 3
