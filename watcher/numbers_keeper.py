"""Tells the consumer of this host whose row has which number, and that this is still so (P26).

The numbers file is written when rows or generation change, confirmed or not; and it is confirmed,
at most once a minute, while the daemon is in sync with XAPI and the registry can be gone by. When
it cannot be confirmed it says so by its age, and after five minutes the consumer withholds
nothing. No registry and no XAPI is written to for it. The names of VMs stand beside it.
"""

import os
from typing import Any, Callable, Optional

from watcher.consumer.numbers_file import NumberFileInvalid, Numbers, Rows
from watcher.consumer.run_directory import Instant, RunDirectory, read_instant
from watcher.mirror.mirror import FOLLOWING, Mirroring
from watcher.runtime.logs import get_logger
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.vm_names import VmNames
from watcher.xapi.role import Role

CONFIRM_SECONDS = 60.0
# The long poll answers every 30 s at the latest, and is given up after 40.
SILENT_SECONDS = 45.0
# A marker is left before its VM is seen to run.
_YOUNG_SECONDS = 600.0


class NumberKeeper:
    """Remembers what was written last, and when it was confirmed."""

    def __init__(self, view: RegistryView, inventory: Inventory, permit: WritePermit,
                 mirroring: Mirroring, *,
                 instant: Callable[[], Instant] = read_instant) -> None:
        self._view = view
        self._inventory = inventory
        self._permit = permit
        self._mirroring = mirroring
        self._instant = instant
        self._directory: Optional[RunDirectory] = None
        self._names = VmNames()
        self._last: Optional[Numbers] = None
        self._seen: Any = None
        """The assignments from which the rows were taken."""
        self._moves: Optional[int] = None
        self._rows: Rows = ()
        self._confirm_at = 0.0
        self._told = ''

    def use(self, path: Optional[str]) -> None:
        """Write into this directory from now on; None while XAPI is that of another host."""
        if path is not None and not _is_writable(path):
            # Not root: the consumer, which is, would believe nothing that stands there.
            path = None
        if path == (self._directory.path if self._directory is not None else None):
            return
        self._directory = RunDirectory(path) if path is not None else None
        self._names.use(self._directory)
        self._last, self._seen, self._confirm_at = None, None, 0.0
        if self._directory is not None:
            self._last = self._recall(self._directory)

    def attend(self, now: float, answered_at: Optional[float]) -> None:
        """Write what has changed; confirm it when that is due. Costs next to nothing otherwise."""
        role, is_synced = self._permit.role, self._permit.is_synced and self._permit.is_locked
        if is_synced:
            self._names.attend(now, self._inventory.vms)
        if self._directory is None or not self._view.is_available:
            return
        is_current = (is_synced and answered_at is not None and role is not None
                      and now - answered_at < SILENT_SECONDS and self._knows_rows(role))
        record, last = self._mirroring.push.seen.pool, self._last or Numbers()
        pool, generation = record.uuid if record is not None else '', self._mirroring.generation
        # On a member the VMs show what an edit led to before the mirror shows the edit.
        moves = self._inventory.moves if role is not None and role.is_member else None
        if self._view.assignments is not self._seen or moves != self._moves:
            self._seen, self._moves = self._view.assignments, moves
            self._rows = tuple(sorted((item.vm_id, uuid) for uuid, item in self._seen.items()
                                      if moves is None or not self._has_left(uuid, item.vm_id)))
        # Before the first answer of XAPI it is not known in which pool this host is.
        has_moved = bool(pool) and pool != last.pool
        has_changed = has_moved or (self._rows, generation or last.generation) != (
            last.rows, last.generation)
        is_due = is_current and now >= self._confirm_at
        if is_due or has_changed:
            self._write(now, Numbers(
                self._rows, last.boot_id, None if has_moved else last.confirmed_at,
                pool or last.pool, generation or last.generation), is_current)
        if is_due:
            self._clean_up()

    def _has_left(self, vm_uuid: str, vm_id: int) -> bool:
        """Whether a row's VM rests without its number, which may be another VM's by now.

        A member hears of VMs before the mirror tells it of the edit: a VM that is registered gets
        what XAPI carries, and no number counts as stolen that its VM does not have.
        """
        vm = self._inventory.find_by_uuid(vm_uuid)
        return vm is not None and vm.is_at_rest and self._inventory.number_of(vm.ref) != vm_id

    def _knows_rows(self, role: Role) -> bool:
        """Whether the rows here are, for all that is known, those of the resource pool."""
        if role.is_member:
            return self._mirroring.state == FOLLOWING
        # What is staged from counts: a forged entry must not switch this off.
        return not self._permit.is_overtaken

    def _recall(self, directory: RunDirectory) -> Optional[Numbers]:
        """What the daemon before us confirmed goes on counting until we have seen all VMs."""
        try:
            found = directory.read_numbers()
        except (OSError, NumberFileInvalid):
            return None
        boot_id = self._instant().boot_id
        return found if found is not None and found.boot_id == boot_id else None

    def _write(self, now: float, numbers: Numbers, is_current: bool) -> None:
        if is_current:
            instant = self._instant()
            numbers = numbers._replace(boot_id=instant.boot_id, confirmed_at=instant.seconds)
            self._confirm_at = now + CONFIRM_SECONDS
        # Also when it fails: it is tried again with the next confirmation, or the next change.
        self._last = numbers
        try:
            self._directory.write_numbers(numbers)  # type: ignore
        except (OSError, NumberFileInvalid) as error:
            self._tell(str(error))
            return
        self._tell('')

    def _tell(self, problem: str) -> None:
        """Say once that the consumer's file cannot be written, and when it can."""
        path = self._directory.path if self._directory is not None else ''
        if problem and problem != self._told:
            get_logger().warning('numbers.unwritable', path=path, error=problem)
        elif self._told and not problem:
            get_logger().info('numbers.written', path=path)
        self._told = problem

    def _clean_up(self) -> None:
        """Remove the markers of domains that are gone: of those that run, receipts may ask."""
        try:
            for name in self._directory.list_markers():  # type: ignore
                if not self._is_needed(name):
                    self._directory.remove_marker(name)  # type: ignore
        except (OSError, NumberFileInvalid) as error:
            self._tell(str(error))

    def _is_needed(self, name: str) -> bool:
        if not name.isdigit():  # half written: by a program that goes on, or one that was killed
            return os.path.exists('/proc/' + name.rpartition('.')[2])
        try:
            marker = self._directory.read_marker(int(name))  # type: ignore
        except (OSError, NumberFileInvalid):
            return False
        if marker is None:
            return False
        vm, now = self._inventory.find_by_uuid(marker.vm_uuid), self._instant()
        is_running = vm is not None and vm.domid == marker.domid
        is_young = 0.0 <= now.seconds - marker.at <= _YOUNG_SECONDS
        return marker.boot_id == now.boot_id and (is_running or is_young)


def _is_writable(path: str) -> bool:
    return os.geteuid() == 0 or os.access(path, os.W_OK) or (
        not os.path.lexists(path) and os.access(os.path.dirname(path), os.W_OK))
