"""Lines that fit a terminal: broken at blanks, and never inside what people copy.  Pure."""

import re
from typing import List

from cli.output.text import Style, display_width

# Users mark a command with the mouse: it must stay one line.
_PROGRAMS = '(?:xe|vgpu-admin|vgpu-watcher|systemctl|journalctl) '
_COMMAND = re.compile(rf'(?:^|: )(?={_PROGRAMS})')
_USAGE = 'usage: '
# A line in columns: what goes on stands below the last.
_COLUMNS = re.compile(r'(?:[^ ]+ {2,}){1,2}(?=[^ ])')
# A command in quotes counts as one.
_WORD = re.compile(rf" *(?:[^ ']*'{_PROGRAMS}[^']*'[^ ]*|[^ ]+)")
_PLAIN_WORD = re.compile(r' *[^ ]+')
_COLOUR = re.compile('\033\\[[0-9;]*m')
_AFTER_COMMA = re.compile('[^,]*,|[^,]+')
# Colours are no text; UUIDs stay whole, for copying.
_WHOLE = re.compile('\033|[0-9a-f]{8}-[0-9a-f]{4}-')
# Narrower than this nothing would be gained.
_LEAST_WIDTH = 20


def fit(lines: List[str], style: Style) -> List[str]:
    """Break the lines that are too wide for the terminal; elsewhere none."""
    if style.width < _LEAST_WIDTH:
        return lines
    return [part for line in lines for part in wrap(line, style.width)]


def wrap(line: str, width: int) -> List[str]:
    """Break one line; what goes on is indented a little more, a command stands on its own line."""
    if _width(line) <= width:
        return [line]
    command = None if line.startswith(_USAGE) else _COMMAND.search(line)
    if command is None:
        return _break(line, width)
    before, copied = line[:command.end()].rstrip(' '), line[command.end():]
    if not before:
        return [line]
    lead = len(before) - len(before.lstrip(' '))
    return _break(before, width) + [' ' * (lead + 2) + copied]


def _break(line: str, width: int) -> List[str]:
    text = line.lstrip(' ')
    lead = min(len(line) - len(text), width // 2)
    columns = _COLUMNS.match(text)
    hang = len(columns.group()) if columns and lead + columns.end() <= width // 2 else 2
    lines: List[str] = []
    indent = ' ' * (lead + hang)
    current = ''
    for word in _list_words(text, width - len(indent)):
        start = indent if lines else ' ' * lead
        if current and _width(start + current + word) > width:
            lines.append((start + current).rstrip(' '))
            current = word.lstrip(' ')
        else:
            current += word
    lines.append(((indent if lines else ' ' * lead) + current).rstrip(' '))
    return lines


def _list_words(text: str, room: int) -> List[str]:
    """The words with the blanks before them; one that is too long, in parts that end in a comma."""
    words: List[str] = []
    for word in _WORD.findall(text):
        # A command that is wider than the terminal is broken after all.
        words += [word] if _fits(word, room) else _PLAIN_WORD.findall(word)
    return [part for word in words for part in _list_parts(word, room)]


def _list_parts(word: str, room: int) -> List[str]:
    if _fits(word, room) or word.lstrip(' ').startswith('/'):
        return [word]
    parts: List[str] = []
    for part in _AFTER_COMMA.findall(word):
        parts += [part] if _WHOLE.search(part) else _cut(part, room)
    return parts


def _fits(word: str, room: int) -> bool:
    return _width(word.lstrip(' ')) <= room


def _cut(text: str, room: int) -> List[str]:
    """A word without end in parts, as the terminal would break it."""
    parts = ['']
    for character in text:
        if _width(parts[-1] + character) > room:
            parts.append('')
        parts[-1] += character
    return parts


def _width(text: str) -> int:
    return display_width(_COLOUR.sub('', text) if '\033' in text else text)
