"""The mirror's writes to XAPI: the slots of one record; the message tells.

Each entry is replaced by adding the new one in a free slot and removing the old one then. Adding
to a key that is taken fails in XAPI, so two masters cannot overwrite each other unseen: the
record is read again, and the Watcher decides again.
"""

from typing import NamedTuple, Optional, Union

from watcher.errors import MalformedRecord, SessionLost, VmVanished, XapiError, XapiFailure
from watcher.loop.steps import Steps
from watcher.mirror.slots import SlotChange
from watcher.vm.record import PoolRecord, VmRecord
from watcher.xapi.client import Client

VM, POOL = 'VM', 'pool'


class MirrorWritten(NamedTuple):
    """What became of one record's entry."""
    table: str
    ref: str
    change: SlotChange
    is_done: bool = False
    record: Union[VmRecord, PoolRecord, None] = None
    """The record as it is, when the slots were not as they were thought to be."""
    is_gone: bool = False
    error: str = ''
    code: str = ''
    """XAPI's code, when it said no."""
    lost_session: Optional[str] = None


def write_entry(client: Client, table: str, ref: str,
                change: SlotChange) -> Steps[MirrorWritten]:
    """Carry out one change of slots. Never raises for XAPI's sake."""
    written = MirrorWritten(table, ref, change)
    try:
        for slot in change.before:
            yield from client.remove_from_other_config(table, ref, slot)
        for key, text in change.additions:
            yield from client.add_to_other_config(table, ref, key, text)
        for slot in change.after:
            yield from client.remove_from_other_config(table, ref, slot)
        return written._replace(is_done=True)
    except VmVanished:
        return written._replace(is_gone=True)
    except XapiFailure as error:
        if error.code == 'MAP_DUPLICATE_KEY':
            return (yield from _read_again(client, written))
        lost = client.handle if isinstance(error, SessionLost) else None
        return written._replace(error=str(error), code=error.code, lost_session=lost)
    except XapiError as error:
        return written._replace(error=str(error))


def _read_again(client: Client, written: MirrorWritten) -> Steps[MirrorWritten]:
    try:
        record: Union[VmRecord, PoolRecord, None]
        if written.table == VM:
            record = yield from client.read_vm(written.ref)
        else:
            record = yield from client.read_pool(written.ref)
        if record is None:
            # Without a word it would be written again at once, and again.
            return written._replace(error='the record of the pool cannot be understood')
        return written._replace(record=record)
    except VmVanished:
        return written._replace(is_gone=True)
    except (XapiError, MalformedRecord) as error:
        return written._replace(error=str(error))
