"""What the tests of hazards and faults have in common: staged VMs, and calls that are held up.

Stands on tests/integration/daemon/world.py. A scene works in a world that other tests have used before,
so each takes VMs of its own and numbers that the registry gives out.
"""

import threading
import uuid
from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Tuple

from registry.journal.journal import Journal
from registry.values import Priority
from simulator.database.event_from import parse_token
from simulator.faults import Fault
from simulator.wire.failures import Failure
from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import programs
from tests.support.left_by_0_1 import BLOCK, add_replacement

FOREIGN = '-foo "a  b"'
# In the order in which a replacement makes them (P5). On a busy machine the first is made again:
# what it answered is too old when the map could be sent.
REPLACEMENT = ('VM.get_record', 'VM.set_platform', 'VM.get_record')
# The mirror's calls (other_config) do not count: they come when there is nothing else to do.
_ANY = '*[!g]'


class Subject(NamedTuple):
    """A registered VM of a scene."""
    ref: str
    number: int
    foreign: str = FOREIGN

    def value(self, priority: str = 'medium') -> str:
        """The whole value that the VM shall carry."""
        return ('%s %s' % (self.foreign, span(self.number, priority=priority))).strip()


def register(world: World, count: int, foreign: str = FOREIGN, **fields: Any) -> List[Subject]:
    """So many new VMs with foreign text, registered in one edit."""
    refs = [world.create_vm('vm', args=foreign or None, **fields) for _ in range(count)]
    with world.registry.edit(who='test', command='register-vm') as edit:
        return [Subject(ref, edit.add_vm(world.uuid(ref)).vm_id, foreign) for ref in refs]


def stage(world: World, count: int = 1, foreign: str = FOREIGN) -> List[Subject]:
    """So many new VMs that carry their span, at rest, and are known to the daemon.

    They are born with what their rows ask for: nothing has to be written, or waited for.
    """
    uuids = [str(uuid.uuid4()) for _ in range(count)]
    with world.registry.edit(who='test', command='register-vm') as edit:
        numbers = [edit.add_vm(vm_uuid).vm_id for vm_uuid in uuids]
    subjects, called = [], len(world.xapi.calls)
    for vm_uuid, number in zip(uuids, numbers):
        subject = Subject('', number, foreign)
        subjects.append(subject._replace(
            ref=world.create_vm('vm', args=subject.value(), uuid=vm_uuid)))
    _wait_seen(world, subjects[-1].ref, called)
    for subject in subjects:
        world.wait_settled(subject.ref, subject.value())
    return subjects


def wait_claimed(world: World, subjects: Iterable[Subject]) -> None:
    """Wait until the daemon has noted whose the numbers are: who bears one later is a copy."""
    numbers = {subject.number for subject in subjects}

    def are_claimed() -> bool:
        with Journal(world.registry.journal_path, timeout_seconds=10.0) as journal:
            return numbers <= set(journal.claims())
    wait_until(are_claimed, 'the numbers %s to be claimed' % sorted(numbers))


def _wait_seen(world: World, ref: str, called: int) -> None:
    """Wait until a token shows that the daemon was told of a new VM, not of anything else.

    Of the calls since so many: tokens of before a crash that took writes back are higher.
    """
    created = world.xapi.state.database.get('VM', ref).created
    wait_until(lambda: any(
        call.method == 'event.from' and call.params[1] and parse_token(call.params[1])[0] >= created
        for call in world.xapi.calls[called:]), 'the daemon to be told of the VMs')


def run(world: World, subjects: Iterable[Subject]) -> None:
    """Start the VMs and wait until the daemon has told of each boot."""
    starts = [world.xapi.spawn('VM.start', subject.ref, False, False) for subject in subjects]
    for start in starts:
        start.join()
        assert start.error is None, start.error
    for subject in subjects:
        world.booted(subject.ref)


def prioritise(world: World, subjects: Iterable[Subject],
               priority: Priority = Priority.HIGH) -> None:
    """Change the assignments of the VMs in one edit."""
    with world.registry.edit(who='test', command='update-vm') as edit:
        for subject in subjects:
            edit.change_vm(world.uuid(subject.ref), priority=priority)


def make_pending(world: World, subjects: Iterable[Subject]) -> None:
    """Change the assignments of running VMs and wait until the daemon knows."""
    prioritise(world, subjects)
    for subject in subjects:
        world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(subject.ref),
                              desired=span(subject.number, priority='high'))


def start(world: World, subject: Subject) -> Optional[str]:
    """Start a VM; what its QEMU took."""
    return world.start_vm(subject.ref).args


def refusal_of(starting: Any) -> Tuple[str, ...]:
    """What XAPI answered to a start that it refused; () when it did not."""
    starting.join()
    assert starting.error is None or isinstance(starting.error, Failure), starting.error
    return tuple(starting.error.description) if starting.error else ()


def clear_fences(world: World) -> str:
    """Run `vgpu-watcher clear-fences`; what it said."""
    status, out, err = programs.run('watcher', ['clear-fences', '--config', world.config_path],
                                    timeout_seconds=30, **programs.surroundings())
    text = (out + err).decode('utf-8', 'replace')
    assert status == 0, text
    return text


class Checkpoint:
    """Holds calls up after they were carried out and before they are answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._released = threading.Event()
        self._expected: List[str] = []
        self._reached: List[str] = []

    def hold(self, ref: str, call: int, method: str = _ANY) -> None:
        """Hold up the call with this number (from 1) of those that name the VM from now on."""
        self._expected.append(ref)
        at_call(self._world, ref, call, lambda: self._arrive(ref), method=method)

    def wait(self) -> None:
        """Wait until every call that shall be held up is."""
        wait_until(lambda: sorted(self._reached) == sorted(self._expected),
                   lambda: 'held up: %s of %s; log:\n%s' % (
                       self._reached, self._expected, '\n'.join(self._world.daemon.raw[-20:])))

    def release(self) -> None:
        """Let them be answered."""
        self._released.set()

    def _arrive(self, ref: str) -> None:
        self._reached.append(ref)
        self._released.wait(30.0)


def leave_as_0_1_did(world: World, subject: Subject, *, is_blocked: bool = True,
                     has_journal: bool = True) -> None:
    """What version 0.1 left when it was killed in the middle of a replacement.

    The daemon is dead, the key away, the start blocked, the new value in the journal and in the
    block's text.
    """
    world.daemon.kill()
    prioritise(world, [subject])
    vm_uuid, after = world.uuid(subject.ref), subject.value('high')
    if has_journal:
        add_replacement(world.registry.journal_path, vm_uuid, subject.ref, subject.value(), after)
    world.xapi.call('VM.remove_from_platform', subject.ref, KEY)
    for operation in ('start', 'start_on') if is_blocked else ():
        world.xapi.call('VM.add_to_blocked_operations', subject.ref, operation,
                        BLOCK % (vm_uuid, operation, after))


def at_call(world: World, ref: str, call: int, act: Callable[[], Any], *,
            kind: str = 'run_after', method: str = _ANY) -> None:
    """Have something happen once, at the call with this number that names the VM."""
    world.xapi.faults.add(Fault(kind, method=method, ref=ref, skip=call - 1, count=1,
                                parameters={'run': act}))
