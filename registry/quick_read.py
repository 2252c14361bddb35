"""The UUIDs and names in the registry at a glance, for completion.

It imports SQLite only, does not wait for locks, and raises nothing: what cannot be had at
once is not offered. Everybody else reads by `store.py`.
"""

import os
import sqlite3

from registry.sqlite.uri import render_uri

_WAIT_SECONDS = 0.1
_SMALLEST_BYTES = 512
_DIGITS = frozenset('0123456789abcdef-')


def list_names(path: str) -> list:
    """List (UUID, name or '') of the rows; nothing where the file cannot be read now."""
    try:
        # In WAL mode even a reader would write beside the file.
        if os.stat(path).st_size < _SMALLEST_BYTES or os.path.exists(path + '-wal'):
            return []
        connection = sqlite3.connect(render_uri(path, 'ro'), timeout=_WAIT_SECONDS, uri=True)
        try:
            connection.text_factory = _decoded
            rows = connection.execute('SELECT vm_uuid, vm_name FROM vms').fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError):
        return []
    return [(str(vm_uuid).lower(), name if isinstance(name, str) else '')
            for vm_uuid, name in rows if _is_uuid(str(vm_uuid).lower())]


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and _DIGITS.issuperset(text)


def _decoded(data: bytes) -> str:
    return data.decode('utf-8', 'replace')
