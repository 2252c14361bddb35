"""Turns rows, records and plans into what is shown, and that into JSON.  Pure."""

from typing import Any, Dict, FrozenSet, List, Mapping, Optional

from cli.output.result import PoolCount, VmView
from cli.output.text import brief_name, iso
from registry.values import Contents, Pool, Priority, Vm


def view_row(vm: Vm) -> VmView:
    """A VM as the registry alone knows it."""
    return VmView(vm.vm_uuid, vm.vm_name, vm.vm_id, vm.pool_id, int(vm.priority),
                  vm.created_at, vm.updated_at)


def view_record(row: Optional[Vm], record: Any, plan: Any, names: FrozenSet[str],
                problem: str = '', rows: Mapping[str, Vm] = {}) -> VmView:
    """A VM as XAPI shows it, with its row if it has one, and the plan for it."""
    view = view_row(row) if row is not None else VmView(record.uuid)
    view = view._replace(vm_name=record.name, power_state=record.power_state.value,
                         carried=record.args, was_asked=True, problem=problem,
                         kind=record.kind.value,
                         operations=tuple(sorted(record.operation_names)))
    if row is not None and record.kind.value != 'vm':
        # Its number stays its row's, and nothing is written to it (P10).
        return view._replace(state='orphaned', reason=f'vm_is_{record.kind.value}',
                             carried=plan.carried if plan is not None else record.args)
    if plan is None:
        return view._replace(state='unreadable', reason='row_not_valid')
    if plan.state.value == 'unreadable':
        from cli.output.repair_hints import describe_unreadable  # costs milliseconds, and is rare
        said, mend = describe_unreadable(record.uuid, record.args, names)
        view = view._replace(problem=problem or said, mend=mend)
    return view._replace(carried=plan.carried, desired=plan.desired, state=plan.state.value,
                         reason=plan.reason.value, holder=plan.holder,
                         owned=_say_owned(rows.get(plan.owner)))


def _say_owned(owner: Optional[Vm]) -> str:
    return f"vm_id {owner.vm_id}, that of {brief_name(owner.vm_name, owner.vm_uuid)}" \
        if owner is not None else ''


def view_vanished(row: Vm, problem: str = '') -> VmView:
    """A row whose VM is not in XAPI, or whose record there cannot be understood."""
    if problem:
        return view_row(row)._replace(state='unreadable', reason='record_malformed',
                                      problem=problem, was_asked=True)
    return view_row(row)._replace(state='orphaned', reason='vm_not_in_xapi', was_asked=True,
                                  kind='gone')


def word(priority: Optional[int]) -> Optional[str]:
    """The word of a priority."""
    return None if priority is None else Priority(priority).word


def vm_document(view: VmView) -> Dict[str, Any]:
    """A VM as JSON."""
    document: Dict[str, Any] = {
        'vm_uuid': view.vm_uuid, 'vm_name': view.vm_name, 'vm_id': view.vm_id,
        'pool_id': view.pool_id, 'priority': word(view.priority)}
    if view.is_registered:
        document.update(created_at=iso(view.created_at), updated_at=iso(view.updated_at))
    if view.was_asked:
        document.update(power_state=view.power_state, carried=view.carried,
                        desired=view.desired, state=view.state, reason=view.reason,
                        kind=view.kind, operations=list(view.operations), holder=view.holder,
                        dangers=list(view.dangers))
    if view.removed is not None:
        document['removed'] = view.removed
    if view.problem:
        document['problem'] = view.problem
    if view.arrived is not None:
        document['arrived'] = view.arrived
    if view.mend:
        document['mend'] = view.mend
    return document


def fault_documents(contents: Contents) -> List[Dict[str, Any]]:
    """The rows that are not valid, as JSON."""
    return [dict(fault._asdict()) for fault in contents.faults]


def boot_document(boot: Any, host_name: Optional[str] = None) -> Optional[Dict[str, Any]]:
    """A receipt as JSON; `at` is the time of it, as of everything that happened."""
    if boot is None:
        return None
    return {'boot': boot.id, 'kind': boot.kind, 'at': iso(boot.opened_at),
            'opened_at': iso(boot.opened_at), 'closed_at': iso(boot.closed_at),
            'host': boot.host, 'host_name': host_name, 'domid': boot.domid,
            'desired': boot.desired, 'carried': boot.carried, 'found': boot.found,
            'verdict': boot.verdict, 'rescued': boot.rescued, 'elapsed_ms': boot.elapsed_ms}


def count_pools(contents: Contents) -> List[PoolCount]:
    """The vGPU pools, each with the number of its VMs."""
    return [count_pool(contents, pool) for pool in contents.pools]


def count_pool(contents: Contents, pool: Pool) -> PoolCount:
    """One vGPU pool with the number of its VMs."""
    count = sum(1 for vm in contents.vms if vm.pool_id == pool.pool_id)
    return PoolCount(pool.pool_id, pool.pool_name, pool.description, pool.enabled, count)


def pool_document(pool: PoolCount) -> Dict[str, Any]:
    """A vGPU pool as JSON."""
    return dict(pool._asdict())


def entry_document(entry: Any, vm_name: Optional[str]) -> Dict[str, Any]:
    """One change of the history as JSON; a priority is a word there, as everywhere."""
    document = dict(entry._asdict(), at=iso(entry.at), vm_name=vm_name)
    for when in ('before', 'after'):
        fields = document[when]
        if isinstance(fields, dict) and fields.get('priority') in (0, 1, 2):
            document[when] = dict(fields, priority=word(fields['priority']))
    return document
