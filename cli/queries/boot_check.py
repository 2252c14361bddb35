"""What a boot really took: from the daemon's receipt, or from this host itself."""

from typing import Any, FrozenSet, NamedTuple, Optional, Tuple

from cli.output.text import spell_vm
from cli.queries.daemon_status import find_daemon
from cli.queries.xapi_tasks import wait_until
from registry.errors import RegistryError
from registry.journal.receipts import Boot
from watcher.errors import HostUnreadable
from watcher.vm.plan import Plan
from watcher.vm.record import VmRecord

RECEIPT_SECONDS = 15
_LOOK_SECONDS = 3
_GOOD = ('as_desired', 'unverified')


class BootCheck(NamedTuple):
    """What the boot took, in a word and a sentence."""

    word: str
    message: str
    plan: Optional[Plan] = None

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against the boot; an unverified one is not known to be right."""
        return self.word in _GOOD


def verify_boot(context: Any, record: VmRecord, before: int,
                seconds: float = RECEIPT_SECONDS) -> BootCheck:
    """Find out what the boot after receipt number `before` took."""
    if find_daemon(context.settings.registry.path) is None:
        check = _inspect(context, record)
    else:
        boot = wait_until(context, lambda: _find_receipt(context, record.uuid, before), seconds)
        check = _describe(record, boot.verdict or 'unverified', boot.found) if boot is not None \
            else BootCheck('unverified', 'the daemon has no receipt of the boot yet')
    # Read when there is a receipt of this boot: by that of the boot before, the change waits (P6).
    return check._replace(plan=_read_plan(context, record.uuid))


def _find_receipt(context: Any, vm_uuid: str, before: int) -> Optional[Boot]:
    with context.journal() as journal:
        boot = journal.last_boot(vm_uuid) if journal is not None else None
    return boot if boot is not None and boot.id > before and boot.closed_at else None


def judge_running(context: Any, vm: VmRecord, plan: Plan, staged: FrozenSet[str],
                  boot: Optional[Boot]) -> Tuple[Optional[str], str]:
    """Look once at what a VM runs with, and judge it: what was found, and the verdict.

    What runs elsewhere is what the receipt of its boot found. A boot that took what was asked for
    then is pending when something else is asked for now.
    """
    if not vm.is_up:
        return None, 'not_running'
    from watcher.vm.boot import BootFinding, BootKind, judge
    finding = _find_running(context, vm)
    if not finding.is_readable and boot is not None and boot.verdict not in (None, 'unverified'):
        finding = BootFinding(boot.found)
    if boot is not None and boot.verdict == 'as_desired' and finding.found == boot.found:
        staged = frozenset([boot.found or ''])
    return finding.found, judge(BootKind.UNKNOWN, plan.desired, staged, finding).value


def _inspect(context: Any, record: VmRecord) -> BootCheck:
    """Without a daemon: look at the QEMU, a few times, since it comes up slowly."""
    plan = _read_plan(context, record.uuid)
    running = context.live().client.read_vm(record.ref)
    if plan is None or running.domain is None:
        return BootCheck('unverified', 'what it runs with is not known')
    finding = wait_until(context, lambda: _find_readable(context, running), _LOOK_SECONDS)
    if finding is None:
        _open_receipt(context, running, plan)
        return BootCheck('unverified', 'what it runs with can only be seen where it runs')
    from watcher.vm.boot import BootKind, judge
    verdict = judge(BootKind.START, plan.desired, frozenset(), finding).value
    _open_receipt(context, running, plan, found=finding.found, verdict=verdict)
    return _describe(record, verdict, finding.found)


def _open_receipt(context: Any, vm: VmRecord, plan: Plan, **seen: Any) -> None:
    """Leave a receipt of a boot that no daemon saw: what the VM runs with is known from now on.

    It stays open: the next daemon looks, too, and tells of the boot.
    """
    if find_daemon(context.settings.registry.path) is not None:
        return  # it runs by now, and finds the VM running
    host_ref, domid = vm.domain or ('', -1)
    host = _find_host(context, vm)
    boot = Boot(0, vm.uuid, vm.name, 'start', host_ref, domid,
                host.read_boot_id() if host is not None else '', None, '',
                desired=plan.desired, carried=plan.carried, **seen)
    with context.journal() as journal:
        if journal is None:
            return
        try:
            journal.open_boot(boot)
        except RegistryError as error:
            context.note(f'the boot is not recorded: {error}')


def _find_readable(context: Any, vm: VmRecord) -> Optional[Any]:
    finding = _find_running(context, vm)
    return finding if finding.is_readable else None


def _find_running(context: Any, vm: VmRecord) -> Any:
    """What this host shows of the VM's QEMU, when it runs here."""
    from watcher.boots.inspection import read_finding
    from watcher.loop.steps import run
    from watcher.vm.boot import BootFinding
    host = _find_host(context, vm)
    if host is None:
        return BootFinding(is_readable=False)
    try:
        return run(read_finding(host, context.settings.device.known_names, vm.domid))
    except HostUnreadable as error:
        return BootFinding(is_readable=False, problem=str(error))


def _find_host(context: Any, vm: VmRecord) -> Optional[Any]:
    """This host, when the VM runs here and its QEMU can be looked at."""
    from watcher.boots.host import Host
    role, settings = context.live().role, context.settings
    if not role.is_local or vm.domain is None or vm.domain[0] != role.host:
        return None
    host = Host(settings.host.xenstore_read, settings.host.proc, settings.run_directory)
    return host if host.is_available else None


def _describe(record: VmRecord, word: str, found: Optional[str]) -> BootCheck:
    if word == 'as_desired':
        return BootCheck(word, 'it runs with what is assigned')
    return BootCheck(word, f"verdict {word}: it runs with {found or 'nothing of ours'}; see "
                     f"'vgpu-admin explain {spell_vm(record.name, record.uuid)}'")


def _read_plan(context: Any, vm_uuid: str) -> Optional[Plan]:
    from cli.queries.pool_snapshot import read_neighbourhood
    return read_neighbourhood(context, context.registry.read(), vm_uuid).plan_of(vm_uuid)
