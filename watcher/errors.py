"""The exception tree of the watcher.

Of XAPI's errors ask first who answered: nobody, XAPI, or something that is not the protocol.
`xapi.py` raises them, `stream.py`, `injector.py` and `daemon.py` do something about them.
"""

from typing import Iterable, Tuple


class WatcherError(Exception):
    """The root of what the watcher raises."""


class ConfigError(WatcherError):
    """A configuration that does not pass; every problem names file, section and key."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__('\n'.join(self.problems))


class XapiError(WatcherError):
    """A call to XAPI came to nothing."""


class XapiUnreachable(XapiError):
    """Nobody answered, or somebody who cannot yet: back off and start afresh."""


class NoAnswer(XapiUnreachable):
    """Somebody is there: an HTTP status that says no, or a connection closed without an answer."""


class XapiNonsense(XapiError):
    """What came back is not the protocol."""


class XapiFailure(XapiError):
    """XAPI said no, with a code and parameters."""

    def __init__(self, code: str, params: Iterable[str] = ()) -> None:
        self.code = code
        self.params: Tuple[str, ...] = tuple(params)
        super().__init__(': '.join([code, ', '.join(self.params)] if self.params else [code]))


class SessionLost(XapiFailure):
    """The session is gone: log in again, and treat the stream as lost."""


class StreamLost(XapiFailure):
    """The token leads nowhere, or XAPI has forgotten something: start with the empty token."""


class VmVanished(XapiFailure):
    """The ref no longer leads to a VM."""


class NotTheMaster(XapiFailure):
    """This host is a member; the first parameter is the master's address."""


class MalformedRecord(WatcherError):
    """One VM record has a missing or odd field; it costs that VM only."""

    def __init__(self, ref: str, field: str, problem: str) -> None:
        self.ref = ref
        self.field = field
        self.problem = problem
        super().__init__('VM record %s: %s %s' % (ref, field, problem))


class InjectionNotVerified(WatcherError):
    """XAPI took the write, and holds something else."""


class HostUnreadable(WatcherError):
    """What this host runs could not be read."""
