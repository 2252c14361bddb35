"""Jobs that call XAPI, besides carrying out plans; each ends in a message.

None of them decides anything, and none raises for XAPI's sake: the message tells.
"""

from typing import Callable, NamedTuple, Optional, Tuple

from watcher.errors import MalformedRecord, SessionLost, VmVanished, XapiError
from watcher.loop.steps import Steps
from watcher.staging import start_blocks
from watcher.vm.record import VmRecord
from watcher.xapi.client import Client
from watcher.xapi.record_parser import parse_records


class VmRead(NamedTuple):
    """A record that was read on purpose; None when the VM is gone, or on an error."""
    ref: str
    vm: Optional[VmRecord]
    error: str = ''
    malformed: Optional[MalformedRecord] = None
    lost_session: Optional[str] = None
    began_at: float = 0.0
    """What happened before this was seen, what happened later perhaps not."""


class BlocksLifted(NamedTuple):
    """What became of a VM's start blocks: the record after, and the operations freed."""
    ref: str
    vm: Optional[VmRecord] = None
    operations: Tuple[str, ...] = ()
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


def read_vm(client: Client, ref: str, clock: Callable[[], float]) -> Steps[VmRead]:
    """Read one record as it is now."""
    began_at = clock()
    try:
        return VmRead(ref, (yield from client.read_vm(ref)), began_at=began_at)
    except VmVanished:
        return VmRead(ref, None)
    except MalformedRecord as error:
        return VmRead(ref, None, malformed=error)
    except XapiError as error:
        return VmRead(ref, None, str(error), lost_session=_find_lost(client, error))


def lift_blocks(client: Client, ref: str, clock: Callable[[], float]) -> Steps[BlocksLifted]:
    """Lift what the record, read for it, shows as ours."""
    began_at = clock()
    try:
        vm, operations = yield from start_blocks.lift(client, ref)
        return BlocksLifted(ref, vm, operations, began_at=began_at)
    except VmVanished:
        return BlocksLifted(ref)
    except (XapiError, MalformedRecord) as error:
        return BlocksLifted(ref, error=str(error), lost_session=_find_lost(client, error))


def read_scan(client: Client, clock: Callable[[], float]) -> Steps[Scan]:
    """Read all VM records."""
    began_at = clock()
    try:
        records = yield from client.read_vms()
        vms, malformed = parse_records(records)
        return Scan(vms, malformed, began_at)
    except XapiError as error:
        return Scan(began_at=began_at, error=str(error), lost_session=_find_lost(client, error))


def _find_lost(client: Client, error: Exception) -> Optional[str]:
    """The session that XAPI does not know any more, when that is the error."""
    return client.handle if isinstance(error, SessionLost) else None
