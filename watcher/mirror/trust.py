"""Which keys this host knows for the codes of the mirror, and where codes are demanded.

The key is derived from `[mirror] key_file`. The last two derived ones are kept in the journal, and
never the secret itself: a rotation of the pool's secret reaches one host after the other. Kept as
well are the resource pools in which a valid code was seen, and the entry that people have refused.
"""

import json
import os
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

from watcher.config.settings import read_regular_file
from watcher.mirror.codes import KEYS, Trust, derive_key
from watcher.vm.mirror_keys import CODE

# In the journal's table notes.
TRUST_NOTE = 'mirror_trust'
# How often it is looked (by `stat`) whether the file is another.
CHECK_SECONDS = 2.0
_MAX_POOLS = 8


class TrustMemory(NamedTuple):
    """What the journal keeps."""
    keys: Tuple[bytes, ...] = ()
    """The newest first."""
    pools: Tuple[str, ...] = ()
    """UUIDs of the resource pools in which a valid code was seen, the last one last."""
    refused: str = ''
    """The generation of the unsigned entry that people decided against."""


def read_key(path: str) -> Tuple[Optional[bytes], str]:
    """The key derived from a file, or why there is none; the secret itself is not kept."""
    if not path:
        return None, '[mirror] key_file names no file'
    try:
        secret = read_regular_file(path).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        return None, f'{path}: {reason}'
    return (derive_key(secret), '') if secret else (None, f'{path}: it is empty')


def read_memory(journal: Any) -> TrustMemory:
    """What the journal keeps; what is not understood says nothing."""
    if journal is None:
        return TrustMemory()
    try:
        note = json.loads(journal.read_note(TRUST_NOTE) or '{}')
        keys = tuple(bytes.fromhex(text) for text in note.get('keys', ()))
        pools = tuple(str(item) for item in note.get('pools', ()))
        return TrustMemory(keys[:KEYS], pools[-_MAX_POOLS:], str(note.get('refused', '')))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return TrustMemory()


def write_memory(journal: Any, memory: TrustMemory) -> None:
    """Keep it in the journal, which only root may read."""
    journal.write_note(TRUST_NOTE, json.dumps({
        'keys': [key.hex() for key in memory.keys], 'pools': list(memory.pools),
        'refused': memory.refused}))


def refuse(journal: Any, generation: str) -> None:
    """People have decided against the entry of this generation, which no known key has signed."""
    write_memory(journal, read_memory(journal)._replace(refused=generation))


def build_trust(memory: TrustMemory, key: Optional[bytes], resource_pool: str) -> Trust:
    """By which keys the entries of a resource pool are judged."""
    return Trust(_with_key(memory.keys, key), resource_pool in memory.pools)


class Keeper:
    """The keys and what else is known, in memory and in the journal."""

    def __init__(self) -> None:
        self._path: Optional[str] = None
        self._file: Any = None
        self._checked_at = -CHECK_SECONDS
        self._key: Optional[bytes] = None
        self.problem = ''
        """Why no key could be derived from the file."""
        self.memory = TrustMemory()

    def has_changed(self, path: str, now: float) -> bool:
        """Whether the file is another than when it was read; looks now and then."""
        if path == self._path and now - self._checked_at < CHECK_SECONDS:
            return False
        self._checked_at = now
        return path != self._path or _identify(path) != self._file

    def refresh(self, path: str, journal: Any) -> None:
        """Read the file when it has changed, and bring memory and journal together.

        Without a journal (None) memory serves. Raises RegistryError.
        """
        found = _identify(path)
        if path != self._path or found != self._file or self._key is None:
            self._path, self._file = path, found
            self._key, self.problem = read_key(path)
        stored = read_memory(journal)
        merged = TrustMemory(_with_key(_join(self.memory.keys, stored.keys), self._key),
                             _join(stored.pools, self.memory.pools)[-_MAX_POOLS:],
                             stored.refused if journal is not None else self.memory.refused)
        self.memory = merged
        if journal is not None and merged != stored:
            write_memory(journal, merged)

    def note_signed(self, resource_pool: str, journal: Any) -> None:
        """A valid code was seen there: from now on nothing counts without one."""
        if resource_pool not in self.memory.pools:
            self.memory = self.memory._replace(
                pools=(self.memory.pools + (resource_pool,))[-_MAX_POOLS:])
            if journal is not None:
                write_memory(journal, self.memory)

    def trust(self, resource_pool: str) -> Trust:
        """By which keys the entries of this resource pool are judged."""
        return Trust(self.memory.keys, resource_pool in self.memory.pools)


def find_evidence(vms: Iterable[Any]) -> bool:
    """Whether any record of a VM, template or snapshot has a code."""
    return any(key.endswith(CODE) for vm in vms for key, _text in vm.mirror)


def _with_key(keys: Tuple[bytes, ...], key: Optional[bytes]) -> Tuple[bytes, ...]:
    return _join((key,) if key is not None else (), keys)[:KEYS]


def _join(first: Tuple[Any, ...], then: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """Both, each item once."""
    joined: Dict[Any, None] = dict.fromkeys(first)
    joined.update(dict.fromkeys(then))
    return tuple(joined)


def _identify(path: str) -> Any:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime, found.st_ctime

