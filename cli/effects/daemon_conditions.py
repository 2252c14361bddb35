"""What keeps the daemon that runs from staging a VM: asked before a message says that it does."""

import time
from typing import Any, Dict, Optional, Tuple

from cli.queries.daemon_status import find_daemon, read_watch
from cli.queries.mirror_status import describe_mirror, read_mirror_state
from registry.errors import RegistryError
from registry.values import Contents
from watcher.errors import MalformedRecord, WatcherError

NOT_ACCEPTED = ('drift', "not staged: nothing is replaced or removed until 'vgpu-admin accept' has "
                'been run')
Blocker = Tuple[str, str]
"""The word for programs, and what is said."""


def find_blocker(context: Any, contents: Contents, plan: Any) -> Optional[Blocker]:
    """Find why the daemon does not carry a plan out (None: the VM has no row); None: it does."""
    if plan is None and not contents.accepted:
        return NOT_ACCEPTED
    return _find_in_plan(plan) or find_in_daemon(context)


def tell_each(context: Any, staged: Dict[str, Any]) -> Dict[str, Any]:
    """Say of each VM that was left to the daemon what keeps it from being staged, if anything.

    One reading of XAPI and one of the daemon's status are enough for all; where they cannot be
    read, each VM says so.
    """
    left = [vm_uuid for vm_uuid, item in staged.items() if item.word == 'by_daemon']
    if not left:
        return staged
    try:
        contents = context.registry.read()
        live = context.live()
        with live.hurried():
            vms = live.read_vms()
        with context.journal() as journal:
            from cli.queries.pool_snapshot import PoolView
            view = PoolView(context.settings, contents, journal, vms)
            found = {vm_uuid: _find_for(view, contents, vm_uuid) for vm_uuid in left}
        of_all = find_in_daemon(context)
    except (WatcherError, RegistryError, MalformedRecord) as error:
        unknown = f'the running daemon stages it; whether anything keeps it is not known ({error})'
        return {vm_uuid: item._replace(message=unknown) if vm_uuid in left else item
                for vm_uuid, item in staged.items()}
    for vm_uuid in left:
        blocker = found[vm_uuid] or of_all
        if blocker is not None:
            staged[vm_uuid] = staged[vm_uuid]._replace(word=blocker[0], message=blocker[1])
    return staged


def _find_for(view: Any, contents: Contents, vm_uuid: str) -> Optional[Blocker]:
    """What keeps one VM, as XAPI shows it and as its row is."""
    vm = view.inventory.find_by_uuid(vm_uuid)
    if vm is None:
        return 'unknown', 'XAPI has no such VM'
    plan = view.plan(vm) if vm_uuid in contents.by_uuid else None
    if plan is None and not contents.accepted:
        return NOT_ACCEPTED
    is_passed_on = plan is not None and plan.holder is not None and _gives_up(view, plan.holder)
    if not vm.is_at_rest and (plan is None or is_passed_on):
        from cli.effects.direct_staging import describe_state
        from watcher.vm.plan import State
        return 'pending', describe_state(State.PENDING)
    if is_passed_on:
        return None  # the daemon takes the number from it, and gives it to this one
    return _find_in_plan(plan)


def _gives_up(view: Any, holder: str) -> bool:
    """Whether the daemon takes the number from who has it; VMs of a circle do so one by one."""
    from watcher.vm.plan import Action, PlanReason
    vm = view.inventory.find_by_uuid(holder)
    plan = view.plan(vm) if vm is not None and vm.is_at_rest else None
    return plan is not None and (plan.action is not Action.NONE
                                 or plan.reason is PlanReason.NUMBER_HELD)


def _find_in_plan(plan: Any) -> Optional[Blocker]:
    from cli.effects.direct_staging import describe_plan
    from watcher.vm.plan import Action, PlanReason
    if plan is None or plan.action is not Action.NONE:
        return None
    if plan.reason is PlanReason.NOT_ORDINARY:
        kind = plan.vm.kind.value.replace('_', ' ')
        return 'pending', (f'not staged: the VM is a {kind}, and nothing is written to it; the '
                           'change is kept for when it is an ordinary VM')
    said = describe_plan(plan)
    return said.word, said.message


def find_in_daemon(context: Any) -> Optional[Blocker]:
    """Find why the daemon that runs stages nothing now; None where it does, or none runs."""
    holder = find_daemon(context.settings.registry.path)
    if holder is None:
        return None
    with context.journal() as journal:
        watch = read_watch(holder, journal, time.time(), context.settings.scan.interval_seconds)
        mirror = read_mirror_state(holder, journal, context.settings.mirror.enabled)
    if not watch.is_synced:
        return 'pending', (f'not staged: the daemon ({holder}) is not in sync with XAPI, and '
                           "stages the change when it is; see 'vgpu-admin status'")
    if watch.is_late:
        return 'pending', (f'not staged: XAPI has not answered the daemon ({holder}) for '
                           f'{watch.silent_seconds} s; it stages the change when XAPI does')
    if mirror is not None and mirror.is_fatal:
        return 'pending', (f'not staged: the mirror {describe_mirror(mirror)}: decide that first; '
                           "see 'vgpu-admin registry compare'")
    return None
