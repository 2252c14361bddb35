"""What the workers do with XAPI, besides carrying out plans; each job ends in a message.

None of them decides anything, and none raises for XAPI's sake: the message tells.
"""

from typing import Callable, NamedTuple, Optional, Tuple

from watcher import fence
from watcher.errors import MalformedRecord, SessionLost, VmVanished, XapiError
from watcher.records import VmRecord, parse_records
from watcher.workers import Clients


class VmRead(NamedTuple):
    """A record that was read on purpose; None when the VM is gone, or on an error."""
    ref: str
    vm: Optional[VmRecord]
    error: str = ''
    malformed: Optional[MalformedRecord] = None
    lost_session: Optional[str] = None
    began_at: float = 0.0
    """What happened before this was seen, what happened later perhaps not."""


class Saved(NamedTuple):
    """The whole value that a replacement, broken off, has taken away."""
    value: Optional[str] = None
    is_known: bool = True
    """False while the journal that would tell cannot be read."""


class FencesLifted(NamedTuple):
    """What became of lifting a VM's fences: the record before, and the operations freed."""
    ref: str
    vm: Optional[VmRecord]
    operations: Tuple[str, ...]
    error: str = ''
    lost_session: Optional[str] = None
    began_at: float = 0.0


class Scan(NamedTuple):
    """All VM records, from one call."""
    vms: Tuple[VmRecord, ...] = ()
    malformed: Tuple[MalformedRecord, ...] = ()
    began_at: float = 0.0
    error: str = ''
    lost_session: Optional[str] = None


def read_vm(clients: Clients, ref: str, clock: Callable[[], float]) -> VmRead:
    """Read one record as it is now."""
    began_at = clock()
    try:
        return VmRead(ref, clients.current().read_vm(ref), began_at=began_at)
    except VmVanished:
        return VmRead(ref, None)
    except MalformedRecord as error:
        return VmRead(ref, None, malformed=error)
    except XapiError as error:
        return VmRead(ref, None, str(error), lost_session=_find_lost(clients, error))


def lift_fences(clients: Clients, ref: str, saved: Saved,
                clock: Callable[[], float]) -> FencesLifted:
    """Lift what the record, read for it, shows as ours.

    A key that was taken away comes back first: the fence is what keeps the VM from starting
    without it. `saved` is from the journal; where it is gone with its host, the fence tells.
    """
    began_at = clock()
    try:
        client = clients.current()
        vm = client.read_vm(ref)
        operations = fence.list_fences(vm)
        if operations and vm.args is None and not saved.is_known:
            return FencesLifted(ref, None, (), 'its args are away, and what they were stands in '
                                'the journal, which is locked')
        value = saved.value if saved.value is not None else fence.read_value(vm)
        if operations and value is not None and vm.args is None and vm.is_at_rest:
            client.add_args(ref, value)
            vm = vm._replace(args=value)
        fence.lift(client, ref, operations)
        return FencesLifted(ref, vm, operations, began_at=began_at)
    except VmVanished:
        return FencesLifted(ref, None, ())
    except (XapiError, MalformedRecord) as error:
        return FencesLifted(ref, None, (), str(error), _find_lost(clients, error))


def read_scan(clients: Clients, clock: Callable[[], float]) -> Scan:
    """Read all VM records."""
    began_at = clock()
    try:
        vms, malformed = parse_records(clients.current().read_vms())
        return Scan(vms, malformed, began_at)
    except XapiError as error:
        return Scan(began_at=began_at, error=str(error), lost_session=_find_lost(clients, error))


def _find_lost(clients: Clients, error: Exception) -> Optional[str]:
    """The session that XAPI does not know any more, when that is the error."""
    return clients.current().handle if isinstance(error, SessionLost) else None
