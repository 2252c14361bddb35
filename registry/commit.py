"""Carries one proposal out, inside the caller's transaction over the shared file and the journal.

Whatever changes the registry goes through here: rows, vGPU pools, the history, what was given out,
who lost a row, and the rows as last seen. All of it is there afterwards, or nothing.
"""

import os
from typing import Any, FrozenSet, Optional, Sequence

from registry import kept_copies
from registry.difference import MOVED, REMOVED, Difference, Replaced, find_difference
from registry.edit import Edit
from registry.errors import Conflict
from registry.journal import generations, history, numbers as bearers, outside_edits
from registry.proposal import Proposal
from registry.row_writer import describe_triggers, write_difference
from registry.rows import RawVm, list_pools, read_contents
from registry.schema import migrate_registry
from registry.sqlite.connection import Connection
from registry.sqlite.timestamps import render_timestamp
from registry.values import Contents, Image, strip_uuid


class Commit:
    """One change of the registry on its way into both files."""

    def __init__(self, connection: Connection, *, now: float, who: str, command: str,
                 journal_problem: str = '', contents: Optional[Contents] = None,
                 rows: Sequence[RawVm] = (), path: str = '',
                 disproven: FrozenSet[bearers.Bearer] = frozenset()) -> None:
        self._connection = connection
        self._path = path or connection.registry_path
        self._seconds = now
        self._now = render_timestamp(now)
        self._who = who
        self._command = command
        self._contents = contents or Contents(1, (), ())
        self._rows = rows
        self._disproven = disproven
        self.journal_problem = journal_problem
        """Why the journal takes nothing of this; '' when it does."""

    def begin(self) -> Edit:
        """Begin an edit with what the file says."""
        connection, contents = self._connection, self._contents
        edit = Edit(
            self._rows, contents.pools, now=lambda: self._now, version=contents.version,
            source=contents.source,
            largest=bearers.read_counter(connection, 'largest_number'),
            bearers={vm_uuid: bearer for vm_uuid, bearer
                     in bearers.read_bearers(connection).items() if bearer not in self._disproven})
        edit.journal_problem = self.journal_problem
        return edit

    def carry_out(self, edit: Edit, *, keep_copy: bool = False,
                  image: Optional[Image] = None) -> Replaced:
        """Write what the edit comes to; with an image the history calls it a rebuild."""
        proposal = edit.settle()
        if not proposal.has_any:
            return Replaced()
        name = kept_copies.keep_copy(self._path, self._seconds) if keep_copy else ''
        try:
            self._write(proposal)
        except BaseException:
            # What was to be replaced is still there.
            if name:
                os.unlink(name)
            raise
        if image is not None:
            self._add_rebuilt(image, name)
        self._record(proposal, edit.keys)
        outside_edits.refresh(self._connection, edit.contents())
        return Replaced(proposal.difference, name)

    def note_origin(self, image: Image) -> None:
        """Note what was given out elsewhere, and at which generation the registry is now."""
        bearers.note_number(self._connection, image.largest)
        if image.origin is not None:
            generations.note_origin(self._connection, self._now, image.origin)

    def _add_rebuilt(self, image: Image, kept_as: str, *, is_new: bool = False) -> None:
        self._add('registry_rebuilt', None, None, {
            'vms': len(image.vms), 'kept': kept_as, 'is_new': is_new})

    def create(self, image: Image, *, is_rebuilt: bool,
               claims: Sequence[int] = (), moved_to: str = '') -> Replaced:
        """Make tables and rows in a file without content; tell what differs from the one before."""
        connection = self._connection
        if connection.execute('SELECT count(*) FROM registry.sqlite_master') != [(0,)]:
            raise Conflict(f'registry {self._path}: it was created meanwhile; nothing was '
                           'changed: look at it again and repeat')
        migrate_registry(connection)
        edit = Edit((), list_pools(connection), now=lambda: self._now)
        edit.make_like(image)
        proposal = edit.settle()
        write_difference(connection, (), proposal.slots, proposal.difference.pools)
        replaced = self._record_new(image, is_rebuilt, moved_to)
        self._claim(claims)
        return replaced

    def _record_new(self, image: Image, is_rebuilt: bool, moved_to: str) -> Replaced:
        source = os.path.basename(self._path)
        contents = read_contents(self._connection)._replace(source=source)
        vms, pools = outside_edits.last_seen(self._connection, source)
        difference = find_difference(vms, pools or contents.pools, image)
        if is_rebuilt:
            self._add_rebuilt(image, moved_to, is_new=True)
        else:
            self._add('registry_created', None, None, {'path': self._path})
        bearers.note_number(self._connection, image.largest)
        for vm in image.vms:
            bearers.note_number(self._connection, vm.vm_id)
        self._record_rows(difference, frozenset(vm.vm_uuid for vm in image.vms))
        outside_edits.refresh(self._connection, contents)
        return Replaced(difference)

    def _write(self, proposal: Proposal) -> None:
        try:
            if proposal.accepts:
                migrate_registry(self._connection)
            write_difference(self._connection, proposal.rows, proposal.slots,
                             proposal.difference.pools)
        except Conflict as error:
            triggers = describe_triggers(self._connection)
            if not triggers or triggers in str(error):
                raise
            raise Conflict(f'{error}; {triggers}; nothing was changed') from error

    def _record(self, proposal: Proposal, still: FrozenSet[str]) -> None:
        if proposal.accepts:
            contents = read_contents(self._connection)
            self._add('registry_accepted', None, {'version': 0}, {
                'version': contents.version, 'vms': len(contents.vms),
                'faults': len(contents.faults)})
        bearers.note_number(self._connection, proposal.largest)
        self._record_rows(proposal.difference, still)
        self._claim(proposal.claims)

    def _claim(self, numbers: Sequence[int]) -> None:
        for vm_id in numbers:
            bearers.note_claim(self._connection, self._now, vm_id)

    def _record_rows(self, difference: Difference, still: FrozenSet[str]) -> None:
        """Have the history tell each difference; a row that moves goes here and comes there.

        `still` are the VMs that have a row afterwards.
        """
        for row in difference.rows:
            before, after = row.before, row.after
            if before is not None and row.what in (REMOVED, MOVED):
                self._add('vm_removed', before.vm_uuid, before, None)
                if strip_uuid(before.vm_uuid) not in still:
                    bearers.note_orphan(self._connection, self._now, strip_uuid(before.vm_uuid),
                                        before.vm_id)
                before = None
            if after is not None:
                bearers.forget_orphan(self._connection, after.vm_uuid)
                self._add('vm_added' if before is None else 'vm_changed', after.vm_uuid, before,
                          after)
        for change in difference.pools:
            self._add('pool_changed', None, change.before, change.after)

    def _add(self, what: str, vm_uuid: Optional[str], before: Any, after: Any) -> None:
        history.add_entry(
            self._connection, self._now, self._who, self._command, what, vm_uuid=vm_uuid,
            source=os.path.basename(self._path),
            before=outside_edits.fields_of(before) if hasattr(before, '_asdict') else before,
            after=outside_edits.fields_of(after) if hasattr(after, '_asdict') else after)
