"""Sessions: who may call, until when, and whom a login evicts."""

import time
from typing import Any, Dict, List

from simulator.database.rows import Database
from simulator.database.schema import Names, build_session
from simulator.settings import Settings
from simulator.wire.failures import Failure, session_invalid


class Sessions:
    """The session table, with the times that decide about expiry and eviction."""

    def __init__(self, database: Database, names: Names, settings: Settings) -> None:
        self._database = database
        self._names = names
        self._settings = settings
        self._active: Dict[str, float] = {}
        self._roles: Dict[str, str] = {}

    def login(self, user: str, originator: str, *, superuser: bool, now: str, role: str,
              host: str) -> str:
        """Open a session; the least recently active one of the same originator may have to go."""
        with self._database.lock:
            self._make_room(originator)
            ref = self._names.ref()
            fields = build_session(self._names.uuid(), host, now, superuser, user, originator)
            if not superuser:
                # Of all permissions of a role, those that programs here ask about.
                fields['rbac_permissions'] = ['session.logout'] + (
                    ['host.call_plugin'] if role == 'pool-admin' else [])
            self._database.create('session', ref, fields)
            self._active[ref] = time.monotonic()
            self._roles[ref] = role
            return ref

    def check(self, ref: Any) -> Dict[str, Any]:
        """Return the fields of a session that is good; raise SESSION_INVALID otherwise."""
        with self._database.lock:
            row = self._database.find('session', ref) if isinstance(ref, str) else None
            if row is None:
                raise session_invalid(str(ref))
            idle = time.monotonic() - self._active[ref]
            if idle > self._settings.session_idle_seconds:
                self.end(ref)
                raise session_invalid(ref)
            self._active[ref] = time.monotonic()
            return row.fields

    def find_role(self, ref: str) -> str:
        """Return the role that a session was opened in."""
        return self._roles.get(ref, 'read-only')

    def end(self, ref: str) -> None:
        """Close a session, which wakes the calls blocked on it."""
        with self._database.lock:
            self._active.pop(ref, None)
            self._roles.pop(ref, None)
            if self._database.find('session', ref) is not None:
                self._database.destroy('session', ref)

    def end_all(self) -> None:
        """Forget every session without a trace, as a restart of xapi does."""
        self._active.clear()
        self._roles.clear()
        self._database.empty('session')

    def list(self) -> List[str]:
        """Return the references of all open sessions."""
        with self._database.lock:
            return list(self._database.tables['session'].rows)

    def _make_room(self, originator: str) -> None:
        peers = [row.ref for row in self._database.tables['session'].rows.values()
                 if row.fields['originator'] == originator]
        while len(peers) >= self._settings.sessions_per_originator:
            oldest = min(peers, key=lambda ref: self._active[ref])
            peers.remove(oldest)
            self.end(oldest)


def bad_password(user: str) -> Failure:
    """Build the answer to a wrong password."""
    return Failure('SESSION_AUTHENTICATION_FAILED', [user, 'Authentication failure'])
