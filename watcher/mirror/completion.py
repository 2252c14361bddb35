"""A mirror that is not whole, completed from the registry here, when the digest proves the result.

A VM was reverted, or an entry taken away, and in that moment the master died. The next one has a
registry that is older than the mirror, and yet right about most VMs. The pool's entry holds a
digest of all assignments: a guess that has it is no guess. Pure: no clock, no I/O, no logging.
"""

import collections
import itertools
from typing import Dict, Iterator, List, Mapping, Optional, Sequence

from watcher.mirror.entries import MirroredRow, PoolEntry, digest_contents

# Nothing else goes on meanwhile: so many choices of VMs are looked at, and so many rows are put
# through the digest, which is 75 ms of a slow processor.
_MOST_CHOICES = 20000
_MOST_ROWS = 50000
_LEAST_DIGESTS = 8


def prove(entries: Mapping[str, MirroredRow], known: Mapping[str, MirroredRow],
          mirror: PoolEntry) -> Optional[List[MirroredRow]]:
    """The rows of which the pool's entry has the digest: those of the entries, and of as few VMs
    as possible what is known here instead. None when none of what was tried is that."""
    doubtful = sorted(uuid for uuid in set(entries) | set(known)
                      if entries.get(uuid) != known.get(uuid))
    digests = max(_MOST_ROWS // (mirror.vms + 1), _LEAST_DIGESTS)
    for rows in itertools.islice(_guess(entries, known, doubtful, mirror.vms), digests):
        if digest_contents(rows, mirror.pools) == mirror.digest:
            return rows
    return None


def _guess(entries: Mapping[str, MirroredRow], known: Mapping[str, MirroredRow],
           doubtful: Sequence[str], count: int) -> Iterator[List[MirroredRow]]:
    """So many rows with as many numbers, the likeliest first."""
    gains = {uuid: (uuid in known) - (uuid in entries) for uuid in doubtful}
    choices = itertools.chain.from_iterable(
        itertools.combinations(doubtful, size) for size in range(len(doubtful) + 1))
    bearers = collections.Counter(row.vm_id for row in entries.values())
    doubles = len(entries) - len(bearers)
    for chosen in itertools.islice(choices, _MOST_CHOICES):
        # Each choice costs as much as it changes, however many rows there are.
        if len(entries) + sum(gains[uuid] for uuid in chosen) != count \
                or doubles + _count_doubled(chosen, entries, known, bearers):
            continue
        rows: Dict[str, MirroredRow] = dict(entries)
        for uuid in chosen:
            rows.pop(uuid, None)
            if uuid in known:
                rows[uuid] = known[uuid]
        yield sorted(rows.values())


def _count_doubled(chosen: Sequence[str], entries: Mapping[str, MirroredRow],
                   known: Mapping[str, MirroredRow], bearers: Mapping[int, int]) -> int:
    """How many rows more, or fewer, have a number that another one has, with what is known of the
    chosen VMs."""
    moved: Dict[int, int] = {}
    for uuid in chosen:
        for rows, step in ((entries, -1), (known, 1)):
            if uuid in rows:
                moved[rows[uuid].vm_id] = moved.get(rows[uuid].vm_id, 0) + step
    return sum(max(bearers.get(vm_id, 0) + step - 1, 0) - max(bearers.get(vm_id, 0) - 1, 0)
               for vm_id, step in moved.items())
