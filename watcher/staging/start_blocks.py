"""Start blocks that a version before 0.2 left in VM.blocked_operations (P7).

That version blocked a VM's start while it replaced the arguments in two calls; killed in
between, it left the block, and perhaps a VM without its arguments. An entry is ours by its text and
by nothing else, as it stands there when it is removed: XAPI removes by key, and others use the map
too.
"""

from typing import List, Mapping, Optional, Tuple

from watcher.errors import XapiFailure
from watcher.loop.steps import Steps
from watcher.vm.record import BLOCK_MARK, MAX_BLOCK, VmRecord
from watcher.xapi.client import Client

_VALUE = ' value: '
# Several times what XAPI and QEMU have been seen to take.
_MAX_VALUE = 4096


def list_blocks(vm: VmRecord) -> Tuple[str, ...]:
    """The operations that a text of ours blocks."""
    return tuple(operation for operation, text in vm.start_blocks if text.startswith(BLOCK_MARK))


def read_value(vm: VmRecord) -> Optional[str]:
    """The whole value that a block of ours says was being written; None when none says so.

    A user who may edit the VM can write here, and could write the args as well.
    """
    for _operation, text in vm.start_blocks:
        value = text.partition(_VALUE)[2] if text.startswith(BLOCK_MARK) else ''
        is_whole = len(text) <= MAX_BLOCK and len(value) <= _MAX_VALUE
        if value and is_whole and not any(char < ' ' or char == '\x7f' for char in value):
            return value
    return None


def find_taken(vm: VmRecord, noted: Mapping[str, Optional[str]]) -> Optional[str]:
    """The whole value that was taken away and belongs back; None when nothing does.

    `noted` is what the journal has, by UUID. Where it is lost with its host, or locked, the text of
    a start block tells.
    """
    if vm.args is not None:
        return None
    return noted[vm.uuid] if vm.uuid in noted else read_value(vm)


def lift(client: Client, ref: str) -> Steps[Tuple[VmRecord, Tuple[str, ...]]]:
    """Remove our entries from a VM: the record after that, and the operations freed.

    A value whose replacement was interrupted comes back first: the block's text tells it.
    """
    vm = yield from client.read_vm(ref)
    value = read_value(vm)
    if value is not None and vm.args is None and vm.is_at_rest:
        yield from _put_back(client, ref, value)
    lifted: List[str] = []
    for operation in list_blocks(vm):
        # Back to back: what stands there now is what counts.
        if operation in list_blocks((yield from client.read_vm(ref))):
            yield from client.remove_block(ref, operation)
            lifted.append(operation)
    if lifted:
        vm = yield from client.read_vm(ref)
    return vm, tuple(lifted)


def _put_back(client: Client, ref: str, value: str) -> Steps[None]:
    try:
        yield from client.add_args(ref, value)
    except XapiFailure as error:
        if error.code != 'MAP_DUPLICATE_KEY':  # another program was quicker
            raise
