"""XAPI as the watcher uses it: one session over one connection.

Each call of a `Client` is steps (`loop/steps.py`), and `rpc.py` carries it out. Nothing else of
XAPI's errors leaves here than the classes of `errors.py`.
"""

import contextlib
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from watcher.config.settings import XapiSettings
from watcher.errors import NoAnswer, SessionLost, XapiFailure, XapiNonsense, XapiUnreachable
from watcher.loop.steps import FOREVER, Steps
from watcher.version import VERSION
from watcher.vm.record import ARGS_KEY, PoolRecord, VmRecord
from watcher.xapi.connection import Transport
from watcher.xapi.identity import Identity, read_identity
from watcher.xapi.password import describe_oddity, read_password
from watcher.xapi.record_parser import NULL_REF, list_records, parse_pool, parse_vm
from watcher.xapi.rpc import LOGIN, NoteCall, Rpc

ORIGINATOR = 'vgpu-watcher'
# The server's part of the long poll, and ours on top: a connection that neither answers nor
# closes is given up after 40 s at most (P14).
POLL_SECONDS = 30.0
POLL_TIMEOUT_SECONDS = 38.0
# Asked with the empty token XAPI answers at once, but where there is nothing at all to tell.
FIRST_POLL_SECONDS = 1.0
CALL_TIMEOUT_SECONDS = 15.0
LOGOUT_TIMEOUT_SECONDS = 0.7
# All records of a large pool take longer than any other answer; at most as long as the long poll.
_BULK_FACTOR = POLL_TIMEOUT_SECONDS / CALL_TIMEOUT_SECONDS
# A map that was read longer ago is not written back: another program may have changed it (P5).
MAP_FRESH_SECONDS = 0.02
# Beside the VMs the resource pool: its record names the master, and holds the mirror.
CLASSES = ('vm', 'pool')


class Client:
    """One session with XAPI over one connection, for one call at a time."""

    def __init__(self, settings: XapiSettings, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS,
                 handle: Optional[str] = None, ends_at: float = FOREVER,
                 note_call: Optional[NoteCall] = None, speaks_json: bool = False) -> None:
        self.settings = settings
        self._timeout_seconds = timeout_seconds
        self._transport = Transport(settings.address, timeout_seconds=timeout_seconds,
                                    verify_tls=settings.verify_tls, ends_at=ends_at)
        self.rpc = Rpc(self._transport, note_call=note_call, speaks_json=speaks_json)
        self.handle = handle

    @property
    def speaks_json(self) -> bool:
        """Whether XAPI is known to offer JSON-RPC."""
        return self.rpc.speaks_json

    def login(self) -> Steps[None]:
        """Open a session. Any failure here can be the start-up of XAPI: all are transient.

        An XAPI that does not take our version and name gets name and password only.
        """
        password = read_password(self.settings)
        credentials = (self.settings.username, password)
        try:
            self.handle = yield from self._log_in(*credentials, VERSION, ORIGINATOR)
        except (XapiFailure, XapiNonsense) as error:
            if isinstance(error, XapiFailure) and not _is_about_parameters(error):
                self._explain(error, password)
                raise
            self.handle = yield from self._log_in(*credentials)

    def _log_in(self, *params: str) -> Steps[str]:
        """The session; while XAPI ends or starts, a login may be answered without one."""
        handle = yield from self.rpc.call(LOGIN, *params)
        if not isinstance(handle, str) or not handle or handle == NULL_REF:
            raise XapiNonsense(f'{LOGIN} did not answer with a session')
        return handle

    def _explain(self, error: XapiFailure, password: str) -> None:
        """Raise a refusal of the password again, with what is odd about its file."""
        oddity = describe_oddity(password, self.settings)
        if error.code == 'SESSION_AUTHENTICATION_FAILED' and oddity:
            raise XapiFailure(error.code, error.params + (oddity,)) from error

    def logout(self) -> Steps[bool]:
        """Close the session if XAPI can be reached; False, and no error, when it cannot."""
        if self.handle is None:
            self.close()
            return True
        try:
            yield from self.call('session.logout')
            return True
        except XapiFailure:
            return True  # the session was gone already
        except (XapiUnreachable, XapiNonsense):
            return False
        finally:
            self.handle = None
            self.close()

    def close(self) -> None:
        """Close the connection; the session stays."""
        self._transport.close()

    def call(self, method: str, *params: Any) -> Steps[Any]:
        """Call a method with the session in front; raise what `errors.py` names."""
        if not self.handle:
            raise SessionLost('SESSION_INVALID', ('no session',))
        return (yield from self.rpc.call(method, self.handle, *params))

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Inside the block no call takes longer than so many seconds, all of it together."""
        before = self._transport.limit_seconds
        self._transport.limit_seconds = seconds if before is None else min(before, seconds)
        try:
            yield
        finally:
            self._transport.limit_seconds = before

    def end_session(self, handle: str) -> Steps[None]:
        """Give back another session than this client's own; it may be gone already."""
        with contextlib.suppress(XapiFailure):
            yield from self.rpc.call('session.logout', handle)

    def event_from(self, token: str, timeout_seconds: Optional[float] = None,
                   classes: Tuple[str, ...] = CLASSES) -> Steps[Any]:
        """The long poll, for `parse_batch`. The time goes over the wire as a float."""
        if timeout_seconds is None:
            timeout_seconds = POLL_SECONDS if token else FIRST_POLL_SECONDS
        return (yield from self.call('event.from', list(classes), token, float(timeout_seconds)))

    def read_vm(self, ref: str) -> Steps[VmRecord]:
        """Read one VM record as it is now."""
        return parse_vm(ref, (yield from self.call('VM.get_record', ref)))

    def read_platform(self, ref: str) -> Steps[Tuple[VmRecord, Dict[str, str]]]:
        """Read one VM record as it is now, and its whole platform map."""
        raw = yield from self.call('VM.get_record', ref)
        return parse_vm(ref, raw), dict(raw['platform'])

    def set_platform(self, ref: str, platform: Mapping[str, str]) -> Steps[None]:
        """Write the whole platform map, which `read_platform` has read immediately before.

        AnswerTooOld, and nothing is sent, when that answer is older than 20 ms.
        """
        self._transport.freshness_seconds = MAP_FRESH_SECONDS
        try:
            yield from self.call('VM.set_platform', ref, dict(platform))
        finally:
            self._transport.freshness_seconds = None

    def read_vm_refs(self) -> Steps[Tuple[str, ...]]:
        """The refs of all rows of the VM table."""
        return (yield from self.read_refs('VM.get_all'))

    def read_vms(self) -> Steps[Dict[str, Any]]:
        """All VM records in one call, for `parse_records`.

        Where XAPI does not have it, or fails to carry it out, as the events of an empty token:
        what the stream rests on works.
        """
        with self.limited(self._timeout_seconds * _BULK_FACTOR):
            try:
                records = yield from self.call('VM.get_all_records')
                if isinstance(records, dict):
                    return records
            except SessionLost:
                raise
            except (XapiFailure, XapiNonsense, NoAnswer):
                pass
            return list_records((yield from self.event_from('', 0.0, ('vm',))))

    def add_args(self, ref: str, value: str) -> Steps[None]:
        """Set the absent key; MAP_DUPLICATE_KEY when it is there, even with the same value."""
        yield from self.call('VM.add_to_platform', ref, ARGS_KEY, value)

    def remove_args(self, ref: str) -> Steps[None]:
        """Remove the key; nothing happens when it is absent."""
        yield from self.call('VM.remove_from_platform', ref, ARGS_KEY)

    def remove_block(self, ref: str, operation: str) -> Steps[None]:
        """Lift a block; nothing happens when there is none."""
        yield from self.call('VM.remove_from_blocked_operations', ref, operation)

    def add_to_other_config(self, table: str, ref: str, key: str, text: str) -> Steps[None]:
        """Add a key to a VM's or a pool's other_config; MAP_DUPLICATE_KEY when it is there."""
        yield from self.call(f'{table}.add_to_other_config', ref, key, text)

    def remove_from_other_config(self, table: str, ref: str, key: str) -> Steps[None]:
        """Remove a key from other_config; nothing happens when it is absent."""
        yield from self.call(f'{table}.remove_from_other_config', ref, key)

    def read_pool_ref(self) -> Steps[str]:
        """The ref of the resource pool."""
        refs = yield from self.read_refs('pool.get_all')
        if not refs:
            raise XapiNonsense('XAPI knows no resource pool yet')
        return refs[0]

    def read_pool(self, ref: str) -> Steps[Optional[PoolRecord]]:
        """Read the resource pool's record as it is now; None when it is an odd one."""
        return parse_pool(ref, (yield from self.call('pool.get_record', ref)))

    def read_fresh_token(self) -> Steps[str]:
        """A token after everything written so far, without reading any record.

        event.inject touches the pool's row and changes no field; xapi's own events use it so.
        """
        pool = yield from self.read_pool_ref()
        return str((yield from self.call('event.inject', 'pool', pool)))

    def read_identity(self, *, is_forgiving: bool = False) -> Steps[Identity]:
        """Which host answers, which is master, and in which version."""
        return (yield from read_identity(self.call, str(self.handle), is_forgiving=is_forgiving))

    def read_refs(self, method: str) -> Steps[Tuple[str, ...]]:
        """What a method answers that lists the refs of a class."""
        refs = yield from self.call(method)
        if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
            raise XapiNonsense(f'{method} did not answer with refs')
        return tuple(refs)


def _is_about_parameters(error: XapiFailure) -> bool:
    """XAPI's own code for it, or what another server says in words."""
    return error.code == 'MESSAGE_PARAMETER_COUNT_MISMATCH' or not error.code.isupper()
