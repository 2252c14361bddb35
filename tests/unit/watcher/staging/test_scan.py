"""A scan is gone through a few VMs at a time, and leaves none out."""

import itertools

import pytest

from tests.unit.watcher.builders import POLICY, SPAN, build_permit, build_vm, uuid_of
from watcher.errors import MalformedRecord
from watcher.staging.jobs import Scan
from watcher.staging.scan import NO_POOL, Scanning, is_renamed, sum_up
from watcher.state.inventory import Inventory
from watcher.vm.plan import Assignment, Standing, State, plan_vm

VMS = tuple(build_vm(SPAN, ref='ref-%d' % number, uuid=uuid_of(number), name='vm')
            for number in range(1, 11))


class RegistryView:
    """Two rows, of which the second has no VM."""

    is_available = is_accepted = True

    def __init__(self):
        self.assignments = {uuid_of(number): Assignment(uuid_of(number), number, 'A', 1, True)
                            for number in (1, 99)}
        self.names = {uuid_of(1): 'old', uuid_of(99): 'gone'}
        self.renamed = {}

    def rename(self, names):
        """Note the names."""
        self.renamed.update(names)
        return len(names)


class Staging:
    """Decides by the row alone."""

    def __init__(self, view):
        self.busy = {}
        self._view = view

    @property
    def planner(self):
        """It decides itself."""
        return self

    def assess(self, vm):
        """Give the plan."""
        return plan_vm(vm, self._view.assignments.get(vm.uuid), Standing.CLEAR, POLICY)


class Scene:
    """A scanning with all that it has asked for; each look at the clock takes a millisecond."""

    def __init__(self, known=VMS):
        self.view, self.inventory = RegistryView(), Inventory()
        self.staging = Staging(self.view)
        for vm in known:
            self.inventory.update(vm, POLICY, 0.0)
        self.looked, self.reread, self.permit = [], [], build_permit()
        ticks = itertools.count()
        self.scanning = Scanning(
            self.view, self.inventory, self.staging, self.permit, reread=self.reread.append,
            review=lambda ref, _now: self.looked.append(ref),
            clock=lambda: next(ticks) / 1000.0)

    def finish(self):
        """Go on until the end."""
        for _ in range(1000):
            scanned = self.scanning.advance()
            if scanned is not None:
                return scanned
        raise AssertionError('the scan has no end')


def test_slice_ends_when_its_time_is_over():
    scene = Scene()
    scene.scanning.begin(Scan(VMS))
    slices = 0
    while scene.scanning.is_under_way:
        looked = len(scene.looked)
        scene.scanning.advance()
        assert len(scene.looked) - looked <= 2
        slices += 1
    assert slices > 10 and scene.scanning.advance() is None


def test_every_vm_is_looked_at_those_that_start_first():
    starting = VMS[7]._replace(operations=(('task', 'start'),))
    scene = Scene(VMS[:7] + (starting,) + VMS[8:])
    scene.scanning.begin(Scan(VMS))
    scanned = scene.finish()
    assert scene.looked[0] == starting.ref and len(set(scene.looked)) == scanned.vms == 10


def test_what_differs_from_events_is_read_again():
    scene = Scene(VMS[:9])
    scene.staging.busy = {VMS[1].ref: None}
    scene.inventory.aside.add(VMS[2].ref)
    changed = tuple(vm._replace(args=None) if vm in VMS[:2] else vm for vm in VMS[:8])
    scene.scanning.begin(Scan(changed + VMS[9:], (MalformedRecord('ref-77', 'x', 'y'),)))
    assert scene.finish().differing == 4
    assert sorted(scene.reread) == ['ref-1', 'ref-10', 'ref-3', 'ref-9']


def test_states_are_counted_rows_without_a_vm_too():
    scene = Scene()
    scene.scanning.begin(Scan(VMS, began_at=7.0))
    scanned = scene.finish()
    assert scanned.summary.pools['A']['orphaned'] == 1
    assert sum(scanned.summary.states.values()) == 11 and scanned.began_at == 7.0


@pytest.mark.parametrize('may_write, renamed', [(True, {uuid_of(1): 'vm'}), (False, {})])
def test_names_are_brought_up_to_date_by_the_writer_only(may_write, renamed):
    scene = Scene()
    scene.permit.is_synced = may_write
    scene.scanning.begin(Scan(VMS))
    assert scene.finish().renamed == len(renamed) and scene.view.renamed == renamed


def test_vm_that_goes_meanwhile_is_no_trouble():
    scene = Scene()
    scene.scanning.begin(Scan(VMS))
    scene.scanning.advance()
    scene.inventory.drop(VMS[9].ref)
    assert scene.finish().vms == 10


def test_states_are_summed_up_in_all_and_per_pool():
    summary = sum_up({('A', State.AS_DESIRED): 3, ('A', State.DRIFT): 1, ('B', State.DRIFT): 2,
                      (NO_POOL, State.MANUAL): 1})
    assert summary.states == {'as_desired': 3, 'drift': 3, 'manual': 1}
    assert summary.pools == {'A': {'as_desired': 3, 'drift': 1}, 'B': {'drift': 2},
                             '-': {'manual': 1}}


def test_nothing_is_counted_where_there_is_nothing():
    assert sum_up({}) == ({}, {})


@pytest.mark.parametrize('name, known, renamed', [
    pytest.param('new', {uuid_of(1): 'old'}, True, id='renamed'),
    pytest.param('new', {uuid_of(1): None}, True, id='never-named'),
    pytest.param('same', {uuid_of(1): 'same'}, False, id='unchanged'),
    pytest.param('new', {}, False, id='unregistered'),
    pytest.param('x' * 300, {uuid_of(1): 'x' * 255}, False, id='cut-as-the-file-has-it'),
    pytest.param('a\0b', {uuid_of(1): 'a\ufffdb'}, False, id='cleaned-as-the-file-has-it')])
def test_name_is_new_only_when_the_file_would_hold_another(name, known, renamed):
    assert is_renamed(build_vm(uuid=uuid_of(1), name=name), known) is renamed
