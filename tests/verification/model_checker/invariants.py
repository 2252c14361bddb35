"""What must hold in every state, and what must hold in the end when nobody interferes."""

from typing import Dict, Optional, Tuple

from tests.unit.watcher.builders import POLICY, UUID
from tests.verification.model_checker import xapi
from tests.verification.model_checker.world import OTHER_REF, World
from tests.verification.model_checker.xapi import foreign_in
from watcher.vm.device_args import parse_args
from watcher.vm.numbers import Owner
from watcher.vm.record import PowerState, VmKind

# Where only rows change: the new arguments, or the old ones, whole, and said to wait; what was
# moved or resumed meanwhile is called frozen.
_TOLD = frozenset(['as_desired', 'pending', 'frozen'])


def find_problem(world: World) -> str:
    """The invariant that this state breaks; '' for none."""
    if world.hidden.problem:
        return world.hidden.problem
    for vm in world.vms.values():
        problem = _find_foreign_problem(world, vm)
        if problem:
            return problem
    stolen = world.find_stolen() if world.hidden.guard is not None else ''
    return (world.find_doubles() or stolen or _find_receipt_problem(world)
            or _find_stale_answer(world))


def _find_stale_answer(world: World) -> str:
    """What the daemon has worked out of numbers is what it would work out now."""
    if not world.hidden.is_alive:
        return ''
    claims = world.daemon.watcher._number_claims
    answers = claims._recall_answers()
    known = [dict(known) for known in (answers.vms, answers.having, answers.holders,
                                       answers.movers)]
    claims.forget_answers()
    for vm_id in known[0]:
        claims.find_having(vm_id)
    for vm_id in known[2]:
        claims._find_holders(Owner('', vm_id, frozenset(), False))
    for vm in filter(None, map(claims._inventory.find_by_uuid, known[3])):
        claims._find_mover(vm, claims._build_owner(vm))
    for before, now in zip(known, (answers.vms, answers.having, answers.holders, answers.movers)):
        for key in set(before) & set(now):
            if before[key] != now[key]:
                return 'of %r the daemon knows %r, and it is %r' % (key, before[key], now[key])
    return ''


def find_unfinished(world: World) -> str:
    """What is wrong although nobody has anything left to do; '' for nothing."""
    for vm in world.vms.values():
        problem = _find_difference(world, vm)
        if problem:
            return 'left alone it ends with %r: %s' % (vm.record.args, problem)
    return ''


def _find_difference(world: World, vm: xapi.Vm) -> str:
    args, contents = vm.record.args, world.journal.disk.contents
    if vm.record.kind is not VmKind.VM:
        return ''
    spans = parse_args(args, POLICY.names).spans
    if not contents.accepted and spans:
        return ''
    if vm.record.uuid not in contents.by_uuid:
        return _find_left_over(world, vm) if spans else ''
    if is_contested(world):
        return ''
    if vm.ghost_foreign is None:
        return '' if spans else 'no span'
    if vm.record.settles_platform and spans:
        return ''  # its next start completes the map, and then it is replaced
    desired = world.desired_of(vm)
    return '' if args == desired else 'not %r' % desired


def is_contested(world: World) -> bool:
    """Whether somebody bore the number before the first VM was staged with it."""
    other = world.vms.get(OTHER_REF)
    return world.is_contested or (
        other is not None and not other.ghost_is_copy
        and other.record.uuid not in world.journal.disk.contents.by_uuid)


def _find_left_over(world: World, vm: xapi.Vm) -> str:
    """A VM without a row has a span of ours: one whose row went must not, nor a copy."""
    if vm.record.uuid == UUID:
        return 'a span without a row'
    if vm.record.start_blocks:
        return ''  # left alone while others have it blocked
    row = world.row
    is_owned = row is not None and row.vm_id == POLICY.number_of(vm.record)
    return 'a span of its parent' if vm.ghost_is_copy and is_owned else ''


def _find_foreign_problem(world: World, vm: xapi.Vm) -> str:
    expected = vm.ghost_foreign
    if not expected:
        return ''
    if vm.record.args is None:
        return 'foreign text is away'
    if foreign_in(vm.record.args) != expected:
        return 'foreign text was changed: %r' % vm.record.args
    return ''


def _find_receipt_problem(world: World) -> str:
    """Whatever a boot took is in its receipt, and each has one."""
    took = {(vm.record.uuid, host, domid): _spans_in(value) for vm in world.vms.values()
            for host, domid, value in vm.ghost_took}
    seen: Dict[Tuple[str, Optional[str], Optional[int]], str] = {}
    for boot in world.journal.disk.boots:
        domain = (boot.vm_uuid, boot.host, boot.domid)
        if boot.domid is None:
            continue
        if domain in seen:
            return 'two receipts for the domain %r' % (domain,)
        seen[domain] = boot.verdict or ''
        if boot.verdict in (None, 'unverified') or domain not in took:
            continue
        if boot.found != took[domain]:
            return 'the receipt says %r, and the boot took %r' % (boot.found, took[domain])
        expected = boot.carried if boot.quiet else boot.desired
        if world.is_tidy and boot.verdict not in _TOLD:
            return 'a boot that took %r with %r desired is called %s' % (
                boot.found, boot.desired, boot.verdict)
        if (boot.verdict == 'as_desired') != (boot.found == expected):
            return 'a boot that took %r with %r desired is called %s' % (
                boot.found, boot.desired, boot.verdict)
    return _find_missing_receipt(world, seen)


def _find_missing_receipt(world: World, seen: Dict) -> str:
    hidden = world.hidden
    watcher = world.daemon.watcher
    if not hidden.is_alive or hidden.inbox or hidden.jobs or hidden.inspections or hidden.changed \
            or hidden.needs_first or world.registry.is_touched or not watcher.permit.is_synced:
        return ''
    for vm in world.vms.values():
        domain = vm.record.domain
        if vm.phase or domain is None or vm.record.power_state is not PowerState.RUNNING \
                or vm.record.uuid not in world.journal.disk.contents.by_uuid:
            continue
        if not seen.get((vm.record.uuid,) + domain):
            return 'the boot of domain %r has no receipt' % (domain,)
    return ''


def _spans_in(value: Optional[str]) -> Optional[str]:
    return parse_args(value, POLICY.names).managed

