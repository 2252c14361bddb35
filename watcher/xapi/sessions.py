"""The two sessions with XAPI: one for the long poll, one for everything else.

Opened together by the stream, and given back together, to the XAPI that opened them. XAPI keeps
a session that is not given back for a day, and 500 of them for one originator.
"""

import contextlib
from typing import Any, Callable, Iterable, List, NamedTuple, Optional

from watcher.config.settings import XapiSettings
from watcher.errors import SessionLost, XapiError, XapiUnreachable
from watcher.loop.steps import Steps, run
from watcher.xapi.client import LOGOUT_TIMEOUT_SECONDS, POLL_TIMEOUT_SECONDS, Client
from watcher.xapi.identity import Identity
from watcher.xapi.role import Role, decide_role
from watcher.xapi.rpc import NoteCall

# Logins after which XAPI did not say who it is, in a row.
_PATIENCE = 3


class SessionOpened(NamedTuple):
    """Both sessions are open, and XAPI has said who it is."""
    role: Role
    handle: str
    """The session for calls."""
    speaks_json: bool = False


class _Open(NamedTuple):
    """A session that is to be given back, and where it was opened."""
    settings: XapiSettings
    handle: str
    speaks_json: bool


class Sessions:
    """Opens both sessions, and has those of before ended `beside` whatever is done next."""

    def __init__(self, read_settings: Callable[[], XapiSettings],
                 put: Callable[[SessionOpened], None], *,
                 beside: Callable[[Steps[None]], Any],
                 note_call: Optional[NoteCall] = None) -> None:
        self._read_settings = read_settings
        self._put = put
        self._beside = beside
        self._note_call = note_call
        self._told: List[_Open] = []
        self._opening: List[_Open] = []
        """Those that are open and not yet told."""
        self._failures = 0

    def open(self) -> Steps[Client]:
        """Open both; the client of the long poll is returned, the other told in a message."""
        settings = self._read_settings()
        stream = Client(settings, timeout_seconds=POLL_TIMEOUT_SECONDS, note_call=self._note_call)
        calls = Client(settings, note_call=self._note_call)
        try:
            yield from self._log_in(calls, settings)
            identity = yield from self._read_identity(calls)
            yield from self._log_in(stream, settings)
            if settings is not self._read_settings():
                raise XapiUnreachable('the configuration changed meanwhile')
        except XapiError:
            yield from _give_back(calls, stream)
            del self._opening[:]
            raise
        former, self._told, self._opening = self._told, self._opening, []
        calls.close()
        self._beside(_end(former))
        is_local = settings.address.scheme == 'unix'
        self._put(SessionOpened(decide_role(identity, is_local=is_local), str(calls.handle),
                                calls.speaks_json))
        return stream

    def _read_identity(self, client: Client) -> Steps[Identity]:
        """While XAPI starts its answers come and go; what fails again and again is done without."""
        try:
            identity = yield from client.read_identity(
                is_forgiving=self._failures >= _PATIENCE)
        except SessionLost:
            raise
        except XapiError:
            self._failures += 1
            raise
        self._failures = 0 if identity.is_certain else _PATIENCE
        return identity

    def log_out(self) -> None:
        """Give both back, unless XAPI does not answer; waits for it."""
        run(_end(self._told))
        run(_end(self._opening))  # perhaps at another XAPI, which answers

    def _log_in(self, client: Client, settings: XapiSettings) -> Steps[None]:
        yield from client.login()
        self._opening.append(_Open(settings, str(client.handle), client.speaks_json))


def _end(sessions: Iterable[_Open]) -> Steps[None]:
    """Give them back where they were opened, as long as XAPI answers there."""
    for session in sessions:
        client = Client(session.settings, handle=session.handle,
                        timeout_seconds=LOGOUT_TIMEOUT_SECONDS, speaks_json=session.speaks_json)
        if not (yield from client.logout()):
            return


def _give_back(calls: Client, stream: Client) -> Steps[None]:
    """End both, as far as they were opened, over the connection that does not wait for long."""
    if stream.handle is not None:
        with contextlib.suppress(XapiError):
            yield from calls.end_session(stream.handle)
    stream.close()
    yield from calls.logout()
