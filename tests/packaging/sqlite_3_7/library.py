"""SQLite 3.7.17 itself: fetched once, built once, spoken to through ctypes.

The amalgamation comes in the npm package sqlite3@2.1.19. Python's own sqlite3 module cannot be
loaded on it from 3.10 on.
"""

import ctypes
import fcntl
import hashlib
import os
import subprocess
import tarfile
from typing import List, Optional, Tuple

from tests.packaging.sqlite_3_7.recording import CACHE

VERSION = '3.7.17'
PACKAGE = 'sqlite3@2.1.19'
ARCHIVE = 'sqlite3-2.1.19.tgz'
ARCHIVE_SHA256 = '0253e6efd8c7885f26e9cd7d6858152c654122809db42898f3cf1ecef4d5c7e6'
AMALGAMATION_ARCHIVE = 'package/deps/sqlite-autoconf-3071700.tar.gz'
AMALGAMATION = 'sqlite-autoconf-3071700/sqlite3.c'
DOWNLOAD_SECONDS = 120
COMPILE_SECONDS = 300
_OK, _ROW, _DONE = 0, 100, 101
_OPEN_READ_WRITE_CREATE_URI = 0x2 | 0x4 | 0x40


class FloorUnavailable(Exception):
    """SQLite 3.7.17 could not be fetched or built here."""


class FloorError(Exception):
    """SQLite 3.7.17 refused a statement; `code` is its result code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Floor:
    """One connection of SQLite 3.7.17."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(build())
        self._library.sqlite3_errmsg.restype = ctypes.c_char_p
        self._library.sqlite3_column_text.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        self._checked(self._library.sqlite3_open_v2(
            path.encode(), ctypes.byref(self._handle), _OPEN_READ_WRITE_CREATE_URI, None))

    def __enter__(self) -> 'Floor':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._checked(self._library.sqlite3_close(self._handle))

    def execute(self, sql: str) -> List[Tuple[Optional[str], ...]]:
        """Prepare and run one statement, and give all its rows as text."""
        statement = ctypes.c_void_p()
        self._checked(self._library.sqlite3_prepare_v2(
            self._handle, sql.encode(), -1, ctypes.byref(statement), None))
        try:
            return self._step(statement)
        finally:
            self._library.sqlite3_finalize(statement)

    def _step(self, statement: ctypes.c_void_p) -> List[Tuple[Optional[str], ...]]:
        rows = []
        while True:
            code = self._library.sqlite3_step(statement)
            if code == _DONE:
                return rows
            if code != _ROW:
                self._checked(code)
            columns = range(self._library.sqlite3_column_count(statement))
            texts = [self._library.sqlite3_column_text(statement, column) for column in columns]
            rows.append(tuple(None if text is None else text.decode('utf-8', 'replace')
                              for text in texts))

    def _checked(self, code: int) -> None:
        if code != _OK:
            message = self._library.sqlite3_errmsg(self._handle).decode('utf-8', 'replace')
            raise FloorError(code, message)


def build() -> str:
    """Give the path of the shared library, fetching and compiling it when it is not there."""
    library = os.path.join(CACHE, 'libsqlite3-3.7.17.so')
    if not os.path.exists(library):
        os.makedirs(CACHE, exist_ok=True)
        # Several test runs may start at once in the same tree; the first builds for all.
        with open(os.path.join(CACHE, 'build.lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(library):
                _compile(_unpack(_fetch()), library)
    return library


def _compile(source: str, library: str) -> None:
    unfinished = library + '.unfinished'
    _run(['gcc', '-O1', '-shared', '-fPIC', '-o', unfinished, source, '-lpthread', '-ldl'],
         COMPILE_SECONDS)
    os.replace(unfinished, library)


def _fetch() -> str:
    archive = os.path.join(CACHE, ARCHIVE)
    if not os.path.exists(archive):
        _run(['npm', 'pack', '--silent', PACKAGE], DOWNLOAD_SECONDS)
    with open(archive, 'rb') as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != ARCHIVE_SHA256:
        raise FloorUnavailable(f'{archive} has SHA-256 {found}, and not {ARCHIVE_SHA256}')
    return archive


def _unpack(archive: str) -> str:
    """Write the one file that is needed; the members' own paths are not followed."""
    source = os.path.join(CACHE, 'sqlite3.c')
    with tarfile.open(archive) as package:
        with tarfile.open(fileobj=package.extractfile(AMALGAMATION_ARCHIVE)) as amalgamation:
            content = amalgamation.extractfile(AMALGAMATION).read()
    with open(source, 'wb') as file:
        file.write(content)
    return source


def _run(command: List[str], seconds: int) -> None:
    try:
        subprocess.run(command, cwd=CACHE, check=True, timeout=seconds,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, 'stdout', None) or b''
        raise FloorUnavailable(
            f"{' '.join(command)}: {error} {output.decode('utf-8', 'replace')[-500:]}") from error
