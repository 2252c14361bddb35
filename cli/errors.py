"""What a command may fail with, and the exit status that goes with each kind (docs/operations.md).

What registry and watcher raise is imported when something was raised.
"""

import enum
from typing import Tuple, Type


class ExitStatus(enum.IntEnum):
    """The exit statuses of the contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    DRIFT = 6
    INTERRUPTED = 130


class Kind(enum.Enum):
    """What went wrong, as the JSON document names it."""

    FAILED = 'failed'
    DECLINED = 'declined'
    USAGE = 'usage'
    NOT_FOUND = 'not_found'
    CONFLICT = 'conflict'
    UNAVAILABLE = 'unavailable'
    INTERRUPTED = 'interrupted'


_STATUSES = {
    Kind.FAILED: ExitStatus.FAILED,
    Kind.DECLINED: ExitStatus.FAILED,
    Kind.USAGE: ExitStatus.USAGE,
    Kind.NOT_FOUND: ExitStatus.NOT_FOUND,
    Kind.CONFLICT: ExitStatus.CONFLICT,
    Kind.UNAVAILABLE: ExitStatus.UNAVAILABLE,
    Kind.INTERRUPTED: ExitStatus.INTERRUPTED,
}


class CommandError(Exception):
    """A command came to nothing; the message names the thing, the problem and the next step."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def status(self) -> ExitStatus:
        """Give the exit status."""
        return _STATUSES[self.kind]


def list_expected() -> Tuple[Type[Exception], ...]:
    """What a command may raise, for an `except`: evaluated only when something was raised."""
    from registry.errors import RegistryError
    from watcher.errors import WatcherError
    return CommandError, RegistryError, WatcherError


def translate(error: Exception) -> CommandError:
    """Turn an error of the registry or the watcher into one of ours."""
    if isinstance(error, CommandError):
        return error
    from watcher.errors import XapiUnreachable
    text = str(error)
    if isinstance(error, XapiUnreachable) and not text.startswith('XAPI '):
        # What the system says of a socket does not say whose it is.
        text = f'XAPI is not reachable: {text}'
    return CommandError(_kind_of(error), text)


def _kind_of(error: Exception) -> Kind:
    from registry.errors import (Conflict, InvalidValue, NotFound, RegistryError,
                                 RegistryUnavailable)
    from watcher.errors import ConfigError, NotTheMaster, WatcherError, XapiFailure
    # The order matters: the first class that fits decides.
    for classes, kind in (
            ((InvalidValue, ConfigError), Kind.USAGE),
            ((NotFound,), Kind.NOT_FOUND),
            ((Conflict,), Kind.CONFLICT),
            ((RegistryUnavailable,), Kind.UNAVAILABLE),
            ((RegistryError, NotTheMaster, XapiFailure), Kind.FAILED),
            ((WatcherError,), Kind.UNAVAILABLE)):
        if isinstance(error, classes):
            return kind
    raise error
