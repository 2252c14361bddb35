"""Lift the start blocks that a version before 0.2 left, by hand: `clear-fences`, `fence clear`.

A daemon does it by itself whenever a record shows one. This works without a daemon and beside
one, and needs no valid configuration beyond the socket's default.
"""

from typing import Callable

from watcher.config.settings import Settings
from watcher.errors import MalformedRecord, VmVanished, WatcherError
from watcher.loop.steps import run
from watcher.staging.start_blocks import lift, list_blocks
from watcher.vm.record import VmKind
from watcher.xapi.blocking_client import BlockingClient
from watcher.xapi.record_parser import parse_records
from watcher.xapi.role import decide_role


class NotTheWriter(WatcherError):
    """Start blocks of ours stand there, and this host writes nothing to XAPI."""


def clear_blocks(settings: Settings, tell: Callable[[str], None]) -> int:
    """Lift all start blocks of ours; how many VMs had one. Raises WatcherError."""
    client = BlockingClient(settings.xapi)
    client.login()
    try:
        role = decide_role(client.read_identity(),
                           is_local=settings.xapi.address.scheme == 'unix')
        vms, _malformed = parse_records(client.read_vms())
        blocked = [vm for vm in vms if vm.kind is VmKind.VM and list_blocks(vm)]
        if blocked and not role.is_writer:
            raise NotTheWriter(f'{len(blocked)} VMs have a start block of ours, and nothing is '
                               f'written from here: {role.refusal}')
        return sum(_clear(client, vm.ref, tell) for vm in blocked)
    finally:
        client.logout()


def _clear(client: BlockingClient, ref: str, tell: Callable[[str], None]) -> bool:
    """Lift those of one VM; False when it has none any more."""
    try:
        vm, operations = run(lift(client.steps, ref))
    except (VmVanished, MalformedRecord):
        return False
    if operations:
        tell(f'lifted the start block of VM {vm.uuid}')
    return bool(operations)
