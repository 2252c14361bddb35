"""How a man page is written: its head, its lists, its end; text never becomes a request."""

from typing import Any, List, Sequence

from watcher.version import VERSION


def escape(text: str) -> str:
    """A text for the formatter: as it stands, and never a request to it."""
    escaped = text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq')
    return '\\&' + escaped if escaped.startswith('.') else escaped


def head(name: str, section: int, summary: str) -> List[str]:
    """Begin a page."""
    return [f'.TH {escape(name).upper()} {section} "" "vgpu\\-watcher {escape(VERSION)}"',
            # No option and no key is broken with a hyphen or pulled apart, as words would be.
            '.nh', '.ad l', '.SH NAME', f'{escape(name)} \\- {escape(summary)}']


def items(pairs: Sequence[Any]) -> List[str]:
    """List terms with their texts."""
    return [line for term, text in pairs for line in ('.TP', '.B ' + escape(term), escape(text))]


def finish(lines: List[str], *others: str) -> str:
    """Put a page together; it ends with the other pages."""
    seen = [f'.BR {escape(other)}' for other in others]
    joined = [line + ' ,' if line != seen[-1] else line for line in seen]
    return '\n'.join(lines + ['.SH SEE ALSO'] + joined) + '\n'
