"""What the registry raises; no exception of sqlite3 leaves this package."""

import enum


class Reason(str, enum.Enum):
    """Say in one word why a file cannot be used; equal to the word itself."""

    LOCKED = 'locked'
    OUTDATED = 'outdated'
    MISSING = 'missing'
    UNREADABLE = 'unreadable'
    UNWRITABLE = 'unwritable'
    EMPTY = 'empty'
    CORRUPT = 'corrupt'
    FOREIGN = 'foreign'
    DOUBTFUL = 'doubtful'
    WAL = 'wal'
    TOO_NEW = 'too_new'
    FAILED = 'failed'

    def __str__(self) -> str:
        return self.value


def one_line(text: object) -> str:
    """A message as one line: a name or a text of others in it must not look like a line of ours."""
    return str(text).replace('\n', '\\x0a')


class RegistryError(Exception):
    """Root of everything this package raises; its text is one line."""

    def __init__(self, *texts: object) -> None:
        super().__init__(*map(one_line, texts))


class RegistryUnavailable(RegistryError):
    """The registry cannot be used as it is; VMs are left alone and it is tried again."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason)


class SchemaTooNew(RegistryUnavailable):
    """The file was written by a newer program than this one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.TOO_NEW)


class JournalUnavailable(RegistryUnavailable):
    """The journal beside the registry cannot be used: nothing may be replaced or edited."""


class InvalidValue(RegistryError):
    """A value is not one of those allowed; the message names them."""


class NotFound(RegistryError):
    """The registry has no such row."""


class Conflict(RegistryError):
    """The change contradicts what is there; the message names the owner or the command."""
