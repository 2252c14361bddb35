"""How SQLite is told which file to open, so that opening it never creates it.

Links are followed here: SQLite 3.7 keeps the rollback journal beside the link, where a
program that opens the file by its own name does not see it.
"""

import os

# Bytes that stand for themselves in the path of a URI (RFC 3986), beside the slash.
_PLAIN = frozenset(b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/')


def render_uri(path: str, mode: str = 'rw') -> str:
    """Name an existing file; importing `urllib` for that took as long as reading the rows."""
    quoted = ''.join(chr(byte) if byte in _PLAIN else f'%{byte:02X}'
                     for byte in os.fsencode(os.path.realpath(path)))
    return f'file:{quoted}?mode={mode}'
