"""The files that commands read and write: whole or not at all, and '-' for the streams."""

import codecs
import contextlib
import errno
import os
import stat
import sys
from typing import Iterable, NamedTuple, Optional

from cli.commandline.options import STREAM
from cli.errors import CommandError, Kind
from cli.exchange.output_path import OpenedPath, is_trusted, opened
from cli.output.text import escape
from registry.paths import OwnFile, Place, find_own

# A registry of ten thousand VMs is a fiftieth of this; what is larger is another file.
_MAX_BYTES = 1 << 26
_FILE_MODE = 0o600
_DATABASE = b'SQLite format 3\0'
# The longer mark first: that of UTF-32 begins like that of UTF-16.
_ENCODINGS = ((codecs.BOM_UTF32_LE, 'utf-32'), (codecs.BOM_UTF32_BE, 'utf-32'),
              (codecs.BOM_UTF16_LE, 'utf-16'), (codecs.BOM_UTF16_BE, 'utf-16'),
              (codecs.BOM_UTF8, 'utf-8-sig'))
# What may be named by mistake, by its first bytes.
_OTHERS = ((_DATABASE, 'it is a database of SQLite, and no export or backup: a registry is named '
            'by --db=FILE'),
           (b'PK\x03\x04', 'it is a spreadsheet or an archive: save it as CSV, UTF-8 with commas'),
           (b'\xd0\xcf\x11\xe0', 'it is a spreadsheet: save it as CSV, UTF-8 with commas'),
           (b'\x1f\x8b', 'it is compressed: unpack it first'))


class WrittenFile(NamedTuple):
    """What became of a file."""

    is_replaced: bool = False
    """A file that was there has given way."""


def read_file(path: str) -> str:
    """Read a text file, or standard input for '-'; a usage error says what is to be done."""
    try:
        text = _decode(_read(path))
        if not text.strip():
            raise ValueError('it is empty')
        return text
    except (OSError, ValueError) as error:
        name = 'standard input' if path == STREAM else escape(path)
        raise CommandError(Kind.USAGE, f'{name}: cannot be read: {_reason(error)}; nothing was '
                           'changed') from error


def _read(path: str) -> bytes:
    if path != STREAM:
        with open(path, 'rb') as stream:
            content = stream.read(_MAX_BYTES + 1)
    elif sys.stdin is None:
        raise ValueError('it is closed')
    else:
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f'it is larger than {_MAX_BYTES} bytes')
    return content


def _decode(content: bytes) -> str:
    """The text of a file, in any encoding that says itself which it is."""
    for start, problem in _OTHERS:
        if content.startswith(start):
            raise ValueError(problem)
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), 'utf-8')
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b'\n') + 1
        raise ValueError(f'line {line} is not {encoding.upper()}: save it as UTF-8 (a '
                         'spreadsheet: as CSV, UTF-8 with commas)') from error
    if '\0' in text:
        raise ValueError('it holds NUL characters, as UTF-16 without its mark does: save it as '
                         'UTF-8 (a spreadsheet: as CSV, UTF-8 with commas)')
    return text


def leads_to_output(path: str) -> bool:
    """Whether a path is another name of standard output, such as /dev/stdout."""
    try:
        with opened(path) as target:
            return target.stream == 1
    except OSError:
        return False


def check_output(status: os.stat_result, own: Iterable[OwnFile]) -> None:
    """Refuse a standard output that has been led into a file of ours."""
    _refuse_own('standard output', Place((0, 0), '', (status.st_dev, status.st_ino)), own)


def write_file(path: str, text: str, own: Iterable[OwnFile] = ()) -> WrittenFile:
    """Write a whole file or none: beside it first, then in its place. Never over a file of ours.

    A device or a pipe is written to, and never replaced: root had a file for /dev/null once.
    """
    try:
        with opened(path) as target:
            _refuse_own(escape(path), target.place, own)
            if target.is_replaced:
                return _replace(path, target, text)
            _write_special(target, text)
            return WrittenFile()
    except OSError as error:
        raise CommandError(Kind.FAILED,
                           f'{escape(path)}: cannot be written: {_reason(error)}') from error


def _refuse_own(name: str, place: Place, own: Iterable[OwnFile]) -> None:
    found = find_own(place, own)
    if found is not None:
        raise _refusal(name, f'{found.what}, {escape(found.path)}')


def _refusal(name: str, what: str) -> CommandError:
    return CommandError(
        Kind.USAGE, f'{name} is {what}, and would be overwritten: FILE is the file that is '
        'written to; name another one (another registry is named by --db=FILE); nothing was '
        'written')


def _replace(path: str, target: OpenedPath, text: str) -> WrittenFile:
    _refuse_database(path, target)
    beside = f'.vgpu-admin.{os.urandom(8).hex()}.new'
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE,
                         dir_fd=target.directory)
    try:
        with open(descriptor, 'wb') as stream:
            _keep_owner(descriptor, target)
            stream.write(_encode(text))
            stream.flush()
            os.fsync(descriptor)
        os.rename(beside, target.name, src_dir_fd=target.directory, dst_dir_fd=target.directory)
    except BaseException:
        os.unlink(beside, dir_fd=target.directory)
        raise
    _settle(target)
    return WrittenFile(is_replaced=target.status is not None)


def _refuse_database(path: str, target: OpenedPath) -> None:
    """A registry of another host, or a copy of ours, is no place either."""
    if target.status is None or not stat.S_ISREG(target.status.st_mode):
        return
    with contextlib.suppress(OSError):
        # No connection to a registry is open now, whose locks closing this would drop.
        descriptor = os.open(target.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                             | os.O_CLOEXEC, dir_fd=target.directory)
        with open(descriptor, 'rb') as stream:
            content = stream.read(len(_DATABASE))
        if content == _DATABASE:
            raise _refusal(escape(path), 'a database of SQLite')


def _keep_owner(descriptor: int, target: OpenedPath) -> None:
    """Give a new file mode and owner of the one that was there, unless any user may have put it."""
    if target.status is None or not stat.S_ISREG(target.status.st_mode):
        return
    is_open_to_all = os.fstat(target.directory or 0).st_mode & stat.S_IWOTH
    if is_trusted(target.status) or not is_open_to_all:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, target.status.st_uid, target.status.st_gid)
        os.fchmod(descriptor, target.status.st_mode & 0o777)


def _settle(target: OpenedPath) -> None:
    """Have the new name on the disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open('.', os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
                             dir_fd=target.directory)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_special(target: OpenedPath, text: str) -> None:
    """Write to a device, a pipe, or a descriptor that the caller has opened for us."""
    with open(_open_special(target), 'wb') as stream:
        stream.write(_encode(text))


def _open_special(target: OpenedPath) -> int:
    if target.stream is not None:
        return os.dup(target.stream)
    _judge(target.status)
    # The very thing that was judged, whatever has taken its name meanwhile.
    return os.open(f'/proc/self/fd/{target.found}', os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)


def _judge(status: Optional[os.stat_result]) -> None:
    """Refuse what a text is not written to: by whose it is, and by what it is."""
    if status is None or stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, 'it is an open file of another process: name the file itself')
    if stat.S_ISBLK(status.st_mode):
        raise OSError(errno.EINVAL, 'it is a disk')
    if not is_trusted(status):
        raise PermissionError(errno.EPERM, f'it is no regular file, and belongs to user '
                              f'{status.st_uid}')


def _encode(text: str) -> bytes:
    return text.encode('utf-8', 'replace')


def _reason(error: Exception) -> str:
    """Why, without the path, which is named already."""
    return getattr(error, 'strerror', None) or str(error)
