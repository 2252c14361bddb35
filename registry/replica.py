"""The registry made anew from a copy of its contents: from the mirror, in place.

The file stays the same file, since other programs have it open, and rows that stay keep the
columns of others. Everything happens in one transaction over the shared file and the journal.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from registry import bearers, history, kept, lineage, sightings
from registry.connection import Connection
from registry.errors import Conflict
from registry.rows import RawVm, list_raw_vms, read_contents, validated, vm_of
from registry.timestamps import render_timestamp
from registry.values import Image, Pool, Vm


class Differences(NamedTuple):
    """What has to happen to a registry until it says what an image says."""

    added: Tuple[Vm, ...] = ()
    changed: Tuple[Tuple[Vm, Vm], ...] = ()
    removed: Tuple[Vm, ...] = ()
    pools: Tuple[Tuple[Pool, Pool], ...] = ()

    @property
    def has_any(self) -> bool:
        """Tell whether the two differ at all."""
        return any(self)


class Replaced(NamedTuple):
    """What a replacement did; `kept` names the copy of what was there ('' for none)."""

    kept: str = ''
    added: Tuple[Vm, ...] = ()
    changed: Tuple[Tuple[Vm, Vm], ...] = ()
    removed: Tuple[Vm, ...] = ()
    pools: Tuple[Tuple[Pool, Pool], ...] = ()
    is_new: bool = False
    """There was no file before."""
    journal_problem: str = ''
    """Why the history does not tell of it."""


def find_differences(vms: Sequence[Vm], pools: Sequence[Pool], image: Image) -> Differences:
    """Compare contents with an image. Names of VMs make no difference: XAPI has them."""
    old, new = {vm.vm_uuid: vm for vm in vms}, {vm.vm_uuid: vm for vm in image.vms}
    changed = [(old[key], _named_like(vm, old[key])) for key, vm in sorted(new.items())
               if key in old]
    olds = {pool.pool_id: pool for pool in pools}
    return Differences(
        tuple(vm for key, vm in sorted(new.items()) if key not in old),
        tuple((before, after) for before, after in changed
              if _assignment(before) != _assignment(after)),
        tuple(vm for key, vm in sorted(old.items()) if key not in new),
        tuple((olds[pool.pool_id], pool) for pool in image.pools
              if pool.pool_id in olds and _settings(olds[pool.pool_id]) != _settings(pool)))


def find_strays(connection: Connection, image: Image) -> Tuple[RawVm, ...]:
    """Find the faulty rows whose place the image needs; `find_differences` knows valid ones."""
    rows = list_raw_vms(connection)
    valid = {vm.vm_uuid for vm in validated(rows)[0]}
    return tuple(row for row in _part(rows, image)[1] if row.key not in valid)


def write_image(connection: Connection, image: Image, now: str) -> None:
    """Make the rows of both tables those of the image; what differs is written, nothing else."""
    for pool in image.pools:
        _write_pool(connection, pool, now)
    kept, unwanted = _part(list_raw_vms(connection), image)
    for row in unwanted:
        connection.execute('DELETE FROM registry.vms WHERE rowid = ?', (row.row,))
    _park_numbers(connection, [row for row, vm in kept if row.vm_id != vm.vm_id])
    for row, vm in kept:
        _write_vm(connection, row, vm, now)
    there = {vm.vm_uuid for _row, vm in kept}
    for vm in image.vms:
        if vm.vm_uuid not in there:
            connection.execute(
                'INSERT INTO registry.vms '
                '(vm_id, vm_uuid, vm_name, pool_id, priority, created_at, updated_at) '
                'VALUES (?, ?, ?, ?, ?, ?, ?)', vm._replace(created_at=now, updated_at=now))


class Replacing:
    """One replacement, inside the caller's transaction over both files."""

    def __init__(self, connection: Connection, image: Image, *, now: float, who: str,
                 command: str) -> None:
        self._connection = connection
        self._image = image
        self._seconds = now
        self._now = render_timestamp(now)
        self._who = who
        self._command = command

    def run(self, *, is_new: bool, keep_copy: bool, allow_emptied: bool,
            generation: Optional[Tuple[str, str]], line: Sequence[str]) -> Replaced:
        """Replace what differs. Of a new file (`is_new`) everything was new, or was lost."""
        contents = read_contents(self._connection)
        if not contents.accepted:
            raise Conflict(f'registry {self._connection.registry_path}: our programs did not '
                           "create it; take it over first with 'vgpu-admin accept'")
        if is_new:
            vms, pools = sightings.last_seen(self._connection, contents.source)
            pools = pools or contents.pools
        else:
            sightings.note_contents(self._connection, self._now, contents,
                                    allow_emptied=allow_emptied)
            vms, pools = contents.vms, contents.pools
        differences = find_differences(vms, pools, self._image)
        strays = find_strays(self._connection, self._image)
        name = ''
        if not is_new and (differences.has_any or strays):
            name = self._write(keep_copy)
        self._record(differences, strays, is_new, name)
        sightings.refresh(self._connection, read_contents(self._connection))
        if generation is not None:
            lineage.note_generation(self._connection, self._now, *generation, is_own=False,
                                    line=line)
        return Replaced(name, *differences, is_new=is_new)

    def _write(self, keep_copy: bool) -> str:
        path = self._connection.registry_path
        name = kept.keep_copy(path, self._seconds) if keep_copy else ''
        try:
            write_image(self._connection, self._image, self._now)
        except BaseException:
            # What was to be replaced is still there.
            if name:
                os.unlink(name)
            raise
        return name

    def _record(self, differences: Differences, strays: Sequence[RawVm], is_new: bool,
                name: str) -> None:
        """Have the history tell each difference; what was given out stays given out."""
        if is_new or differences.has_any or strays:
            self._add('registry_rebuilt', None, None, {
                'vms': len(self._image.vms), 'kept': name, 'is_new': is_new})
        for vm in differences.added:
            bearers.forget_orphan(self._connection, vm.vm_uuid)
            self._add('vm_added', vm.vm_uuid, None, vm)
        for before, after in differences.changed:
            self._add('vm_changed', after.vm_uuid, before, after)
        wanted = {vm.vm_uuid for vm in self._image.vms}
        for vm in differences.removed + tuple(vm_of(row) for row in strays):
            if vm.vm_uuid not in wanted:
                bearers.note_orphan(self._connection, self._now, vm.vm_uuid, vm.vm_id)
            self._add('vm_removed', vm.vm_uuid, vm, None)
        for old, new in differences.pools:
            self._add('pool_changed', None, old, new)
        bearers.note_number(self._connection, self._image.largest)
        for vm in self._image.vms:
            bearers.note_number(self._connection, vm.vm_id)

    def _add(self, what: str, vm_uuid: Optional[str], before: Any, after: Any) -> None:
        history.add_entry(
            self._connection, self._now, self._who, self._command, what, vm_uuid=vm_uuid,
            before=sightings.fields_of(before) if hasattr(before, '_asdict') else before,
            after=sightings.fields_of(after) if hasattr(after, '_asdict') else after)


def _part(rows: Sequence[RawVm],
          image: Image) -> Tuple[List[Tuple[RawVm, Vm]], List[RawVm]]:
    """Part rows into those that stay, with what they shall say, and those that must go.

    A faulty row of another program stays when nothing of the image needs its place.
    """
    wanted = {vm.vm_uuid: vm for vm in image.vms}
    numbers = {vm.vm_id for vm in image.vms}
    valid = {vm.vm_uuid for vm in validated(rows)[0]}
    kept: Dict[str, Tuple[RawVm, Vm]] = {}
    unwanted = []
    for row in rows:
        if row.key in wanted and row.key not in kept:
            kept[row.key] = (row, wanted[row.key])
        elif row.key in wanted or row.key in valid or row.vm_id in numbers:
            unwanted.append(row)
    return list(kept.values()), unwanted


def _park_numbers(connection: Connection, rows: Sequence[RawVm]) -> None:
    """Give rows numbers that nobody has, so that two can swap theirs."""
    lowest = connection.execute('SELECT min(vm_id) FROM registry.vms')[0][0]
    first = min(lowest if type(lowest) is int else 0, 0) - 1
    for place, row in enumerate(rows):
        connection.execute('UPDATE registry.vms SET vm_id = ? WHERE rowid = ?',
                           (first - place, row.row))


def _write_vm(connection: Connection, row: RawVm, vm: Vm, now: str) -> None:
    wanted = _named_like(vm, vm_of(row))
    found = (row.vm_id, row.vm_uuid, row.vm_name, row.pool_id, row.priority)
    if found == (wanted.vm_id, wanted.vm_uuid, wanted.vm_name, wanted.pool_id, wanted.priority):
        return
    connection.execute(
        'UPDATE registry.vms SET vm_id = ?, vm_uuid = ?, vm_name = ?, pool_id = ?, '
        'priority = ?, updated_at = ? WHERE rowid = ?',
        (wanted.vm_id, wanted.vm_uuid, wanted.vm_name, wanted.pool_id, wanted.priority, now,
         row.row))


def _write_pool(connection: Connection, pool: Pool, now: str) -> None:
    settings = (pool.pool_name, pool.description, int(pool.enabled))
    connection.execute(
        'INSERT OR IGNORE INTO registry.pools (pool_id, pool_name) VALUES (?, ?)',
        (pool.pool_id, pool.pool_name))
    connection.execute(
        'UPDATE registry.pools SET pool_name = ?, description = ?, enabled = ?, '
        'updated_at = ? WHERE pool_id = ? AND (pool_name IS NOT ? '
        "OR coalesce(description, '') IS NOT coalesce(?, '') OR enabled IS NOT ?)",
        settings + (now, pool.pool_id) + settings)


def _named_like(vm: Vm, before: Vm) -> Vm:
    return vm if vm.vm_name is not None else vm._replace(vm_name=before.vm_name)


def _assignment(vm: Vm) -> Tuple[Any, ...]:
    return vm.vm_id, vm.pool_id, int(vm.priority)


def _settings(pool: Pool) -> Tuple[Any, ...]:
    return pool.pool_name, pool.description or '', bool(pool.enabled)
