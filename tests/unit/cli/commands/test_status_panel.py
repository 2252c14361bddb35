"""The control panel: one screen, however many VMs there are and whatever is wrong."""

import pytest

from cli.commands.status_panel import Panel, render_panel
from cli.output.result import PoolCount, VmView
from cli.output.text import Style
from cli.output.wrap import fit
from cli.queries.daemon_status import Watch

STATES = ('as_desired', 'pending', 'drift', 'doubled', 'contested', 'orphaned', 'unreadable',
          'waits_for_xapi', 'fought_over')
TERMINAL = Style(True, False, True, 80, 40)


def _view(number: int, state: str, vm_id: bool = True) -> VmView:
    uuid = '2f4e6c9a-0b1d-4e8f-9a3c-%012d' % number
    return VmView(uuid, 'vm-%d' % number, number if vm_id else None, 'A', 1, power_state='Running',
                  state=state, was_asked=True)


def _panel(count: int, states=STATES, **fields) -> Panel:
    """A panel of so many registered VMs in these states, and a tenth as many without a row."""
    views = [_view(number, states[number % len(states)]) for number in range(count)]
    half = count // 2
    pools = tuple((PoolCount(letter, 'Pool ' + letter, 'nightly', True, len(some)), tuple(some))
                  for letter, some in (('A', views[:half]), ('B', views[half:])))
    extra = tuple(_view(9000 + number, 'unregistered', False) for number in range(count // 10))
    return Panel('/etc/vgpu/vgpu_config.db', True, Watch('pid 7'), '', pools, extra)._replace(
        **fields)


@pytest.mark.parametrize('states', [
    pytest.param(STATES, id='much-is-wrong'), pytest.param(('as_desired',), id='all-is-well'),
    pytest.param(('pending',), id='all-is-pending')])
def test_the_panel_of_500_vms_has_40_lines_on_a_terminal(states) -> None:
    lines = fit(render_panel(_panel(500, states), TERMINAL), TERMINAL)
    assert len(lines) <= 40, '\n'.join(lines)


def test_what_is_wrong_with_many_vms_is_counted_with_the_command_that_lists_them() -> None:
    text = '\n'.join(render_panel(_panel(500, ('pending',)), TERMINAL))
    assert "500 VMs (vm-0, vm-1, vm-2, ...): pending: 'vgpu-admin apply-pending'" in text
    assert "'vgpu-admin scan-vms --state=STATE' lists the VMs in a state" in text


def test_vms_that_are_counted_are_named_by_the_command_that_lists_them() -> None:
    for count, times in ((13, 1), (12, 0)):
        lines = render_panel(_panel(count, ('as_desired',)), TERMINAL)
        assert sum(line.startswith('Each VM, ') for line in lines) == times


def test_each_of_a_few_vms_is_shown_and_named() -> None:
    lines = render_panel(_panel(5, ('as_desired', 'pending')), TERMINAL)
    assert sum('Running' in line for line in lines) == 5
    assert sum(line.startswith('\u26a0 vm-1 (2f4e6c9a-') for line in lines) == 1


def test_what_cannot_be_read_is_a_line_with_what_to_do() -> None:
    panel = _panel(2, ('as_desired',), config_problem='[x]: no such section',
                   registry_problem='registry is away; wait', xapi_problem='XAPI is not reachable')
    text = '\n'.join(render_panel(panel._replace(watch=Watch()), Style()))
    for part in ('the configuration: [x]: no such section', 'check-config', 'registry is away',
                 'XAPI does not answer', 'systemctl start vgpu-watcher',
                 'XAPI: ! is not reachable'):
        assert part in text
    assert '=== Summary ===' in text and '=== Pool B' in text


@pytest.mark.parametrize('power_state, said', [
    ('Running', "pending: 'vgpu-admin apply-pending vm-1'"), ('Paused', 'pending'),
    ('Suspended', 'pending')])
def test_the_command_that_applies_what_waits_is_named_where_it_helps(power_state, said) -> None:
    panel = _panel(2, ('as_desired', 'pending'))
    pools = tuple((pool, tuple(view._replace(power_state=power_state) for view in views))
                  for pool, views in panel.pools)
    lines = render_panel(panel._replace(pools=pools), TERMINAL)
    assert [line.partition('): ')[2] for line in lines if line.startswith('\u26a0 vm-1')] == [said]


def test_a_journal_that_cannot_be_read_is_told_as_such() -> None:
    panel = _panel(2, ('as_desired',), journal_problem='journal /j is damaged')
    text = '\n'.join(render_panel(panel, Style()))
    assert '! journal /j is damaged; receipts and what the daemon noted are not known' in text
    assert 'Mirror: ! not known: the journal cannot be read' in text


@pytest.mark.parametrize('facts, registry, mirror', [
    ({}, 'cannot be used; what follows is how it was last seen', 'no daemon is running'),
    ({'has_past': False}, 'cannot be used; no history tells what it said', 'no daemon is running'),
    ({'has_past': False, 'is_there': False}, 'there is none yet', 'no daemon is running'),
    ({'has_past': False, 'is_there': False, 'watch': Watch('pid 7')}, 'there is none yet',
     'there is no registry yet'),
    ({'has_past': False, 'journal_problem': 'journal /j is damaged'},
     'cannot be used, nor can the journal, which tells how it was last seen',
     'the journal cannot be read')])
def test_a_registry_that_never_was_is_not_shown_as_it_was_last_seen(facts, registry,
                                                                    mirror) -> None:
    panel = _panel(0, registry_problem='registry is away; wait', watch=Watch())._replace(**facts)
    lines = render_panel(panel, Style())
    assert f'Registry: /etc/vgpu/vgpu_config.db: ! {registry}' in lines
    assert f'Mirror: ! not known: {mirror}' in lines
    assert any('Pool A' in line for line in lines) is panel.has_past
