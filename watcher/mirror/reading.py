"""What there is to be judged: the mirror by the keys that are known, and the registry here."""

import os
from typing import Dict, NamedTuple, Optional, Tuple

from registry.errors import JournalUnavailable, Reason
from registry.sqlite.connection import unavailable
from registry.values import Pool
from watcher.mirror.codes import Trust
from watcher.mirror.comparison import list_kept_rows
from watcher.mirror.entries import (Generation, MirroredRow, MirrorInvalid, digest_contents,
                                    parse_generation, row_of)
from watcher.mirror.slots import MirrorReading, read_mirror
from watcher.mirror.trust import Keeper, find_evidence
from watcher.runtime.logs import get_logger
from watcher.state.inventory import Inventory
from watcher.state.registry_view import RegistryView
from watcher.vm.mirror_keys import CODE
from watcher.vm.record import PoolRecord

# At which no mirror ever is: what a registry begins with that was made in another resource pool.
ELSEWHERE = Generation(1, 'ffffffff')


class Local(NamedTuple):
    """The registry here, as far as the mirror is about it."""
    lineage: Tuple[str, ...]
    noted_digest: Optional[str]
    """What the contents were at the newest generation."""
    rows: Dict[str, MirroredRow]
    digest: str
    pools: Tuple[Pool, ...]

    @property
    def number(self) -> int:
        """How far the registry here has been."""
        return parse_generation(self.lineage[-1]).number if self.lineage else 0

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether its rows were made in another resource pool, and in this one nothing yet."""
        return self.lineage[-1:] == (ELSEWHERE.text,)


class Reader:
    """Reads the mirror and the registry here, and what the journal knows of both."""

    def __init__(self, view: RegistryView, inventory: Inventory) -> None:
        self._view = view
        self._inventory = inventory
        self.keeper = Keeper()
        self._lineage: Tuple[Tuple[str, ...], str, bool] = ((), '', False)
        """What the journal said last: generations, digest of the newest, whether that is ours."""
        self._told_problem = ''
        self._openings = 0

    @property
    def is_wiped(self) -> bool:
        """No registry, no journal that remembers one, and none since this daemon began.

        A file that was deleted is another matter (P17).
        """
        view = self._view
        if view.is_available or view.was_read or os.path.lexists(view.path):
            return False
        if view.is_journal_readable:
            return view.journal.is_blank()
        return not os.path.lexists(view.journal.path)

    def has_changed(self, key_file: str, now: float) -> bool:
        """Whether there is another key, or a journal that may not know what the last one did."""
        is_reopened = self._openings != self._view.journal_openings
        self._openings = self._view.journal_openings
        return self.keeper.has_changed(key_file, now) or is_reopened

    def read_mirror(self, pool: PoolRecord, key_file: str) -> MirrorReading:
        """What the pool's record holds, by the keys that are known now."""
        journal = self._view.journal if self._view.is_journal_open else None
        self.keeper.refresh(key_file, journal)
        self._tell_unsigned()
        trust = self.keeper.trust(pool.uuid)
        if not trust.is_required and self.is_wiped and self._is_signed_pool(pool, trust):
            trust = trust._replace(is_required=True)
        reading = read_mirror(pool.mirror, trust, pool.uuid)
        if reading.is_signed:
            self.keeper.note_signed(pool.uuid, journal)
        return reading

    def _is_signed_pool(self, pool: PoolRecord, trust: Trust) -> bool:
        """A host that remembers nothing goes by any record that has a code, of any key:
        an attacker who took codes away will have left one."""
        return bool(trust.keys) and (any(key.endswith(CODE) for key, _text in pool.mirror)
                                     or find_evidence(self._inventory.vms))

    def keep_lineage(self) -> None:
        """A journal that was lost while we ran: what we know of the lineage goes into the new."""
        journal = self._view.journal
        noted = journal.generation()
        if noted is not None:
            self._lineage = journal.lineage(), noted[1], journal.has_own_generation()
        elif self._lineage[0]:
            known, digest, is_own = self._lineage
            journal.note_generation(known[-1], digest, is_own=is_own, line=known[:-1])

    def read_local(self, resource_pool: str, trust: Trust) -> Local:
        """The registry here; RegistryError when it, or the journal, cannot be read."""
        journal, contents = self._view.journal, self._view.contents
        if contents is None:
            raise JournalUnavailable('the registry went away meanwhile', reason=Reason.MISSING)
        rows = {vm.vm_uuid: row_of(vm) for vm in contents.vms}
        if self._view.faulty:
            rows.update(list_kept_rows(self._inventory.vms, resource_pool, self._view.faulty,
                                       rows, trust))
        pools = tuple(Pool(*pool[:4]) for pool in contents.pools)
        digest = digest_contents(rows.values(), pools)
        # What this host was at in another resource pool (`pool.eject`, `pool.join`) says nothing
        # of the mirror here, which is newer, whatever it says.
        journal.note_resource_pool(resource_pool, ELSEWHERE.text, digest)
        noted = journal.generation()
        return Local(_check(journal.lineage(), journal.path), noted[1] if noted else None, rows,
                     digest, pools)

    def _tell_unsigned(self) -> None:
        """Once: there is no key, so that everyone who may write there is believed."""
        problem = self.keeper.problem
        if problem and problem != self._told_problem:
            get_logger().warning('mirror.unsigned', reason=problem,
                                 is_signing=bool(self.keeper.memory.keys))
        self._told_problem = problem


def _check(lineage: Tuple[str, ...], path: str) -> Tuple[str, ...]:
    """The generations; where one was overwritten with what is none, it is not known what the
    registry here has been at."""
    for text in lineage:
        try:
            parse_generation(text)
        except MirrorInvalid as error:
            raise unavailable(path, Reason.CORRUPT, JournalUnavailable,
                              detail=f'{text!r:.40} is no generation: {error}') from error
    return lineage
