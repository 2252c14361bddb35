"""What a boot really took: from the daemon's receipt, or from this host itself."""

from typing import Any, NamedTuple, Optional

from cli.tasks import wait_until
from registry.receipts import Boot
from watcher.errors import HostUnreadable
from watcher.plan import Plan
from watcher.records import VmRecord

RECEIPT_SECONDS = 15
_LOOK_SECONDS = 3
_GOOD = ('as_desired', 'unverified')


class Verdict(NamedTuple):
    """What the boot took, in a word and a sentence."""

    word: str
    message: str
    plan: Optional[Plan] = None

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against the boot; an unverified one is not known to be right."""
        return self.word in _GOOD


def verify_boot(context: Any, record: VmRecord, before: int) -> Verdict:
    """Find out what the boot after receipt number `before` took."""
    from cli.surveying import find_daemon
    plan = _read_plan(context, record.uuid)
    if find_daemon(context) is not None:
        boot = wait_until(context, lambda: _find_receipt(context, record.uuid, before),
                          RECEIPT_SECONDS)
        if boot is not None:
            return _describe(boot.verdict or 'unverified', boot.found, plan)
        return Verdict('unverified', 'the daemon has no receipt of the boot yet', plan)
    return _look(context, record, plan)


def _find_receipt(context: Any, vm_uuid: str, before: int) -> Optional[Boot]:
    with context.journal() as journal:
        boot = journal.last_boot(vm_uuid) if journal is not None else None
    return boot if boot is not None and boot.id > before and boot.closed_at else None


def _look(context: Any, record: VmRecord, plan: Optional[Plan]) -> Verdict:
    """Without a daemon: look at the QEMU, if it runs on this host."""
    from watcher.host import Host
    host = Host(context.settings.host.xenstore_read, context.settings.host.proc)
    running = context.live().client.read_vm(record.ref)
    role = context.live().role
    is_here = role.is_local and running.domain is not None and running.domain[0] == role.host
    if plan is None or not is_here or not host.is_available:
        return Verdict('unverified', 'what it runs with can only be seen where it runs', plan)
    arguments = wait_until(context, lambda: _read_arguments(host, running.domid), _LOOK_SECONDS)
    if arguments is None:
        return Verdict('unverified', 'what it runs with could not be read', plan)
    from watcher.receipts import find_in_arguments
    found = find_in_arguments(arguments, context.settings.device.known_names)
    word = 'as_desired' if found == plan.desired else 'missing' if found is None else 'stale'
    return _describe(word, found, plan)


def _read_arguments(host: Any, domid: int) -> Optional[Any]:
    try:
        return host.read_qemu_arguments(domid)
    except HostUnreadable:
        return None


def _describe(word: str, found: Optional[str], plan: Optional[Plan]) -> Verdict:
    if word == 'as_desired':
        return Verdict(word, 'it runs with what is desired', plan)
    return Verdict(word, f"verdict {word}: it runs with {found or 'nothing of ours'}; see "
                   f"'vgpu-admin show-vm'", plan)


def _read_plan(context: Any, vm_uuid: str) -> Optional[Plan]:
    from cli.pool_view import read_neighbourhood
    view = read_neighbourhood(context, context.registry.read(), vm_uuid)
    vm = view.inventory.find_by_uuid(vm_uuid)
    return view.plan(vm) if vm is not None else None
