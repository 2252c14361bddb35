"""The control panel that `status` shows.  Pure."""

from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.consumer.withholding import (NO_DOM0, ConsumerState, advise_consumer,
                                      describe_consumer)
from cli.mediator import describe_excess
from cli.output.result import PoolCount, VmView
from cli.output.tables import DANGERS, FULL_WIDTH, GOOD_STATES, describe_boot, describe_state
from cli.output.text import (NO_PERMISSION, Style, cut, escape, name_vm, plural, plural_invalid,
                             spell_vm, table)
from cli.output.vm_view import word
from cli.queries.daemon_status import Watch, describe_watch
from cli.queries.mirror_status import MirrorState, describe_mirror, render_mirror

# So many VMs are shown one by one; a pool of more is counted.
_MANY = 12
_FEW = 3
# What needs attention: so many lines about VMs, before they are put together; so many in all.
_MOST_VMS = 9
_MOST_LINES = 12
_NAME_WIDTH = 12
# A terminal of less has room for nothing beside UUIDs.
_LEAST_WIDTH = 48


class Panel(NamedTuple):
    """All that the control panel shows."""

    path: str
    is_accepted: bool
    watch: Watch
    xapi_problem: str
    pools: Tuple[Tuple[PoolCount, Tuple[VmView, ...]], ...]
    unregistered: Tuple[VmView, ...]
    odd_boots: Tuple[Any, ...] = ()
    """The last boots of registered VMs that were wrong, or not verified."""
    replacements: int = 0
    faults: int = 0
    mirror: Optional[MirrorState] = None
    """What the daemon noted of it; None when it is not known."""
    registry_problem: str = ''
    """Why the registry cannot be gone by; the VMs are those of when it was last seen, then."""
    is_there: bool = True
    """Whether there is a file."""
    has_past: bool = True
    """Whether it is known what the registry says, or said when it was last seen."""
    consumer: Optional[ConsumerState] = None
    """What the consumer of this host does."""
    host_names: Mapping[str, Optional[str]] = {}
    """Of the hosts on which odd boots were, by their references."""
    journal_problem: str = ''
    """Why history, receipts and what the daemon notes cannot be read."""
    config_problem: str = ''
    """Why the configuration cannot be gone by."""
    check_config: str = "'vgpu-watcher check-config'"


def render_panel(panel: Panel, style: Style) -> List[str]:
    """The whole panel."""
    lines = [style.colour('=== vGPU Control Panel ===', 'title')] + _head(panel, style)
    is_crowded = sum(len(views) for _pool_count, views in panel.pools) > _MANY
    for pool, views in panel.pools if panel.has_past else ():
        lines += [''] + _pool(pool, views, is_crowded, style)
    if is_crowded:
        command = 'list-vms' if panel.xapi_problem else 'scan-vms'
        lines.append(f"Each VM, also of one pool (--pool=A): 'vgpu-admin {command}'")
    lines += [''] + _unregistered(panel.unregistered, panel.xapi_problem, is_crowded, style)
    lines += [''] + _attention(panel, style)
    return lines + [''] + _summary(panel, style)


def _head(panel: Panel, style: Style) -> List[str]:
    accepted = '' if panel.is_accepted else " (not accepted; see 'vgpu-admin accept')"
    xapi = (f"{style.warning} {escape(panel.xapi_problem).replace('XAPI ', '', 1)}"
            if panel.xapi_problem else f'{style.tick} answers')
    if panel.registry_problem:
        accepted = f': {style.warning} {_say_unusable(panel)}'
    return [f'Registry: {panel.path}{accepted}', describe_watch(panel.watch, style),
            f'XAPI: {xapi}', render_mirror(panel.mirror, style, _say_unnoted(panel))
            ] + _consumer(panel.consumer, style)


def _say_unusable(panel: Panel) -> str:
    """What is shown in the place of a registry that cannot be used."""
    if panel.has_past:
        return 'cannot be used; what follows is how it was last seen'
    if panel.journal_problem:
        return 'cannot be used, nor can the journal, which tells how it was last seen'
    return 'cannot be used; no history tells what it said' if panel.is_there else \
        'there is none yet'


def _say_unnoted(panel: Panel) -> str:
    """Why it is not known how far the mirror is."""
    if panel.journal_problem:
        return 'the journal cannot be read'
    if panel.watch.holder is None:
        return 'no daemon is running'
    return 'the daemon has not noted it' if panel.is_there else 'there is no registry yet'


def _consumer(consumer: Optional[ConsumerState], style: Style) -> List[str]:
    if consumer is None:
        return []
    if consumer.state == NO_DOM0:
        return [f'Consumer: {describe_consumer(consumer)}']
    sign = style.tick if consumer.is_well else style.warning
    return [f'Consumer: {sign} {describe_consumer(consumer)}']


def _pool(pool: PoolCount, views: Sequence[VmView], is_crowded: bool, style: Style) -> List[str]:
    enabled = 'enabled' if pool.enabled else f'{style.warning} disabled'
    counts = ', '.join(f'{word(level)} {sum(1 for view in views if view.priority == level)}'
                       for level in (2, 1, 0))
    powers = _count([view.power_state for view in views]) if is_crowded else ''
    counts += f'; {powers}' if powers else ''
    title = f'=== Pool {pool.pool_id}: {escape(pool.pool_name)} ({enabled}) ==='
    lines = [style.colour(title, 'title'), f'VMs: {pool.vm_count} ({counts})']
    if pool.description:
        lines.append(f'Description: {escape(pool.description)}')
    return lines + (_vms(views, style) if views and not is_crowded else [])


def _count(words: Iterable[Optional[str]]) -> str:
    """How often each word occurs."""
    counts: Dict[str, int] = {}
    for item in words:
        if item is not None:
            counts[item] = counts.get(item, 0) + 1
    return ', '.join(f'{item} {number}' for item, number in sorted(counts.items()))


def _vms(views: Sequence[VmView], style: Style) -> List[str]:
    headings: Tuple[str, ...] = ('ID', 'PRIO', 'POWER', 'STATE', 'UUID', 'NAME')
    rows: List[Tuple[str, ...]] = [
        (str(view.vm_id), word(view.priority) or '-', view.power_state or '-', view.state or '-',
         view.vm_uuid, escape(view.vm_name) or '-') for view in views]
    if _LEAST_WIDTH <= style.width < FULL_WIDTH:
        # A line for each VM says more than its UUID, which list-vms has.
        headings, rows = headings[:4] + headings[5:], [row[:4] + row[5:] for row in rows]
    return table(headings, rows, style)


def _unregistered(views: Sequence[VmView], problem: str, is_crowded: bool,
                  style: Style) -> List[str]:
    if problem:
        return [style.colour('=== Unregistered VMs: not known ===', 'title')]
    lines = [style.colour(f'=== Unregistered VMs: {len(views)} ===', 'title')]
    many = _FEW if is_crowded else _MANY
    rows = [(view.vm_uuid, view.power_state or '-', view.state or '-',
             escape(view.vm_name) or '-') for view in views[:many]]
    if rows:
        lines += table(('UUID', 'POWER', 'STATE', 'NAME'), rows, style)
    if len(views) > many:
        lines.append(f"... and {len(views) - many} more; see 'vgpu-admin scan-vms'")
    return lines


def _attention(panel: Panel, style: Style) -> List[str]:
    """What is wrong with the whole, and then with VMs; each with what to do."""
    found = _list_troubles(panel) + _list_vms(panel)
    shown = found if len(found) <= _MOST_LINES else found[:_MOST_LINES - 1] + [
        f"{len(found) - _MOST_LINES + 1} more: see 'vgpu-admin scan-vms' and 'vgpu-admin doctor'"]
    return ([style.colour(f'=== Needs attention: {len(found)} ===', 'title')]
            + ([f'{style.warning} {text}' for text in shown] or [f'{style.tick} nothing']))


def _list_vms(panel: Panel) -> List[str]:
    """What is wrong with VMs; where that is much, one line for all of a kind."""
    views = [view for _pool_count, views in panel.pools for view in views]
    views += list(panel.unregistered)
    kinds: OrderedDict[str, List[Tuple[Any, str]]] = OrderedDict()
    for view in views:
        if view.state is not None and view.state not in GOOD_STATES:
            kinds.setdefault(view.state, []).append((view, describe_state(view)))
    for view in views:
        # What its last boot took stands below.
        for danger in view.dangers:
            if danger != 'booted_otherwise':
                kinds.setdefault(DANGERS[danger], []).append((view, DANGERS[danger]))
    for boot in panel.odd_boots:
        kinds.setdefault("last boot not as desired: 'vgpu-admin explain VM'", []).append(
            (boot, f'last boot {describe_boot(boot, panel.host_names.get(boot.host))}: '
             f"'vgpu-admin explain {spell_vm(boot.vm_name, boot.vm_uuid)}'"))
    is_brief = sum(len(items) for items in kinds.values()) > _MOST_VMS
    lines: List[str] = []
    for said, items in kinds.items():
        if is_brief and len(items) > 1:
            names = ', '.join(_brief_name(vm) for vm, _text in items[:_FEW])
            more = ', ...' if len(items) > _FEW else ''
            lines.append(f'{len(items)} VMs ({names}{more}): {said}'
                         + _say_next(said, [vm for vm, _text in items]))
        else:
            lines += [_say(*item) + _say_next(said, [item[0]]) for item in items]
    return lines + (["'vgpu-admin scan-vms --state=STATE' lists the VMs in a state"]
                    if is_brief else [])


def _say_next(state: str, vms: Sequence[Any]) -> str:
    """The command that applies what waits, where one of the VMs that wait runs."""
    if state != 'pending' or all(vm.power_state != 'Running' for vm in vms):
        return ''
    named = f' {spell_vm(vms[0].vm_name, vms[0].vm_uuid)}' if len(vms) == 1 else ''
    return f": 'vgpu-admin apply-pending{named}'"


def _say(vm: Any, text: str) -> str:
    return f'{name_vm(vm.vm_name, vm.vm_uuid)}: {text}'


def _brief_name(vm: Any) -> str:
    return cut(escape(vm.vm_name) or vm.vm_uuid, _NAME_WIDTH)


def _list_troubles(panel: Panel) -> List[str]:
    """What is wrong with registry, XAPI, daemon, mirror and consumer."""
    found: List[str] = []
    if panel.config_problem:
        found.append(f"the configuration: {escape(panel.config_problem)}; the defaults are shown; "
                     f'see {panel.check_config}')
    if panel.registry_problem:
        found.append(escape(panel.registry_problem))
    if panel.journal_problem:
        found.append(f'{escape(panel.journal_problem)}; receipts and what the daemon noted are not '
                     'known')
    if panel.xapi_problem:
        found.append('XAPI does not answer; what VMs carry is not known'
                     + ('' if NO_PERMISSION in panel.xapi_problem else ': systemctl status xapi'))
    if not panel.watch.is_synced:
        found.append('the daemon is not in sync with XAPI: journalctl -u vgpu-watcher')
    if panel.watch.is_late:
        found.append(f'XAPI has not answered the daemon for {panel.watch.silent_seconds} s: '
                     'systemctl status vgpu-watcher')
    if panel.watch.holder is None:
        found.append('no daemon is running: systemctl start vgpu-watcher')
    if panel.mirror is not None and not panel.mirror.is_well:
        found.append(f"the mirror {escape(describe_mirror(panel.mirror))}; see 'vgpu-admin "
                     "doctor'")
    excess = describe_excess(sum(pool_count.vm_count for pool_count, _views in panel.pools)
                             + panel.faults)
    if excess:
        found.append(excess)
    if panel.consumer is not None and not panel.consumer.is_well:
        found.append(f'the consumer of this host: {advise_consumer(panel.consumer)}')
    if panel.replacements:
        found.append(f'{plural(panel.replacements, "value")} that a version before 0.2 had '
                     'removed; the daemon puts them back when their VMs are halted')
    if panel.faults:
        found.append(f"{plural_invalid(panel.faults)}; see 'vgpu-admin check'")
    return found


def _summary(panel: Panel, style: Style) -> List[str]:
    views = [view for _pool_count, views in panel.pools for view in views]
    states = _count([view.state for view in views + list(panel.unregistered)])
    return [style.colour('=== Summary ===', 'title'),
            f'Registered VMs: {len(views)}',
            f"Unregistered VMs: {'not known' if panel.xapi_problem else len(panel.unregistered)}",
            f'States: {states or "not known"}']
