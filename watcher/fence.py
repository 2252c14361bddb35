"""The fence: a VM's start is blocked for the instant in which its args are replaced (P7).

VM.blocked_operations is a map that others use too. A fence of ours is recognised by its text and
by nothing else; foreign entries are never touched. The text says who put it there and how to
lift it by hand, since it survives us: that makes it safe, and dangerous.
"""

import os
import socket
from typing import Iterable, List, NamedTuple, Optional, Tuple

from watcher.errors import VmVanished, XapiError, XapiFailure
from watcher.records import START_OPERATIONS, VmRecord
from watcher.xapi import Client

OPERATIONS = tuple(sorted(START_OPERATIONS))
MARK = 'vgpu-watcher:'
_VALUE = ' value: '
# Several times what XAPI and QEMU have been seen to take.
_MAX_VALUE = 4096


class Owner(NamedTuple):
    """Who puts up fences."""
    host: str
    pid: int


def read_owner() -> Owner:
    """This process."""
    return Owner(socket.gethostname(), os.getpid())


def render_fence(vm_uuid: str, operation: str, owner: Owner, value: Optional[str] = None) -> str:
    """The text that whoever tries to start the VM meanwhile gets to see.

    It ends with the whole value that is being written: the journal that has it as well may be
    lost with its host, and another host's daemon must bring it back.
    """
    text = ('%s replacing device-model-args, gone in a moment; owner %s pid %d; lift with: '
            'xe vm-param-remove uuid=%s param-name=blocked-operations param-key=%s'
            % (MARK, owner.host, owner.pid, vm_uuid, operation))
    return text if value is None else text + _VALUE + value


def read_value(vm: VmRecord) -> Optional[str]:
    """The value that a fence of ours says was being written; None when none says so.

    Whoever may edit the VM can write here, and could write the args as well.
    """
    for _operation, text in vm.start_blocks:
        value = text.partition(_VALUE)[2] if text.startswith(MARK) else ''
        if value and len(value) <= _MAX_VALUE and not any(
                char < ' ' or char == '\x7f' for char in value):
            return value
    return None


def list_fences(vm: VmRecord, host: Optional[str] = None) -> Tuple[str, ...]:
    """The operations that a fence of ours blocks: of any process, or of those on one host."""
    owner = '' if host is None else ' owner %s pid ' % host
    return tuple(operation for operation, text in vm.start_blocks
                 if text.startswith(MARK) and owner in text)


def without_fences(vm: VmRecord, left: Iterable[str] = ()) -> VmRecord:
    """The record as it is once our fences are lifted, but for the operations in `left`."""
    return vm._replace(start_blocks=tuple(
        (operation, text) for operation, text in vm.start_blocks
        if operation in left or not text.startswith(MARK)))


def block(client: Client, vm: VmRecord, owner: Owner, raised: List[str],
          doubtful: List[str], value: Optional[str] = None) -> None:
    """Put up the fence; each operation that we blocked is appended to `raised` at once.

    An entry that is there already blocks just as well, and stays whose it is. When the answer is
    lost, the operation is `doubtful`: the entry may be ours or of somebody else, or not there.
    """
    for operation in OPERATIONS:
        try:
            client.add_block(vm.ref, operation, render_fence(vm.uuid, operation, owner, value))
            raised.append(operation)
        except XapiFailure as error:
            if error.code != 'MAP_DUPLICATE_KEY':
                raise
        except XapiError:
            doubtful.append(operation)
            raise


def lift(client: Client, vm_ref: str, operations: Iterable[str]) -> None:
    """Take our entries away; entries of others must not be named here."""
    for operation in operations:
        try:
            client.remove_block(vm_ref, operation)
        except VmVanished:
            return
