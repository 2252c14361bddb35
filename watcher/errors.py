"""The exception tree of the watcher.

Of XAPI's errors ask first who answered: no program, XAPI, or one that does not speak the protocol.
`client.py` raises them, `event_stream.py`, `injector.py` and `daemon.py` do something about them.
"""

import re
from typing import Any, Iterable, Tuple

from registry.errors import one_line

# What stands in the place of a session, or of a password, in a text.
HIDDEN = '(hidden)'
# As XAPI names a session that it refuses, also within a longer text.
_SESSION = re.compile(
    r'((?:SESSION_INVALID|\bsession)[^A-Za-z0-9]{1,8})OpaqueRef:[0-9A-Za-z:-]{1,80}')
# A shorter word is no secret, and would be found anywhere.
_LEAST_SECRET = 3


class WatcherError(Exception):
    """The root of what the watcher raises."""


class ConfigError(WatcherError):
    """A configuration that does not pass; every problem names file, section and key."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__('\n'.join(self.problems))


def hide_sessions(text: str) -> str:
    """The text without the references of sessions in it (P31)."""
    return _SESSION.sub(r'\g<1>' + HIDDEN, text)


def find_kind(text: str) -> str:
    """What the text of an error begins with: XAPI's code, or the call that came to nothing.

    What follows may be another text each time, with the reference of a task, or a time.
    """
    return text.partition(':')[0]


class XapiError(WatcherError):
    """A call to XAPI came to nothing. Its text holds no session: it is logged, and shown.

    It is one line, whatever is in it: a user who blocks an operation of a VM chooses what XAPI
    says.
    """

    def __init__(self, *texts: Any) -> None:
        super().__init__(*(hide_sessions(one_line(text)) for text in texts))

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these words out of the text as well."""
        self.args = tuple(_without(str(text), secrets) for text in self.args)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


class XapiUnreachable(XapiError):
    """No answer, or one from a server that is not ready: back off and start afresh."""


class NoAnswer(XapiUnreachable):
    """A program is there: an HTTP status that says no, or a connection closed without an answer."""


class XapiNonsense(XapiError):
    """What came back is not the protocol."""


class XapiFailure(XapiError):
    """XAPI said no, with a code and parameters."""

    def __init__(self, code: str, params: Iterable[str] = ()) -> None:
        self.code = code
        self.params: Tuple[str, ...] = tuple(hide_sessions(str(text)) for text in params)
        if code == 'SESSION_INVALID' or (code == 'HANDLE_INVALID'
                                         and self.params[:1] == ('session',)):
            self.params = tuple(HIDDEN if text.startswith('OpaqueRef:') else text
                                for text in self.params)
        super().__init__(': '.join([code, ', '.join(self.params)] if self.params else [code]))

    def hide(self, secrets: Iterable[str]) -> None:
        """Take these words out of the parameters as well."""
        super().hide(secrets)
        self.params = tuple(_without(text, secrets) for text in self.params)


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
        super().__init__(f'VM record {ref}: {field} {problem}')


class AnswerTooOld(WatcherError):
    """What was read is too old to write on: nothing was sent, read it again."""


class HostUnreadable(WatcherError):
    """What this host runs could not be read."""
