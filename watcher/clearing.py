"""Lift what a dead daemon left: its fences, and before that a value it had taken away.

Run by the service manager when the daemon's process has ended, and by hand. It needs no valid
configuration beyond the socket's default. A fence survives its owner so that a VM whose args are
half replaced cannot start; so the value comes back first, from the journal, and then the fence
goes.
"""

import os
from typing import Callable, Dict, Optional

from registry.errors import Reason, RegistryError, RegistryUnavailable
from registry.journal import Journal, Replacement
from registry.lock import WriterLock
from registry.paths import find_journal
from watcher import fence
from watcher.config import Settings
from watcher.errors import WatcherError, XapiError, XapiFailure
from watcher.records import Kind, VmRecord, parse_records
from watcher.roles import Role, decide_role
from watcher.xapi import Client

_LOCK_SECONDS = 5.0
_JOURNAL_SECONDS = 2.0
_ATTEMPTS = 3


class DaemonAlive(WatcherError):
    """Another program holds the writer's lock: it lifts its own fences."""


class ValueMissing(WatcherError):
    """XAPI did not take a value back: the fence is what keeps the VM from starting without it."""


def clear_fences(settings: Settings, tell: Callable[[str], None]) -> int:
    """Lift all fences of ours; how many VMs had one. Raises DaemonAlive or XapiError."""
    lock = WriterLock(settings.registry.path)
    try:
        if not lock.acquire(_LOCK_SECONDS):
            raise DaemonAlive('a program that writes for %s is alive (%s): it lifts its own fences'
                              % (settings.registry.path, lock.holder() or 'it does not say who'))
    except RegistryError:
        pass  # without its directory there is no lock, and no daemon that could hold it
    try:
        return _clear(settings, tell)
    finally:
        lock.release()


def read_replacements(registry_path: str) -> Dict[str, Replacement]:
    """The replacements that the journal shows as under way; none when it cannot be read.

    One that is only locked can be in a moment: what it holds must not be lost for that.
    """
    path = find_journal(registry_path)
    if not os.path.exists(path):
        return {}
    try:
        with Journal(path, timeout_seconds=_JOURNAL_SECONDS) as journal:
            return {item.vm_uuid: item for item in journal.replacements()}
    except RegistryUnavailable as error:
        if error.reason is Reason.LOCKED:
            raise ValueMissing('%s; what a replacement has taken away stands in it: run this '
                               'again, or start the daemon' % error) from error
        return {}
    except RegistryError:
        return {}


def _clear(settings: Settings, tell: Callable[[str], None]) -> int:
    saved = read_replacements(settings.registry.path)
    client = Client(settings.xapi)
    client.login()
    try:
        role = decide_role(client.read_identity(),
                           is_local=settings.xapi.address.scheme == 'unix')
        vms, _malformed = parse_records(client.read_vms())
        whole = [vm for vm in vms if vm.kind is Kind.VM
                 and (not role.is_writer or _restore(client, vm, saved.get(vm.uuid), tell))]
        if not role.is_writer:
            tell('only fences of this host are lifted: %s' % role.refusal)
        lifted = sum(_lift(client, vm, role, tell) for vm in whole)
    finally:
        client.logout()
    if len(whole) < sum(1 for vm in vms if vm.kind is Kind.VM):
        raise ValueMissing('a VM still lacks its arguments and keeps its fence; run this again, '
                           'or start the daemon')
    return lifted


def _lift(client: Client, vm: VmRecord, role: Role, tell: Callable[[str], None]) -> bool:
    """Lift our fences; on a member, where the master's daemon may be at work, this host's only."""
    operations = fence.list_fences(vm, None if role.is_writer else fence.read_owner().host)
    if operations:
        fence.lift(client, vm.ref, operations)
        tell('lifted the fence of VM %s' % vm.uuid)
    return bool(operations)


def _restore(client: Client, vm: VmRecord, saved: Optional[Replacement],
             tell: Callable[[str], None]) -> bool:
    """Put the value back that was removed and not added; False when that cannot be done.

    Without a journal that knows it, the fence does. The daemon settles the journal.
    """
    value = saved.after if saved is not None else fence.read_value(vm)
    if value is None or vm.args is not None or not vm.is_at_rest:
        return True
    for _attempt in range(_ATTEMPTS):
        try:
            client.add_args(vm.ref, value)
            tell('restored the arguments of VM %s' % vm.uuid)
            return True
        except XapiFailure as error:
            if error.code == 'MAP_DUPLICATE_KEY':
                return True  # an answer was lost before, or somebody else was quicker
            problem = str(error)
        except XapiError as error:
            problem = str(error)
    tell('could not restore the arguments of VM %s: %s' % (vm.uuid, problem))
    return False
