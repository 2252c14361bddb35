"""Text for a terminal: hostile names made harmless, columns that line up in any script.

Pure: no clock, no I/O, no logging.
"""

import re
import unicodedata
from typing import List, Mapping, NamedTuple, Optional, Sequence

# Zero-width joiners belong to the spelling of several scripts; everything else that is not
# printed (controls, bidi controls, separators of lines, lone surrogates) could deceive.
_HARMLESS = frozenset('\u200c\u200d')
_HIDDEN = frozenset(['Cc', 'Cf', 'Cs', 'Cn', 'Zl', 'Zp'])
_COLOURS = {'good': '32', 'bad': '31', 'warn': '33', 'title': '1'}
_COLOUR = re.compile('(\033\\[[0-9;]{0,20}m)')
# A name is at most this wide in a table; what is cut is shown in full by show-vm.
MAX_COLUMN = 48
_GAP = '  '
# With less than this for the last column, a table says too little.
_LEAST_COLUMN = 8
# A UUID with its heading is never cut: it is what people copy.
_LONGEST_WORD = 46
NO_PERMISSION = 'no permission for '
"""What is said of a socket that only root may use: XAPI itself may be well."""
# What no shell takes apart, and no program takes for an option.
_TYPED = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*\Z')
_VM = re.compile(r'\bVM ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?: \(([^()]+)\))?')


class Style(NamedTuple):
    """What the place where text is shown can do."""

    has_ticks: bool = False
    has_colours: bool = False
    is_terminal: bool = False
    width: int = 0
    """The columns of the terminal; 0 where nothing need fit."""
    height: int = 0

    @property
    def tick(self) -> str:
        """The mark for what is well."""
        return '\u2713' if self.has_ticks else 'OK'

    @property
    def warning(self) -> str:
        """The mark for what needs a look."""
        return '\u26a0' if self.has_ticks else '!'

    def colour(self, text: str, name: str) -> str:
        """Colour a text, where colours are shown."""
        return f'\033[{_COLOURS[name]}m{text}\033[0m' if self.has_colours else text


def escape(text: Optional[str]) -> str:
    """Show every character that would not be printed by its number."""
    if not text or text.isprintable():
        return text or ''
    return ''.join(_shown(character) for character in text)


def escape_all_but_colours(line: str) -> str:
    """The same of a line that was made for a terminal, which keeps its colours."""
    if line.isprintable():
        return line
    return ''.join(part if number % 2 else escape(part)
                   for number, part in enumerate(_COLOUR.split(line)))


def encodable(text: str, encoding: Optional[str]) -> str:
    """A text as a stream can show it: an arrow as `->`, what has no code by its number."""
    code = encoding or 'ascii'
    try:
        text.encode(code)
    except UnicodeEncodeError:
        return text.replace('→', '->').encode(code, 'backslashreplace').decode(code)
    return text


def name_vm(name: Optional[str], vm_uuid: str) -> str:
    """A VM by the name that people know, with its UUID: `web01 (d8f33418-…)`."""
    return f'{escape(name)} ({escape(vm_uuid)})' if name else f'VM {escape(vm_uuid)}'


def spell_vm(name: Optional[str], vm_uuid: str) -> str:
    """How a VM is named on a command line: as it was typed, or by its UUID."""
    return name if name and _TYPED.match(name) else vm_uuid


def brief_name(name: Optional[str], vm_uuid: str) -> str:
    """A VM by its name alone, where its UUID has been shown; one without a name by its UUID."""
    return escape(name) if name else name_vm(None, vm_uuid)


def name_vms(text: str, names: Mapping[str, str]) -> str:
    """Call the VMs of a message by their names (by UUID): `VM d8f33418-…` becomes `web01 (…)`."""
    return _VM.sub(lambda found: name_vm(found.group(2) or names.get(found.group(1)),
                                         found.group(1)), text)


def list_vms_named(text: str) -> List[str]:
    """The UUIDs of the VMs that a message names by nothing else."""
    return [vm_uuid for vm_uuid, name in _VM.findall(text) if not name]


def say_unasked(problem: object) -> str:
    """Why XAPI could not be asked; that it is not reachable says so already."""
    text = str(problem)
    return text if text.startswith('XAPI ') else f'XAPI could not be asked: {text}'


def say_unavailable(problem: object) -> str:
    """The same, and where to look."""
    text = say_unasked(problem)
    return text if NO_PERMISSION in text else f"{text}; see 'systemctl status xapi'"


def display_width(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    try:
        return len(text.encode('ascii'))
    except UnicodeEncodeError:
        pass  # most text is ASCII, and the tables of a large pool are full of it
    return sum(_character_width(character) for character in text)


def pad(text: str, width: int) -> str:
    """Fill up with blanks to a width."""
    return text + ' ' * max(0, width - display_width(text))


def cut(text: str, width: int) -> str:
    """Shorten to a width, and mark that something was cut."""
    if display_width(text) <= width:
        return text
    kept, taken = '', 0
    for character in text:
        taken += _character_width(character)
        if taken > width - 3:
            break
        kept += character
    return kept + '...'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> List[str]:
    """Lay rows out in columns; on a terminal the last one is cut to what is left of the width.

    Where that is too little, each row becomes a block of lines.
    """
    cells = [list(headings)] + [[cut(cell, MAX_COLUMN) for cell in row[:-1]] + [row[-1]]
                                for row in rows]
    widths = [max(display_width(row[index]) for row in cells) for index in range(len(headings))]
    room = style.width - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
    if style.width and room < min(widths[-1], _LEAST_COLUMN):
        return [line for row in rows for line in _block(headings, row, style)]
    if style.width:
        widths[-1] = min(widths[-1], room)
    lines = [_GAP.join(pad(cell, width) for cell, width in
                       zip(row[:-1] + [cut(row[-1], widths[-1])], widths)).rstrip()
             for row in cells]
    return [style.colour(lines[0], 'title')] + lines[1:]


def _block(headings: Sequence[str], row: Sequence[str], style: Style) -> List[str]:
    """One row of a table, in lines."""
    lines = [cut(f'{heading}: {cell}', max(style.width, _LONGEST_WORD))
             for heading, cell in zip(headings, row)]
    return [style.colour(lines[0], 'title')] + ['  ' + line for line in lines[1:]]


def fields(title: str, values: Mapping[str, str]) -> List[str]:
    """Give a title and `  Key: value` lines, the shape that people know."""
    return [title] + [f'  {key}: {value}' for key, value in values.items()]


def nearest(word: str, known: Sequence[str]) -> str:
    """Give the hint '; did you mean X?' when a known word is close, else ''."""
    import difflib  # costs 10 ms, and only a mistake needs it
    begun = [item for item in known if item.startswith(word + '-')]
    found = begun or difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean '{escape(found[0])}'?" if found else ''


def then_see(hint: str, command: str) -> str:
    """A hint, and the command that shows more: a sentence of its own behind a question."""
    return f"{hint}{' See' if hint.endswith('?') else '; see'} '{command}'"


def utc(at: str) -> str:
    """A timestamp for people: one of ours says that it is UTC; other programs write any text."""
    return escape(at) + ('Z' if _is_timestamp(at) else '')


def iso(at: Optional[str]) -> Optional[str]:
    """A timestamp of ours for programs, by ISO 8601; what is none stays as it is."""
    return f'{at[:10]}T{at[11:]}Z' if at and _is_timestamp(at) else at


def _is_timestamp(at: str) -> bool:
    return len(at) == 19 and at[4] + at[7] + at[10] + at[13] + at[16] == '-- ::'


def plural(number: int, singular: str) -> str:
    """Say how many."""
    return f'{number} {singular}' if number == 1 else f'{number} {singular}s'


def plural_invalid(number: int) -> str:
    """Say how many rows of the registry are no assignments."""
    return f"{plural(number, 'row')} that {'is' if number == 1 else 'are'} not valid"


def _shown(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in _HIDDEN:
        return character
    number = ord(character)
    if number <= 0xff:
        return f'\\x{number:02x}'
    return f'\\u{number:04x}' if number <= 0xffff else f'\\U{number:08x}'


def _character_width(character: str) -> int:
    if character in _HARMLESS or unicodedata.category(character) in ('Mn', 'Me'):
        return 0
    return 2 if unicodedata.east_asian_width(character) in 'WF' else 1
