"""The control panel that `status` shows.  Pure."""

from collections import OrderedDict
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from cli.consumer_state import ConsumerState, advise_consumer, describe_consumer
from cli.mediator import describe_excess
from cli.mirror_state import MirrorState, describe_mirror, render_mirror
from cli.render import DANGERS, FULL_WIDTH, GOOD_STATES, describe_boot, describe_state
from cli.result import PoolCount, VmView
from cli.text import Style, escape, plural, table
from cli.views import word
from cli.watching import Watch, describe_watch
from registry.file_check import MEDIATOR_ROWS

_MANY = 20
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
    consumer: Optional[ConsumerState] = None
    """What the consumer of this host does."""


def render_panel(panel: Panel, style: Style) -> List[str]:
    """The whole panel."""
    lines = [style.colour('=== vGPU Control Panel ===', 'title')] + _head(panel, style)
    for pool, views in panel.pools:
        lines += [''] + _pool(pool, views, style)
    lines += [''] + _unregistered(panel.unregistered, panel.xapi_problem, style)
    lines += [''] + _attention(panel, style)
    return lines + [''] + _summary(panel, style)


def _head(panel: Panel, style: Style) -> List[str]:
    accepted = '' if panel.is_accepted else " (not accepted; see 'vgpu-admin accept')"
    xapi = (f'{style.warning} cannot be asked: {escape(panel.xapi_problem)}'
            if panel.xapi_problem else f'{style.tick} answers')
    if panel.registry_problem:
        accepted = f': {style.warning} cannot be used; what follows is how it was last seen'
    return [f'Registry: {panel.path}{accepted}', describe_watch(panel.watch, style),
            f'XAPI: {xapi}', render_mirror(panel.mirror, style)] + _consumer(panel.consumer, style)


def _consumer(consumer: Optional[ConsumerState], style: Style) -> List[str]:
    if consumer is None:
        return []
    sign = style.tick if consumer.is_well else style.warning
    return [f'Consumer: {sign} {describe_consumer(consumer)}']


def _pool(pool: PoolCount, views: Sequence[VmView], style: Style) -> List[str]:
    enabled = 'enabled' if pool.enabled else f'{style.warning} disabled'
    counts = ', '.join(f'{word(level)} {sum(1 for view in views if view.priority == level)}'
                       for level in (2, 1, 0))
    title = f'=== Pool {pool.pool_id}: {escape(pool.pool_name)} ({enabled}) ==='
    lines = [style.colour(title, 'title'), f'VMs: {pool.vm_count} ({counts})']
    if pool.description:
        lines.append(f'Description: {escape(pool.description)}')
    if views:
        lines += _vms(views, style)
    return lines


def _vms(views: Sequence[VmView], style: Style) -> List[str]:
    headings = ('ID', 'PRIO', 'POWER', 'STATE', 'UUID', 'NAME')
    rows = [(str(view.vm_id), word(view.priority) or '-', view.power_state or '-',
             view.state or '-', view.vm_uuid, escape(view.vm_name) or '-') for view in views]
    if _LEAST_WIDTH <= style.width < FULL_WIDTH:
        # A line for each VM says more than its UUID, which list-vms has.
        headings, rows = headings[:4] + headings[5:], [row[:4] + row[5:] for row in rows]
    return table(headings, rows, style)


def _unregistered(views: Sequence[VmView], problem: str, style: Style) -> List[str]:
    if problem:
        return [style.colour('=== Unregistered VMs: not known ===', 'title')]
    lines = [style.colour(f'=== Unregistered VMs: {len(views)} ===', 'title')]
    rows = [(view.vm_uuid, view.power_state or '-', view.state or '-',
             escape(view.vm_name) or '-') for view in views[:_MANY]]
    if rows:
        lines += table(('UUID', 'POWER', 'STATE', 'NAME'), rows, style)
    if len(views) > _MANY:
        lines.append(f"... and {len(views) - _MANY} more; see 'vgpu-admin scan-vms'")
    return lines


def _attention(panel: Panel, style: Style) -> List[str]:
    """What is pending, and what is wrong."""
    views = [view for _pool_count, views in panel.pools for view in views]
    views += list(panel.unregistered)
    found = [f'{style.warning} {view.vm_uuid} {escape(view.vm_name) or "-"}: {describe_state(view)}'
             for view in views if view.state is not None and view.state not in GOOD_STATES]
    if panel.registry_problem:
        found.insert(0, f'{style.warning} {escape(panel.registry_problem)}')
    # What its last boot took stands below.
    found += [f'{style.warning} {view.vm_uuid} {escape(view.vm_name) or "-"}: {DANGERS[danger]}'
              for view in views for danger in view.dangers if danger != 'booted_otherwise']
    found += [f'{style.warning} {boot.vm_uuid} {escape(boot.vm_name) or "-"}: last boot '
              f'{describe_boot(boot)}' for boot in panel.odd_boots]
    if panel.xapi_problem:
        found.append(f'{style.warning} XAPI cannot be asked, so what the VMs carry is not known')
    if not panel.watch.is_synced:
        found.append(f'{style.warning} the daemon is not in sync with XAPI: journalctl -u '
                     'vgpu-watcher')
    if panel.watch.is_late:
        found.append(f'{style.warning} XAPI has not answered the daemon for '
                     f'{panel.watch.silent_seconds} s: systemctl status vgpu-watcher')
    if panel.watch.holder is None:
        found.append(f'{style.warning} no daemon watches: systemctl start vgpu-watcher')
    if panel.mirror is not None and not panel.mirror.is_well:
        found.append(f'{style.warning} the mirror {escape(describe_mirror(panel.mirror))}; see '
                     "'vgpu-admin doctor'")
    excess = describe_excess(sum(pool_count.vm_count for pool_count, _views in panel.pools))
    if excess:
        found.append(f'{style.warning} {excess}')
    if panel.consumer is not None and not panel.consumer.is_well:
        found.append(f'{style.warning} the consumer of this host: '
                     f'{advise_consumer(panel.consumer)}')
    if panel.replacements:
        found.append(f'{style.warning} {plural(panel.replacements, "value")} that a version before '
                     '0.2 had removed; the daemon puts them back when their VMs are halted')
    rows = sum(pool.vm_count for pool, _views in panel.pools) + panel.faults
    if rows > MEDIATOR_ROWS:
        found.append(f'{style.warning} {rows} VMs are registered, and the GPU mediator takes '
                     f'{MEDIATOR_ROWS} at most')
    if panel.faults:
        found.append(f'{style.warning} {plural(panel.faults, "row")} cannot be understood; see '
                     "'vgpu-admin check'")
    return ([style.colour(f'=== Needs attention: {len(found)} ===', 'title')]
            + (found or [f'{style.tick} nothing']))


def _summary(panel: Panel, style: Style) -> List[str]:
    views = [view for _pool_count, views in panel.pools for view in views]
    counts = OrderedDict()  # type: OrderedDict[str, int]
    for view in views + list(panel.unregistered):
        if view.state is not None:
            counts[view.state] = counts.get(view.state, 0) + 1
    states = ', '.join(f'{state} {count}' for state, count in sorted(counts.items()))
    return [style.colour('=== Summary ===', 'title'),
            f'Registered VMs: {len(views)}',
            f"Unregistered VMs: {'not known' if panel.xapi_problem else len(panel.unregistered)}",
            f'States: {states or "not known"}']
