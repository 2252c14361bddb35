"""What vgpu-admin plans is what the daemon would."""

import pytest

from cli.queries.pool_snapshot import PoolView
from registry.journal.journal import Journal
from registry.values import Contents, Pool, RowFault
from tests.support.left_by_0_1 import BLOCK, add_replacement
from tests.unit.watcher.builders import SPAN, UUID, build_vm
from watcher.config.settings import RegistrySettings, Settings
from watcher.vm.plan import Action

VALUE = '-snapshot ' + SPAN
FAULT = RowFault(UUID, 'priority: the column holds something else')


@pytest.fixture
def journal(tmp_path):
    with Journal(str(tmp_path / 'vgpu_journal.db'), timeout_seconds=1.0) as journal:
        yield journal


def view(tmp_path, journal, vm, faults=()):
    settings = Settings(registry=RegistrySettings(str(tmp_path / 'vgpu_config.db')))
    contents = Contents(1, (Pool('A', 'Pool A'), Pool('B', 'Pool B')), (), faults)
    return PoolView(settings, contents, journal, [vm]).note_all()


def test_value_taken_away_comes_back_whole_while_the_row_is_not_understood(tmp_path, journal):
    add_replacement(journal.path, UUID, 'ref', '-snapshot', VALUE)
    plan = view(tmp_path, journal, build_vm(None), (FAULT,)).plan(build_vm(None))
    assert (plan.action, plan.value) == (Action.ADD, VALUE)


def test_row_that_is_not_understood_has_its_vm_left_alone(tmp_path, journal):
    assert view(tmp_path, journal, build_vm(SPAN), (FAULT,)).plan(build_vm(SPAN)) is None


def test_value_of_a_vm_without_a_row_comes_back_without_our_span(tmp_path, journal):
    add_replacement(journal.path, UUID, 'ref', '-snapshot', VALUE)
    plan = view(tmp_path, journal, build_vm(None)).plan(build_vm(None))
    assert (plan.action, plan.value) == (Action.ADD, '-snapshot')


def test_value_that_only_the_text_of_a_block_tells_comes_back_as_well(tmp_path, journal):
    vm = build_vm(None, start_blocks=(('start', BLOCK % (UUID, 'start', VALUE)),))
    plan = view(tmp_path, journal, vm).plan(vm)
    assert (plan.action, plan.value) == (Action.ADD, '-snapshot')
