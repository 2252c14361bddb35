"""How far the mirror of the registry is, as the daemon of this host noted it."""

from typing import Any, Dict, NamedTuple, Optional

from cli.output.text import Style, escape, plural
from registry.schema import MIRROR_NOTE
from watcher.state.notes import parse_mirror_note

_DECIDE = ("'vgpu-admin registry compare', then 'vgpu-admin registry rebuild' (the mirror counts) "
           "or 'vgpu-admin registry keep' (the registry here counts)")


class MirrorState(NamedTuple):
    """What the daemon noted."""

    state: str
    generation: str = ''
    waiting: int = 0
    """How many entries wait to be written."""
    is_master: bool = False
    reason: str = ''
    """What XAPI said when it refused, or why the registry here could not be used."""
    is_enabled: bool = True
    """Whether the configuration asks for a mirror."""
    edits: int = 0
    """How many edits the daemon has not begun to mirror."""
    unsigned: str = ''
    """Why the daemon has no key from the file that the configuration names."""

    @property
    def is_well(self) -> bool:
        """Whether nothing needs to be done."""
        return (self.state in ('mirrored', 'following', 'pushing')
                or self.state == 'waiting' and not self.reason or self.is_switched_off)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way."""
        return self.state not in ('pushing', 'waiting') and not self.edits

    @property
    def is_switched_off(self) -> bool:
        """Whether there is no mirror because the configuration says so."""
        return self.state == 'off' and not self.is_enabled

    @property
    def is_fatal(self) -> bool:
        """Whether nothing is staged because of it."""
        return self.is_master and self.state == 'incomplete'

    @property
    def document(self) -> Dict[str, Any]:
        """The state for programs."""
        return {'state': self.state, 'generation': self.generation or None,
                'waiting': self.waiting, 'edits_waiting': self.edits,
                'reason': self.reason or None, 'unsigned': self.unsigned or None,
                'is_well': self.is_well}


def read_mirror_state(holder: Optional[str], journal: Any,
                      is_enabled: bool) -> Optional[MirrorState]:
    """What the daemon that runs noted, and what was edited since; None when nothing is known."""
    if journal is None:
        return None
    edits = journal.waiting_edits() if is_enabled else 0
    if holder is None:
        return MirrorState('no_daemon', edits=edits) if edits else None
    state = parse_note(journal.read_note(MIRROR_NOTE), is_enabled)
    if state is None:
        return None
    newest = journal.lineage()[-1:]
    if state.state == 'mirrored' and state.is_master and newest not in ((), (state.generation,)):
        # What it has begun since stands in the journal first.
        state = state._replace(state='pushing', generation=newest[0])
    return state._replace(edits=edits)


def parse_note(text: Optional[str], is_enabled: bool) -> Optional[MirrorState]:
    """Understand the note; None when it says nothing."""
    note = parse_mirror_note(text)
    return MirrorState(note.state, note.generation, note.waiting, note.is_master, note.reason,
                       is_enabled, unsigned=note.unsigned) if note.state else None


def describe_mirror(mirror: MirrorState) -> str:
    """The state in words."""
    if mirror.is_switched_off:
        return 'is switched off: the registry is on this host only'
    if mirror.state == 'off':
        return f'is off: {mirror.reason}' if mirror.reason else (
            'is off: a later version wrote it, or the configuration was not read again')
    words = _WORDS.get(mirror.state, mirror.state)
    if mirror.reason and mirror.state in _HELD_UP:
        words = f'{_HELD_UP[mirror.state]} ({mirror.reason})'
    if mirror.edits and mirror.state == 'mirrored':
        words = 'is behind the registry'
    if mirror.generation and mirror.state not in ('no_registry', 'not_accepted'):
        words += f', generation {mirror.generation}'
    if mirror.waiting:
        words += f', {plural(mirror.waiting, "write")} to do'
    if mirror.edits:
        words += '; one edit waits' if mirror.edits == 1 else f'; {mirror.edits} edits wait'
    if mirror.is_fatal:
        words += '; nothing is staged'
    if mirror.unsigned and mirror.state in ('mirrored', 'following', 'pushing'):
        words += f'; not signed ({mirror.unsigned})'
    return words


def advise(mirror: MirrorState) -> str:
    """What to do about a state that is not well, or one that does not end."""
    if mirror.state == 'older':
        return 'see whether the daemon runs on the master, which writes the mirror again'
    if mirror.reason and mirror.state in _HELD_UP:
        return 'the daemon tries again every two seconds: see to what keeps it'
    return _ADVICE.get(mirror.state, "'journalctl -u vgpu-watcher' (lines 'mirror.'), and "
                       "'vgpu-admin registry compare'")


def render_mirror(mirror: Optional[MirrorState], style: Style, why: str = '') -> str:
    """The line of the control panel; `why` nothing is known, where nothing is."""
    if mirror is None:
        return f'Mirror: {style.warning} not known: {why}'
    sign = style.tick if mirror.is_well and not mirror.edits else style.warning
    return f'Mirror: {sign} {escape(describe_mirror(mirror))}'


_WORDS = {
    'mirrored': 'whole',
    'following': 'the copy here follows it',
    'pushing': 'is being written',
    'waiting': 'the daemon has not judged yet whether it is newer',
    'older': "is older than the copy here: XAPI's database went back to an older copy",
    'incomplete': 'is newer than the registry here, and not whole',
    'undecided': 'differs from the registry here, and nothing tells which of them is newer',
    'not_accepted': 'is not written for a registry that another program made',
    'no_daemon': 'is not written: no daemon is running',
    'no_registry': 'is not written: the registry here cannot be used',
}
# With the reason of the daemon, what registry or journal do not let it do.
_HELD_UP = {
    'waiting': 'cannot be compared with the registry here',
    'incomplete': 'is newer than the registry here, which cannot be brought up to date',
}
_ADVICE = {
    'off': "see 'mirror.unavailable' in the log: the rights of the user, or upgrade this host; "
           'then restart the daemon',
    'pushing': "see 'mirror.write_failed' in the log: what XAPI says of the entry",
    'waiting': "see 'mirror.waiting' in the log, and whether XAPI answers",
    'no_daemon': "'systemctl start vgpu-watcher'",
    'incomplete': _DECIDE,
    'undecided': _DECIDE,
    'not_accepted': "'vgpu-admin accept'",
    'no_registry': "do what check 'registry' says, or 'vgpu-admin registry rebuild'",
}
