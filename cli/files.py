"""The files that commands read and write: whole or not at all, and '-' for the streams."""

import os
import stat
import sys

from cli.errors import CommandError, Kind
from cli.options import STREAM
from cli.text import escape

# A registry of ten thousand VMs is a fiftieth of this; what is larger is another file.
_MAX_BYTES = 1 << 26


def read_file(path: str) -> str:
    """Read a text file, or standard input for '-'; a usage error names what cannot be read."""
    try:
        if path == STREAM:
            content = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with open(path, 'rb') as stream:
                content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError('is too large')
        return content.decode('utf-8-sig')
    except (OSError, ValueError) as error:
        raise CommandError(Kind.USAGE,
                           f'{escape(path)}: cannot be read: {_reason(error)}') from error


def write_file(path: str, text: str) -> None:
    """Write a whole file or none: beside it first, then in its place.

    A device or a pipe is written to, and never replaced: root had a file for /dev/null once.
    """
    try:
        # A link goes on pointing to the file; one of somebody else's leads nowhere of ours.
        target = os.path.realpath(path) if _is_own(path) else path
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            _write(os.open(path, os.O_WRONLY | os.O_CLOEXEC), text, is_regular=False)
        else:
            _replace(target, text)
    except OSError as error:
        raise CommandError(Kind.FAILED,
                           f'{escape(path)}: cannot be written: {_reason(error)}') from error


def _is_own(path: str) -> bool:
    """Whether nobody but root and who runs this has put there what is there, if anything is."""
    try:
        return os.lstat(path).st_uid in (0, os.geteuid())
    except FileNotFoundError:
        return True


def _replace(path: str, text: str) -> None:
    beside = f'{path}.{os.getpid()}.new'
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, text, is_regular=True)
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def _write(descriptor: int, text: str, *, is_regular: bool) -> None:
    with open(descriptor, 'w', encoding='utf-8', errors='replace') as stream:
        stream.write(text)
        stream.flush()
        if is_regular:
            os.fsync(descriptor)


def _reason(error: Exception) -> str:
    """Why, without the path, which is named already."""
    return getattr(error, 'strerror', None) or str(error)
