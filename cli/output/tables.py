"""What people see: VMs, vGPU pools, lists, the scan. The shapes are those of the earlier tool.

Pure: no clock, no I/O, no logging.
"""

import re
from collections import OrderedDict
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple

from cli.output.result import PoolCount, VmView
from cli.output.text import Style, escape, fields, spell_vm, table, utc
from cli.output.vm_view import word

GOOD_STATES = ('as_desired', 'manual', 'unregistered')
_STATE_WORDS = {
    'as_desired': 'Configured', 'pending': 'Pending', 'drift': 'Drift',
    'unregistered': 'Not registered', 'manual': 'Not registered', 'doubled': 'Doubled number',
    'contested': 'Contested number', 'orphaned': 'Orphaned', 'unreadable': 'Unreadable',
}
# No reasons of a plan: what an edit says of a VM that the daemon is about to stage, and what a dry
# run says of one that would be staged, or lose its row.
LEFT_TO_DAEMON = 'left_to_daemon'
WOULD_BE_STAGED = 'would_be_staged'
WOULD_BE_REMOVED = 'would_be_removed'
_REASON_HINTS = {
    LEFT_TO_DAEMON: 'the daemon is staging it',
    WOULD_BE_STAGED: 'it would be staged',
    WOULD_BE_REMOVED: 'its row would be removed; its next start takes none of our arguments',
    'not_at_rest': 'waits until it is shut down and started',
    'platform_unsettled': 'XAPI completes its platform map at its next start; after that',
    'no_qemu': 'a PV or PVH guest has no QEMU that could take arguments',
    'fought_over': 'another program keeps changing its arguments',
    'registry_not_accepted': "run 'vgpu-admin accept'",
    'vm_not_in_xapi': "the VM is not in XAPI; its row keeps the number until 'vgpu-admin "
                      "transfer-vm' or 'vgpu-admin remove-vm --gone'",
    'vm_is_template': 'it is a template now; its row keeps the number, and nothing is written to '
                      'it',
    'vm_is_snapshot': 'it is a snapshot; its row keeps the number, and nothing is written to it',
    'number_copied': "it carries the number of another VM's row and loses it when halted: see "
                     "'vgpu-admin register-vm' and 'vgpu-admin transfer-vm'",
    'copy_blocked': "it carries the number of another VM's row; left alone while others block its "
                    'start',
    'not_registered': "no row; 'vgpu-admin register-vm {vm}'",
    'row_not_valid': "its row is not valid; run 'vgpu-admin check'",
    'manual_args': "made by hand, and left alone; 'vgpu-admin adopt' registers it where no other "
                   'VM has its number',
    'number_contested': "an unregistered VM had its number before: 'vgpu-admin set-vm-id {vm} "
                        "--vm-id=N' gives it another",
    # The same of the VM without a row.
    'number_had_before': "had its number before the row that has it now: 'vgpu-admin register-vm "
                         "{vm}' gives it another",
    'value_not_readable': "its device-model-args cannot be parsed; see 'vgpu-admin show-vm {vm}'",
    'value_would_be_too_long': "its device-model-args would be too long; see 'vgpu-admin show-vm "
                               "{vm}'",
}
_ORDER_UNKNOWN = ('another VM carries the number, too, and the journal, which knows who had it '
                  'first, cannot be read: change nothing until it can')

# What a halted VM differs by, for the moment until it is staged.
_DAEMON_STAGES = ('span_missing', 'span_differs', 'pool_disabled', 'row_deleted')
_ARGS = re.compile(r'\bpool_id=([AB]),priority=([a-z]+),vm_id=([0-9]+)')
# A terminal of so many columns has room for UUIDs beside the rest.
FULL_WIDTH = 92
DANGERS = {
    'number_runs_twice': 'its number runs in another QEMU, too: shut down the VM whose row does '
                         'not have it',
    'number_borne_twice': "another unregistered VM carries its number: 'vgpu-admin register-vm' "
                          'gives it one of its own',
    'resumes_with_anothers_number': "a resume takes another VM's number: shut it down instead",
    'migrates_with_device': 'it is being migrated, and the device cannot be',
    'start_blocked': "a start block that 0.1 left: 'vgpu-admin fence clear'",
    'fought_over': 'another program keeps changing its arguments, which are written with growing '
                   'pauses: find who writes platform:device-model-args',
    'booted_otherwise': "its last boot took something else: see 'vgpu-admin explain'",
}


def priority_text(priority: Optional[int]) -> str:
    """The form `high (2)`."""
    return '-' if priority is None else f'{word(priority)} ({int(priority)})'


def render_vm(view: VmView, boot: Any = None, host_name: Optional[str] = None,
              title: str = 'VM Configuration:') -> List[str]:
    """One VM, as lines `  Key: value`."""
    values = OrderedDict([('UUID', view.vm_uuid), ('Name', escape(view.vm_name) or '-')])
    if view.is_registered:
        values.update([('VM ID', str(view.vm_id)), ('Pool', str(view.pool_id)),
                       ('Priority', priority_text(view.priority))])
        values.update((key, utc(value)) for key, value in (
            ('Created', view.created_at), ('Updated', view.updated_at)) if value)
    if view.arrived is not None:
        values['Arrived'] = f'{describe_arrival(view)}; see \'vgpu-admin adopt\''
    if view.removed is not None:
        values['Removed'] = (f"{escape(view.removed)}; 'vgpu-admin register-vm' gives it a number "
                             'of its own')
    if view.problem:
        values['Problem'] = escape(view.problem)
    if view.mend:
        values['Mend it with'] = view.mend
    if view.was_asked:
        values.update(_live_fields(view))
    if boot is not None:
        values['Last boot'] = describe_boot(boot, host_name)
    return fields(title, values)


def _live_fields(view: VmView) -> 'OrderedDict[str, str]':
    return OrderedDict([
        ('Power state', view.power_state or 'not in XAPI'),
        ('Carried', escape(view.carried) or '-'), ('Desired', escape(view.desired) or '-'),
        # What mends it stands above.
        ('State', str(view.state) if view.mend else describe_state(view))])


def describe_arrival(view: VmView) -> str:
    """What a VM brought along from another resource pool."""
    brought = view.arrived or {}
    return (f"from another resource pool, with vm_id {brought.get('vm_id')}, pool "
            f"{brought.get('pool_id')}, priority {brought.get('priority')}")


def describe_state(view: VmView) -> str:
    """The state in one word, and what to do about it."""
    return _with_hint(str(view.state), _find_hint(view))


def describe_left(plan: Any, *, lacks_journal: bool) -> str:
    """The state of a VM that is left as it is, and why."""
    state, reason = plan.state.value, plan.reason.value
    return _with_hint(state, _say_reason(
        reason, plan.vm.name, plan.vm.uuid, lacks_journal=lacks_journal,
        has_row=plan.owner is None)
        or ('' if reason == state else reason))


def _say_reason(reason: Optional[str], name: Optional[str], vm_uuid: str, *,
                lacks_journal: bool, has_row: bool) -> str:
    if reason == 'number_contested' and lacks_journal:
        return _ORDER_UNKNOWN
    if reason == 'number_contested' and not has_row:
        reason = 'number_had_before'
    return _REASON_HINTS.get(reason or '', '').replace('{vm}', spell_vm(name, vm_uuid))


def _with_hint(state: str, hint: str) -> str:
    """The hint behind the state, where there is one."""
    return f'{state} ({hint})' if hint else state


def _find_hint(view: VmView) -> str:
    if view.holder is not None:
        return f'VM {view.holder} still has vm_id {view.vm_id}; staged when it has given that up'
    if view.reason == 'not_at_rest' and view.power_state == 'Halted' and view.operations:
        return describe_operations(view.operations)
    if view.reason == 'halted_but_resident':
        return describe_resident(view.vm_uuid)
    if _is_disabled(view):
        return f'vGPU pool {view.pool_id} is disabled: it gets no arguments'
    if view.reason == 'not_at_rest' and view.state == 'orphaned':
        return 'its row was removed; it keeps our arguments until it is shut down'
    if view.owned and view.reason in ('not_at_rest', 'number_copied'):
        return (f"carries {view.owned}, and loses that when it is halted: 'vgpu-admin register-vm "
                f"{spell_vm(view.vm_name, view.vm_uuid)}' gives it a number of its own")
    if view.reason == 'not_at_rest' and view.power_state == 'Suspended':
        return ('suspended: a resume keeps the old arguments; shut it down and start it to apply '
                'the change')
    if view.state in ('drift', 'orphaned') and view.reason in _DAEMON_STAGES:
        return "the daemon stages it; without one: 'vgpu-admin reconcile'"
    return _say_reason(view.reason, view.vm_name, view.vm_uuid, lacks_journal=view.lacks_journal,
                       has_row=view.is_registered)


def _is_disabled(view: VmView) -> bool:
    """Whether it is as the registry asks for, which is nothing: its vGPU pool is disabled."""
    return view.is_registered and view.state == 'as_desired' and view.desired is None


def describe_operations(operations: Iterable[str]) -> str:
    """What a halted VM waits for."""
    return f"waits for the end of {', '.join(operations)}; if that hangs: xe task-list"


def describe_resident(vm_uuid: str) -> str:
    """What ends it that XAPI calls a VM Halted while a host still has it."""
    return ('XAPI says that it is Halted and that a host still has it; when no domain of it runs '
            f'there (list_domains): xe vm-reset-powerstate uuid={vm_uuid} --force')


def describe_boot(boot: Any, host_name: Optional[str]) -> str:
    """One receipt on one line."""
    return f'{utc(boot.opened_at)} {describe_outcome(boot, host_name)}'


def describe_outcome(boot: Any, host_name: Optional[str] = None) -> str:
    """What kind of boot it was, and what came of it."""
    where = f' on {escape(host_name)}' if host_name else ''
    kind = 'found running' if boot.kind == 'unknown' else boot.kind
    return f'{kind}{where}: {describe_verdict(boot)}'


def describe_verdict(boot: Any) -> str:
    """What came of a boot; of a VM that had no row nothing was asked for."""
    if is_unasked(boot):
        return f"had no row then, found {escape(boot.found) or 'nothing of ours'}"
    text = boot.verdict or ('given up' if boot.closed_at else 'under way')
    if boot.found and boot.verdict not in (None, 'as_desired'):
        text += f', found {escape(boot.found)}'
    return text + (', rescued' if boot.rescued else '')


def is_open(boot: Any) -> bool:
    """Whether a boot has no verdict yet; a daemon closes later what vgpu-admin has seen."""
    return boot.verdict is None and not boot.closed_at


def is_unasked(boot: Any) -> bool:
    """Whether a boot was looked at and had no row by which it could be right or wrong."""
    return boot.quiet and boot.verdict not in (None, 'withheld', 'unverified')


def render_vm_table(views: Sequence[VmView], style: Style) -> List[str]:
    """The registered VMs as a table."""
    rows = [(str(view.vm_id), view.vm_uuid, view.pool_id or '-', priority_text(view.priority),
             escape(view.vm_name) or '-') for view in views]
    return table(('VM ID', 'UUID', 'POOL', 'PRIORITY', 'NAME'), rows, style)


def render_pool_table(pools: Sequence[PoolCount], style: Style) -> List[str]:
    """The vGPU pools as a table."""
    rows = [(pool.pool_id, escape(pool.pool_name), 'yes' if pool.enabled else 'no',
             str(pool.vm_count), escape(pool.description) or '-') for pool in pools]
    return table(('POOL', 'NAME', 'ENABLED', 'VMS', 'DESCRIPTION'), rows, style)


def render_pool(pool: PoolCount, views: Sequence[VmView], style: Style) -> List[str]:
    """One vGPU pool with its VMs."""
    lines = fields('Pool Configuration:', OrderedDict([
        ('Pool', pool.pool_id), ('Name', escape(pool.pool_name)),
        ('Description', escape(pool.description) or '-'),
        ('Enabled', 'yes' if pool.enabled else 'no'), ('VMs', str(pool.vm_count))]))
    return lines + ([''] + render_vm_table(views, style) if views else [])


def render_group(title: str, views: Sequence[VmView], style: Style) -> List[str]:
    """One group of the scan."""
    return ([style.colour(f'=== {title} ===', 'title')]
            + [render_scan_line(view, style) for view in views])


def render_scan_table(title: str, views: Sequence[VmView], style: Style) -> List[str]:
    """One group of the scan as a table; below it what cannot be prevented and must be seen."""
    lines = [style.colour(f'=== {title} ===', 'title')]
    if not views:
        return lines
    is_wide = not 0 < style.width < FULL_WIDTH
    headings = ('ID', 'PRIO', 'POWER', 'STATE', 'CARRIES') + (('UUID',) if is_wide else ())
    rows = [(str(view.vm_id or '-'), word(view.priority) or '-', view.power_state or '-',
             view.state or '-', brief_args(view.carried)) + ((view.vm_uuid,) if is_wide else ())
            + (escape(view.vm_name) or '-',) for view in views]
    return lines + table(headings + ('NAME',), rows, style) + [
        style.colour(f'{style.warning} {escape(view.vm_name) or view.vm_uuid}: {DANGERS[danger]}',
                     'warn') for view in views for danger in view.dangers]


def brief_args(args: Optional[str]) -> str:
    """What a VM carries, in short: `B/high/7`; what is not of the usual form, as it is."""
    found = _ARGS.search(args or '')
    return '/'.join(found.groups()) if found else escape(args) or '-'


def brief_pair(before: Optional[str], after: Optional[str]) -> Tuple[str, str]:
    """Two spans in short; as they are, where they differ in nothing that is shown in short."""
    pair = tuple(brief_args(args) if args else 'nothing' for args in (before, after))
    return (pair[0], pair[1]) if pair[0] != pair[1] else (escape(before), escape(after))


def render_scan_line(view: VmView, style: Style) -> str:
    """One VM of the scan, in the shape that people know."""
    parts = [f'UUID: {view.vm_uuid}', f'Name: {escape(view.vm_name) or "-"}']
    if view.is_registered:
        parts += [f'Pool: {view.pool_id}', f'Priority: {priority_text(view.priority)}',
                  f'VM ID: {view.vm_id}', scan_mark(view, style)]
    else:
        parts += [f'Status: {scan_mark(view, style)}', f'Action: {_find_action(view)}']
    parts += [f'Power: {view.power_state or "-"}', f'Carries: {escape(view.carried) or "-"}']
    if view.is_registered and view.state != 'as_desired':
        parts.append(f'Desired: {escape(view.desired) or "-"}')
    if view.arrived is not None:
        parts.append(f'Arrived: {describe_arrival(view)}')
    elif view.removed is not None and not view.is_registered:
        parts.append(f'Removed: {escape(view.removed)}')
    parts += [style.colour(f'{style.warning} Danger: {DANGERS[danger]}', 'warn')
              for danger in view.dangers]
    return ' | '.join(parts)


def _find_action(view: VmView) -> str:
    """What to do about a VM that is not registered."""
    if view.arrived is not None:
        return "Run 'vgpu-admin adopt'"
    if view.reason == 'row_not_valid':
        return "Run 'vgpu-admin check'"
    if view.state not in GOOD_STATES:
        return _find_hint(view) or 'our arguments go away'
    also = " or 'vgpu-admin adopt'" if view.state == 'manual' else ''
    if view.removed is not None:
        also = " or 'vgpu-admin transfer-vm'"
    return f"Run 'vgpu-admin register-vm'{also}"


def scan_mark(view: VmView, style: Style) -> str:
    """The tick of what is well, the warning of what is not, with the state in words."""
    text = _STATE_WORDS.get(view.state or '', str(view.state))
    if _is_disabled(view):
        text = 'Disabled'
    elif view.state == 'as_desired':
        return style.colour(f'{style.tick} {text}', 'good')
    if view.state == 'manual':
        text += ' (manual args)'
    elif view.is_registered:
        hint = _find_hint(view)
        text += f' ({hint})' if hint else ''
    return style.colour(f'{style.warning} {text}', 'warn')


def render_change(before: Mapping[str, str], after: Mapping[str, str], *,
                  starts: bool = True) -> List[str]:
    """The block that people know: what is, and what shall be."""
    needs = ('This change requires stopping and restarting the VM.' if starts else
             'This change requires stopping the VM. It stays stopped; --restart starts it again.')
    return (fields('Current configuration:', before) + fields('New configuration:', after)
            + [needs])
