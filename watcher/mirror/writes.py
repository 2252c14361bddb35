"""The mirror's writes to XAPI: the slots of one record, in a caller; the message tells.

Each entry is replaced by adding the new one in a free slot and removing the old one then. Adding
to a key that is taken fails in XAPI, so two masters cannot overwrite each other unseen: the
record is read again, and the main thread decides again.
"""

from typing import Callable, NamedTuple, Optional, Union

from watcher.errors import MalformedRecord, SessionLost, VmVanished, XapiError, XapiFailure
from watcher.mirror.slots import Change
from watcher.vm.record import PoolRecord, VmRecord
from watcher.xapi.workers import Clients

VM, POOL = 'VM', 'pool'


class MirrorWritten(NamedTuple):
    """What became of one record's entry."""
    table: str
    ref: str
    change: Change
    is_done: bool = False
    record: Union[VmRecord, PoolRecord, None] = None
    """The record as it is, when the slots were not as they were thought to be."""
    is_gone: bool = False
    error: str = ''
    code: str = ''
    """XAPI's code, when it said no."""
    lost_session: Optional[str] = None


def write_entry(clients: Clients, table: str, ref: str, change: Change,
                may_begin: Callable[[], bool]) -> MirrorWritten:
    """Carry out one change of slots. Never raises for XAPI's sake."""
    written = MirrorWritten(table, ref, change)
    if not may_begin():
        return written
    client = clients.current()
    try:
        for slot in change.before:
            client.remove_from_other_config(table, ref, slot)
        for key, text in change.additions:
            client.add_to_other_config(table, ref, key, text)
        for slot in change.after:
            client.remove_from_other_config(table, ref, slot)
        return written._replace(is_done=True)
    except VmVanished:
        return written._replace(is_gone=True)
    except XapiFailure as error:
        if error.code == 'MAP_DUPLICATE_KEY':
            return _read_again(clients, written)
        lost = client.handle if isinstance(error, SessionLost) else None
        return written._replace(error=str(error), code=error.code, lost_session=lost)
    except XapiError as error:
        return written._replace(error=str(error))


def _read_again(clients: Clients, written: MirrorWritten) -> MirrorWritten:
    client = clients.current()
    try:
        read = client.read_vm if written.table == VM else client.read_pool
        record = read(written.ref)
        if record is None:
            # Without a word it would be written again at once, and again.
            return written._replace(error='the record of the pool cannot be understood')
        return written._replace(record=record)
    except VmVanished:
        return written._replace(is_gone=True)
    except (XapiError, MalformedRecord) as error:
        return written._replace(error=str(error))
