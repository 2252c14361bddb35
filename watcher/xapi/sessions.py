"""The two sessions with XAPI: one for the long poll, one for everything else.

Opened together by the stream thread, and given back together. XAPI keeps a session that nobody
gives back for a day, and 500 of them for one originator.
"""

import contextlib
from typing import Callable, List, NamedTuple, Optional

from watcher.config.settings import XapiSettings
from watcher.errors import SessionLost, XapiError, XapiUnreachable
from watcher.xapi.client import LOGOUT_TIMEOUT_SECONDS, POLL_TIMEOUT_SECONDS, Client, NoteCall
from watcher.xapi.identity import Identity
from watcher.xapi.role import Role, decide_role

# Logins after which XAPI did not say who it is, in a row.
_PATIENCE = 3


class SessionOpened(NamedTuple):
    """Both sessions are open, and XAPI has said who it is."""
    role: Role
    handle: str
    """The session for calls."""
    speaks_json: bool = False


class Sessions:
    """Opens both sessions, and ends those of before."""

    def __init__(self, read_settings: Callable[[], XapiSettings],
                 put: Callable[[SessionOpened], None],
                 is_given_up: Callable[[], bool],
                 note_call: Optional[NoteCall] = None) -> None:
        self._read_settings = read_settings
        self._put = put
        self._is_given_up = is_given_up
        self._note_call = note_call
        self._handles: List[str] = []
        self._speaks_json = False
        self._failures = 0

    def open(self) -> Client:
        """Open both; the client of the long poll is returned, the other told in a message."""
        settings = self._read_settings()
        stream = Client(settings, timeout_seconds=POLL_TIMEOUT_SECONDS, note_call=self._note_call)
        calls = Client(settings, is_given_up=self._is_given_up, note_call=self._note_call)
        try:
            calls.login()
            identity = self._read_identity(calls)
            stream.login()
            if settings is not self._read_settings():
                raise XapiUnreachable('the configuration changed meanwhile')
        except XapiError:
            _give_back(calls, stream)
            raise
        self._end_former(calls)
        self._handles[:] = [str(calls.handle), str(stream.handle)]
        self._speaks_json = calls.speaks_json
        calls.close()
        is_local = settings.address.scheme == 'unix'
        self._put(SessionOpened(decide_role(identity, is_local=is_local), str(calls.handle),
                                calls.speaks_json))
        return stream

    def _read_identity(self, client: Client) -> Identity:
        """While XAPI starts its answers come and go; what fails again and again is done without."""
        try:
            identity = client.read_identity(is_forgiving=self._failures >= _PATIENCE)
        except SessionLost:
            raise
        except XapiError:
            self._failures += 1
            raise
        self._failures = 0 if identity.is_certain else _PATIENCE
        return identity

    def log_out(self) -> None:
        """Give both back, unless XAPI does not answer."""
        for handle in self._handles:
            client = Client(self._read_settings(), handle=handle,
                            timeout_seconds=LOGOUT_TIMEOUT_SECONDS,
                            speaks_json=self._speaks_json)
            if not client.logout():
                return

    def _end_former(self, client: Client) -> None:
        for handle in self._handles:
            try:
                client.end_session(handle)
            except XapiError:
                return


def _give_back(calls: Client, stream: Client) -> None:
    """End both, as far as they were opened, over the connection that does not wait for long."""
    if stream.handle is not None:
        with contextlib.suppress(XapiError):
            calls.end_session(stream.handle)
    stream.close()
    calls.logout()
