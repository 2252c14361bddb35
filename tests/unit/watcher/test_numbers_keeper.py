"""What the daemon tells the consumer of its host, and when it says that it is still so."""

import os
import sqlite3
import stat
from typing import Any, Dict

import pytest

from tests.unit.watcher.builders import HOST, build_vm
from tests.unit.watcher.watchers import build_watcher, create_registry
from watcher.consumer.numbers_file import Withheld
from watcher.consumer.run_directory import Instant, RunDirectory
from watcher.mirror.mirror import FOLLOWING, UNDECIDED
from watcher.numbers_keeper import CONFIRM_SECONDS, SILENT_SECONDS, NumberKeeper
from watcher.vm.record import PoolRecord, PowerState
from watcher.xapi.role import Role

FIRST = '11111111-1111-4111-8111-111111111111'
SECOND = '22222222-2222-4222-8222-222222222222'
MASTER = Role(True, True, HOST, '26.1.4')
MEMBER = MASTER._replace(is_writer=False, is_member=True)


class Bench:
    """A keeper over a real registry and a real directory, with clocks that stand still."""

    def __init__(self, directory: str) -> None:
        self.registry = os.path.join(directory, 'vgpu_config.db')
        create_registry(self.registry, {FIRST: 1, SECOND: 2})
        self.now = 1000.0
        self.boot_id = 'this-boot'
        self.directory = RunDirectory(os.path.join(directory, 'run'))
        self.watcher = build_watcher(self.registry)
        self.view = self.watcher._view
        self.view.poll()
        self.note_pool('pool-a')
        self.keeper = self.build()

    def build(self) -> NumberKeeper:
        """A keeper, as a daemon that starts has it."""
        keeper = NumberKeeper(self.view, self.watcher.inventory, self.watcher.permit,
                              self.watcher.mirroring, instant=lambda: Instant(self.boot_id, self.now + 5000.0))
        keeper.use(self.directory.path)
        return keeper

    def note_pool(self, uuid: str) -> None:
        """XAPI shows its resource pool."""
        self.watcher.mirroring.push.note_pool(PoolRecord('ref', uuid, HOST))

    def attend(self, role: Any = MASTER, is_synced: bool = True, silent: float = 1.0) -> Any:
        """One turn of the main loop; what stands in the file after it."""
        self.turn(role, is_synced, silent)
        return self.directory.read_numbers()

    def turn(self, role: Any = MASTER, is_synced: bool = True, silent: float = 1.0) -> None:
        """One turn of the main loop, some seconds after the last answer."""
        permit = self.watcher.permit
        permit.role, permit.is_synced, permit.is_locked = role, is_synced, True
        self.keeper.attend(self.now, self.now - silent)

    def edit(self, rows: Dict[str, int]) -> None:
        """Another program writes the registry."""
        connection = sqlite3.connect(self.registry)
        for vm_uuid, number in rows.items():
            connection.execute('UPDATE vms SET vm_id = ? WHERE vm_uuid = ?', (number, vm_uuid))
        connection.commit()
        connection.close()
        self.view.reread()
        self.view.poll()

    def stamp(self) -> Any:
        """What changes with every write of the file."""
        return os.stat(os.path.join(self.directory.path, 'numbers')).st_ino

    def close(self) -> None:
        """Close what is open."""
        self.view.close()


@pytest.fixture
def bench(tmp_path: Any) -> Any:
    built = Bench(str(tmp_path))
    yield built
    built.close()


def test_rows_are_written_and_confirmed_for_root_alone(bench: Bench) -> None:
    numbers = bench.attend()
    assert numbers.rows == ((1, FIRST), (2, SECOND)) and numbers.pool == 'pool-a'
    assert numbers.is_confirmed('this-boot', 6000.0) and numbers.confirmed_at == 6000.0
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (
        bench.directory.path, os.path.join(bench.directory.path, 'numbers'))]
    assert modes == [0o700, 0o600]
    assert sorted(os.listdir(bench.directory.path)) == ['names', 'numbers']


def test_a_member_takes_no_number_for_stolen_that_its_vm_has_left(bench: Bench) -> None:
    """An edit on the master is seen on VMs before the mirror tells of it."""
    bench.watcher.mirroring.state = FOLLOWING
    inventory, policy = bench.watcher.inventory, bench.watcher._policy
    span = policy.template.render('A', 1, 1)
    inventory.update(build_vm(span, ref='first', uuid=FIRST), policy, 0.0)
    assert bench.attend(MEMBER).rows == ((1, FIRST), (2, SECOND))  # the second is not known here
    stamp = bench.stamp()
    assert bench.attend(MEMBER) and bench.stamp() == stamp
    inventory.update(build_vm(None, ref='first', uuid=FIRST), policy, 1.0)
    assert bench.attend(MEMBER).rows == ((2, SECOND),)
    # The master knows its rows; who runs may have had it when it began.
    assert bench.attend(MASTER).rows == ((1, FIRST), (2, SECOND))
    inventory.update(build_vm(None, ref='first', uuid=FIRST, power_state=PowerState.RUNNING),
                     policy, 2.0)
    inventory.update(build_vm(span, ref='third', uuid=SECOND[:-1] + '3'), policy, 2.0)
    assert bench.attend(MEMBER).rows == ((1, FIRST), (2, SECOND))


def test_steady_pool_is_confirmed_once_a_minute_and_not_more_often(bench: Bench) -> None:
    bench.attend()
    first = bench.stamp()
    for _second in range(int(CONFIRM_SECONDS) - 1):
        bench.now += 1.0
        bench.attend()
    assert bench.stamp() == first
    bench.now += 1.0
    assert bench.attend().confirmed_at == bench.now + 5000.0


def test_changed_rows_are_written_at_once(bench: Bench) -> None:
    bench.attend()
    bench.now += 1.0
    bench.edit({FIRST: 7})
    numbers = bench.attend()
    assert numbers.rows == ((2, SECOND), (7, FIRST)) and numbers.confirmed_at == 6001.0


def test_columns_of_other_programs_are_no_change(bench: Bench) -> None:
    bench.attend()
    first = bench.stamp()
    connection = sqlite3.connect(bench.registry)
    connection.execute('UPDATE vms SET error_count = 5')
    connection.commit()
    connection.close()
    bench.view.reread()
    bench.view.poll()
    bench.attend()
    assert bench.stamp() == first


UNCERTAIN = [
    pytest.param(lambda bench: bench.attend(is_synced=False), id='not-in-sync'),
    pytest.param(lambda bench: bench.attend(silent=SILENT_SECONDS + 1), id='silent-stream'),
    pytest.param(lambda bench: bench.attend(role=None), id='no-session'),
    pytest.param(lambda bench: (setattr(bench.watcher.permit, 'is_overtaken', True),
                                bench.attend())[1], id='overtaken'),
    pytest.param(lambda bench: (setattr(bench.watcher.mirroring, 'state', UNDECIDED),
                                bench.attend(role=MEMBER))[1], id='undecided-member'),
    pytest.param(lambda bench: bench.attend(role=MEMBER), id='member-that-does-not-follow'),
]


@pytest.mark.parametrize('attend', UNCERTAIN)
def test_nothing_is_confirmed_by_a_daemon_that_cannot_know(bench: Bench, attend: Any) -> None:
    bench.attend()
    bench.now += 2 * CONFIRM_SECONDS
    assert attend(bench).confirmed_at == 6000.0


@pytest.mark.parametrize('attend', UNCERTAIN)
def test_new_rows_are_told_but_not_confirmed_by_it(bench: Bench, attend: Any) -> None:
    bench.attend()
    bench.now += 2 * CONFIRM_SECONDS
    bench.edit({FIRST: 7})
    numbers = attend(bench)
    assert numbers.rows == ((2, SECOND), (7, FIRST)) and numbers.confirmed_at == 6000.0


def test_member_that_follows_the_mirror_confirms(bench: Bench) -> None:
    bench.watcher.mirroring.state = FOLLOWING
    assert bench.attend(role=MEMBER).confirmed_at == 6000.0


def test_master_that_stages_from_its_registry_confirms_it(bench: Bench) -> None:
    bench.watcher.mirroring.state = UNDECIDED
    assert bench.attend().confirmed_at == 6000.0


def test_registry_that_cannot_be_gone_by_is_not_confirmed(bench: Bench) -> None:
    bench.attend()
    os.rename(bench.registry, bench.registry + '.away')
    bench.view.reread()
    bench.view.poll()
    bench.now += 2 * CONFIRM_SECONDS
    numbers = bench.attend()
    assert numbers.rows == ((1, FIRST), (2, SECOND)) and numbers.confirmed_at == 6000.0


def test_daemon_that_starts_keeps_what_the_one_before_confirmed(bench: Bench) -> None:
    bench.attend()
    bench.now += 30.0
    bench.keeper = bench.build()
    bench.edit({FIRST: 7})
    numbers = bench.attend(is_synced=False, role=None)
    assert numbers.rows == ((2, SECOND), (7, FIRST)) and numbers.confirmed_at == 6000.0


def test_host_that_booted_meanwhile_keeps_nothing(bench: Bench) -> None:
    bench.attend()
    bench.boot_id = 'next-boot'
    bench.keeper = bench.build()
    assert bench.attend(is_synced=False).confirmed_at is None


def test_another_resource_pool_keeps_nothing(bench: Bench) -> None:
    bench.attend()
    bench.note_pool('pool-b')
    numbers = bench.attend(is_synced=False)
    assert (numbers.pool, numbers.confirmed_at) == ('pool-b', None)


def test_xapi_of_another_host_writes_nothing_here(bench: Bench) -> None:
    bench.keeper.use(None)
    assert bench.attend() is None and not os.path.exists(bench.directory.path)


@pytest.mark.parametrize('make', [
    pytest.param(lambda path: open(path, 'w').close(), id='file'),
    pytest.param(lambda path: os.symlink('/tmp', path), id='link'),
    pytest.param(lambda path: (os.mkdir(path), os.chmod(path, 0o777)), id='for-everybody'),
])
def test_directory_that_cannot_be_trusted_is_told_and_nothing_is_written(
        bench: Bench, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(NumberKeeper, '_tell', lambda _keeper, problem: told.append(problem))
    make(bench.directory.path)
    bench.turn()
    assert any(told) and not os.path.exists('/tmp/numbers')


def test_link_in_the_place_of_the_file_is_replaced_and_not_followed(
        bench: Bench, tmp_path: Any) -> None:
    victim = tmp_path / 'victim'
    victim.write_text('kept')
    os.mkdir(bench.directory.path, 0o700)
    os.symlink(str(victim), os.path.join(bench.directory.path, 'numbers'))
    bench.attend()
    assert victim.read_text() == 'kept'
    assert stat.S_ISREG(os.lstat(os.path.join(bench.directory.path, 'numbers')).st_mode)


def test_markers_of_domains_that_are_gone_are_removed(bench: Bench) -> None:
    bench.attend()
    place = os.path.join(bench.directory.path, 'withheld')
    os.mkdir(place, 0o700)
    for name, boot_id, at in (('3', 'this-boot', 5990.0), ('4', 'this-boot', 5000.0),
                              ('5', 'last-boot', 5990.0)):
        _write_marker(place, name, Withheld(boot_id, SECOND, int(name), at, 1, FIRST, 'span'))
    for name in ('6', '.7.999999999', 'x'):
        with open(os.path.join(place, name), 'w', encoding='utf-8') as stream:
            stream.write('nonsense')
    bench.now += CONFIRM_SECONDS
    bench.attend()
    assert os.listdir(place) == ['3']


def _write_marker(place: str, name: str, marker: Withheld) -> None:
    with open(os.path.join(place, name), 'w', encoding='utf-8') as stream:
        stream.write('vgpu-watcher withheld 1\n' + ''.join(
            '%s %s\n' % item for item in marker._asdict().items()))
