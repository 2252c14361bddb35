"""What the daemon leaves word of for vgpu-admin, in the journal: how it fares, and the mirror.

Written and read here. A note is input like any other: a field of another type says nothing. Pure.
"""

import json
from typing import Any, Dict, NamedTuple, Optional, Tuple


class WatchNote(NamedTuple):
    """Who watches, since when, and when XAPI answered (Unix times)."""
    pid: int = 0
    version: str = ''
    since: Optional[float] = None
    last_answer: Optional[float] = None
    host: str = ''
    """The ref of this host; '' where XAPI is not that of this host."""
    is_member: bool = False
    """Then vgpu-admin asks the master what it is asked."""
    fought_over: Tuple[str, ...] = ()
    """The UUIDs of VMs that are fought over, which no record shows."""

    def is_of(self, holder: Optional[str]) -> bool:
        """Whether it is of the program that holds the writer's lock now.

        The journal may have been copied from another host, and a daemon that left it been killed.
        """
        return f'pid {self.pid},' in f'{holder},'


class MirrorNote(NamedTuple):
    """How far the mirror is."""
    state: str = ''
    generation: str = ''
    waiting: int = 0
    """How many entries wait to be written."""
    master: str = ''
    is_master: bool = False
    reason: str = ''
    """What XAPI said when it refused, or why the registry here could not be used."""
    unsigned: str = ''
    """Why the daemon has no key from the file that the configuration names."""


def render_note(note: Any) -> str:
    """The text of a note."""
    return json.dumps(note._asdict())


def parse_watch_note(text: Optional[str]) -> WatchNote:
    """Read the note that the daemon leaves about itself."""
    fields = _load(text)
    since, answer = [value if type(value) in (int, float) else None
                     for value in (fields.get('since'), fields.get('last_answer'))]
    uuids = fields.get('fought_over')
    found: WatchNote = _fill(WatchNote(), fields)
    return found._replace(since=since, last_answer=answer, fought_over=tuple(
        item for item in uuids if isinstance(item, str)) if isinstance(uuids, list) else ())


def parse_mirror_note(text: Optional[str]) -> MirrorNote:
    """Read the note about the mirror; without a state it says nothing."""
    found: MirrorNote = _fill(MirrorNote(), _load(text))
    return found._replace(waiting=max(0, found.waiting))


def _load(text: Optional[str]) -> Dict[str, Any]:
    try:
        fields = json.loads(text or '{}')
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _fill(empty: Any, fields: Dict[str, Any]) -> Any:
    """The empty note, with the fields that are of the types that it has."""
    return empty._replace(**{name: fields[name] for name, value in zip(empty._fields, empty)
                             if name in fields and type(fields[name]) is type(value)})
