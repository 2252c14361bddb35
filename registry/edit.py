"""One edit of the registry: a transaction over the shared file and the journal.

Everything is checked before anything is written. Whatever a block does with an Edit is in both
files afterwards, or in neither.
"""

from typing import Any, Callable, List, Mapping, Optional, Tuple

from registry import bearers, history, sightings
from registry.connection import Connection
from registry.errors import Conflict, NotFound
from registry.rows import (RawVm, find_largest_number, find_raw_owners, find_raw_vms, list_pools,
                           read_contents, validated, vm_of)
from registry.schema import migrate_registry
from registry.values import (MAX_VM_ID, Contents, Pool, Priority, Vm, clean_name, parse_pool_id,
                             parse_uuid, parse_vm_id)


class Edit:
    """What may be done to the registry inside one transaction; `changed` tells if it was."""

    def __init__(self, connection: Connection, *, who: str, command: str,
                 now: Callable[[], str]) -> None:
        self._connection = connection
        self._who = who
        self._command = command
        self._now = now
        self.changed = False
        self.journal_problem = ''
        """Why the journal takes nothing of this edit; '' when it does."""

    def contents(self) -> Contents:
        """Read the registry as it is inside the transaction."""
        return read_contents(self._connection)

    def add_vm(self, vm_uuid: str, *, vm_name: Optional[str] = None, pool_id: str = 'A',
               priority: Priority = Priority.MEDIUM, vm_id: Optional[int] = None,
               taken: Mapping[int, str] = {}, floor: int = 0) -> Vm:
        """Register a VM; one that is registered just so is returned unchanged.

        Without a vm_id: one more than the largest ever given out, or seen on any VM, template or
        snapshot, or in `taken` (number -> who bears it), or `floor`.
        """
        key, pool_id = parse_uuid(vm_uuid), parse_pool_id(pool_id)
        rows = self._rows_of(key)
        if rows:
            return self._registered_just_so(rows, pool_id, priority, vm_id)
        if vm_id is None:
            vm_id = self._next_number(taken, floor)
        else:
            self._refuse_taken(parse_vm_id(vm_id), key, taken)
        now = self._now()
        vm = Vm(vm_id, key, clean_name(vm_name), pool_id, Priority(priority), now, now)
        self._ensure_pool(pool_id)
        self._connection.execute(
            'INSERT INTO registry.vms '
            '(vm_id, vm_uuid, vm_name, pool_id, priority, created_at, updated_at) '
            'VALUES (?, ?, ?, ?, ?, ?, ?)', vm)
        bearers.note_number(self._connection, vm_id)
        bearers.forget_orphan(self._connection, key)
        self._record('vm_added', None, sightings.fields_of(vm), key)
        return vm

    def change_vm(self, vm_uuid: str, *, pool_id: Optional[str] = None,
                  priority: Optional[Priority] = None, vm_id: Optional[int] = None,
                  vm_name: Optional[str] = None, expected: Optional[Vm] = None,
                  taken: Mapping[int, str] = {}) -> Tuple[Vm, Vm]:
        """Change an assignment and give the VM before and after."""
        key = parse_uuid(vm_uuid)
        before = self._valid_vm(self._existing(key))
        if expected is not None and expected != before:
            raise Conflict(
                f'VM {key}: somebody else changed it meanwhile; look at it again and repeat')
        after = before._replace(
            pool_id=before.pool_id if pool_id is None else parse_pool_id(pool_id),
            priority=before.priority if priority is None else Priority(priority),
            vm_id=before.vm_id if vm_id is None else parse_vm_id(vm_id),
            vm_name=before.vm_name if vm_name is None else clean_name(vm_name))
        if after.vm_id != before.vm_id:
            self._refuse_taken(after.vm_id, key, taken)
        return before, self._write_vm(before, after)

    def remove_vm(self, vm_uuid: str) -> Vm:
        """Remove a VM's row, also a faulty one; its span is then an orphan's."""
        key = parse_uuid(vm_uuid)
        rows = self._existing(key)
        for row in rows:
            self._connection.execute('DELETE FROM registry.vms WHERE rowid = ?', (row.row,))
            self._record('vm_removed', sightings.fields_of(vm_of(row)), None, key)
        vm = vm_of(rows[0])
        bearers.note_orphan(self._connection, self._now(), key, vm.vm_id)
        return vm

    def rename_vms(self, names: Mapping[str, str]) -> int:
        """Refresh names, and give the number of those that differed."""
        by_uuid = self.contents().by_uuid
        renamed = 0
        for vm_uuid, name in names.items():
            vm = by_uuid.get(vm_uuid.lower())
            if vm is not None and vm.vm_name != clean_name(name):
                self._write_vm(vm, vm._replace(vm_name=clean_name(name)))
                renamed += 1
        return renamed

    def change_pool(self, pool_id: str, *, pool_name: Optional[str] = None,
                    description: Optional[str] = None,
                    enabled: Optional[bool] = None) -> Tuple[Pool, Pool]:
        """Change a vGPU pool and give it before and after."""
        before = {pool.pool_id: pool for pool in list_pools(self._connection)}[
            parse_pool_id(pool_id)]
        after = before._replace(
            pool_name=before.pool_name if pool_name is None else clean_name(pool_name) or '',
            description=before.description if description is None else clean_name(description),
            enabled=before.enabled if enabled is None else bool(enabled))
        if after == before:
            return before, before
        after = after._replace(updated_at=self._now())
        self._ensure_pool(pool_id)
        self._connection.execute(
            'UPDATE registry.pools SET pool_name = ?, description = ?, enabled = ?, '
            'updated_at = ? WHERE pool_id = ?',
            (after.pool_name, after.description, int(after.enabled), after.updated_at, pool_id))
        self._record('pool_changed', sightings.fields_of(before), sightings.fields_of(after))
        return before, after

    def accept(self) -> None:
        """Take over a file that our programs did not create; no row or default changes."""
        contents = self.contents()
        if contents.accepted:
            return
        migrate_registry(self._connection)
        self._record('registry_accepted', {'version': contents.version},
                     {'version': self.contents().version, 'vms': len(contents.vms),
                      'faults': len(contents.faults)})

    def _write_vm(self, before: Vm, after: Vm) -> Vm:
        if after == before:
            return before
        after = after._replace(updated_at=self._now())
        self._ensure_pool(after.pool_id)
        self._connection.execute(
            'UPDATE registry.vms SET vm_id = ?, vm_uuid = ?, vm_name = ?, pool_id = ?, '
            'priority = ?, updated_at = ? WHERE lower(vm_uuid) = ?',
            (after.vm_id, after.vm_uuid, after.vm_name, after.pool_id, after.priority,
             after.updated_at, after.vm_uuid))
        bearers.note_number(self._connection, after.vm_id)
        self._record('vm_changed', sightings.fields_of(before), sightings.fields_of(after),
                     after.vm_uuid)
        return after

    def _record(self, what: str, before: Any, after: Any, vm_uuid: Optional[str] = None) -> None:
        self.changed = True
        history.add_entry(self._connection, self._now(), self._who, self._command, what,
                          vm_uuid=vm_uuid, before=before, after=after)

    def _ensure_pool(self, pool_id: str) -> None:
        """Make the row that a foreign key asks for; a file of others may lack it."""
        self._connection.execute(
            'INSERT OR IGNORE INTO registry.pools (pool_id, pool_name) VALUES (?, ?)',
            (pool_id, f'Pool {pool_id}'))

    def _rows_of(self, key: str) -> List[RawVm]:
        return find_raw_vms(self._connection, key)

    def _existing(self, key: str) -> List[RawVm]:
        rows = self._rows_of(key)
        if not rows:
            raise NotFound(f"VM {key} is not registered; see 'vgpu-admin list-vms', or register "
                           f"it with 'vgpu-admin register-vm --vm-uuid={key}'")
        return rows

    def _valid_vm(self, rows: List[RawVm]) -> Vm:
        vms, faults = validated(rows)
        if faults:
            raise Conflict(
                f"VM {rows[0].key}: its row is not valid ({faults[0].problem}); remove it with "
                "'vgpu-admin remove-vm', then register the VM again")
        return vms[0]

    def _registered_just_so(self, rows: List[RawVm], pool_id: str, priority: Priority,
                            vm_id: Optional[int]) -> Vm:
        vm = self._valid_vm(rows)
        if (vm.pool_id, vm.priority) == (pool_id, priority) and vm_id in (None, vm.vm_id):
            return vm
        raise Conflict(
            f'VM {vm.vm_uuid} is registered with pool {vm.pool_id}, priority {vm.priority.word}, '
            f"vm_id {vm.vm_id}; change that with 'vgpu-admin update-vm'")

    def _refuse_taken(self, vm_id: int, key: str, taken: Mapping[int, str]) -> None:
        owner = self._owner_of(vm_id, key) or taken.get(vm_id)
        if owner is not None:
            raise Conflict(f'vm_id {vm_id} is taken by {owner}; choose another')

    def _owner_of(self, vm_id: int, key: str) -> Optional[str]:
        for row in find_raw_owners(self._connection, vm_id):
            if row.key != key:
                return f'VM {row.key} ({vm_of(row).vm_name or "no name"}), which is registered'
        for bearer in bearers.read_bearers(self._connection).values():
            is_ordinary = bearer.kind == bearers.ORDINARY
            if bearer.vm_id == vm_id and bearer.vm_uuid != key and is_ordinary:
                name = bearer.vm_name or 'no name'
                return f'VM {bearer.vm_uuid} ({name}), which is not registered but carries it'
        return None

    def _next_number(self, taken: Mapping[int, str], floor: int) -> int:
        """The next free number above the largest that counts; what only VMs bear may not exhaust.

        A number beyond LARGEST_COUNTED that only a VM bears is stepped over when it comes up.
        """
        borne = {bearer.vm_id for bearer in bearers.read_bearers(self._connection).values()}
        borne.update(taken)
        largest = max([floor, bearers.largest_number(self._connection),
                       find_largest_number(self._connection)]
                      + [number for number in taken if number <= bearers.LARGEST_COUNTED])
        number = largest + 1
        while number in borne:
            number += 1
        if number > MAX_VM_ID:
            raise Conflict(
                f'no automatic vm_id is left: {largest} is in use or was, and {MAX_VM_ID} is the '
                "last; choose a free one with '--vm-id=N'")
        return number
