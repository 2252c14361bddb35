"""XAPI as the watcher uses it; the only module that knows `XenAPI`.

A `Client` is one session over one connection; each of its calls is steps (`loop/steps.py`).
Nothing else of XAPI's errors leaves this module than the classes of `errors.py`: who answered comes
first (nobody, XAPI, or something that is not the protocol). `XenAPI.Session` only writes requests
here, since it would wait for the answer; and by their wire names, since by its own way it logs in
again silently and repeats the call, so that a restarted XAPI would be asked with an old token
(tried, docs/reference/wire.md).

Reads go by JSON-RPC where XAPI offers it, which costs a twentieth of XML-RPC to decode; and all
else too, once it is known to be offered: a write is never the first to try, a login may be. Where
all goes by JSON, `XenAPI` and XML-RPC are never imported.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from watcher.config.settings import XapiSettings
from watcher.errors import (NoAnswer, NotTheMaster, SessionLost, StreamLost, VmVanished, XapiError,
                            XapiFailure, XapiNonsense, XapiUnreachable)
from watcher.loop.steps import FOREVER, Steps
from watcher.version import VERSION
from watcher.vm.record import ARGS_KEY, PoolRecord, VmRecord
from watcher.xapi import json_stream
from watcher.xapi.connection import Refused, Transport
from watcher.xapi.http1 import Disconnected, NotHttp
from watcher.xapi.identity import Identity, read_identity
from watcher.xapi.password import describe_oddity, read_password
from watcher.xapi.record_parser import (NULL_REF, list_records, parse_pool, parse_vm, reduce_event,
                                        reduce_record)

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

_JSON_PATH, _XML_PATH = '/jsonrpc', '/'
_LOGIN = 'session.login_with_password'
# With these JSON-RPC may be tried first: reads, and the login, since a session that nobody knows of
# does no harm. What is large is decoded part by part, and reduced at once to what the watcher
# needs.
_JSON_FIRST = {
    _LOGIN: None,
    'session.get_this_host': None,
    'event.from': json_stream.list_parts('events', reduce_event),
    'VM.get_all_records': json_stream.map_parts(reduce_record),
    'VM.get_record': None,
}
# What an XAPI without JSON-RPC does; a time-out is not among them: it would be waited for twice.
_NO_JSON_HERE = (Refused, XapiNonsense, ConnectionResetError, BrokenPipeError)
_FAILURES = {
    'SESSION_INVALID': SessionLost,
    'EVENTS_LOST': StreamLost,
    'EVENT_FROM_TOKEN_PARSE_FAILURE': StreamLost,
    'HOST_IS_SLAVE': NotTheMaster,
}

# Told of each call: the method, and the class of the error or nothing.
NoteCall = Callable[[str, str], None]


class Client:
    """One session with XAPI over one connection, for one call at a time."""

    def __init__(self, settings: XapiSettings, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS,
                 handle: Optional[str] = None, ends_at: float = FOREVER,
                 note_call: Optional[NoteCall] = None, speaks_json: bool = False) -> None:
        self.settings = settings
        self._note_call = note_call
        self._timeout_seconds = timeout_seconds
        self._transport = Transport(settings.address, timeout_seconds=timeout_seconds,
                                    verify_tls=settings.verify_tls, ends_at=ends_at)
        self._envelope: Optional[_Envelope] = None
        self.speaks_json = speaks_json
        """Whether XAPI is known to offer JSON-RPC."""
        self._is_json_refused = False
        self.handle = handle

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
        handle = yield from self._call(_LOGIN, *params)
        if not isinstance(handle, str) or not handle or handle == NULL_REF:
            raise XapiNonsense(f'{_LOGIN} did not answer with a session')
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
        return (yield from self._call(method, self.handle, *params))

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
            yield from self._call('session.logout', handle)

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

    def _call(self, method: str, *params: Any) -> Steps[Any]:
        if self._note_call is None:
            return (yield from self._call_unnoted(method, *params))
        kind = ''
        try:
            return (yield from self._call_unnoted(method, *params))
        except XapiError as error:
            kind = type(error).__name__
            raise
        finally:
            self._note_call(method, kind)

    def _call_unnoted(self, method: str, *params: Any) -> Steps[Any]:
        with _without_secrets(method, params), _translated(method):
            if self.speaks_json or (method in _JSON_FIRST and not self._is_json_refused):
                answer = yield from self._call_json(method, params)
                if answer is not None:
                    return _parse_json(method, answer)
            return _parse_envelope(method, (yield from self._call_xml(method, params)))

    def _call_xml(self, method: str, params: Tuple[Any, ...]) -> Steps[Any]:
        """The answer by XML-RPC, which is imported when it is spoken."""
        import xml.parsers.expat
        import xmlrpc.client
        if self._envelope is None:
            self._envelope = _Envelope()
        try:
            return (yield from self._transport.post_xml(
                _XML_PATH, self._envelope.write(method, params)))
        except (xml.parsers.expat.ExpatError, xmlrpc.client.Fault,
                xmlrpc.client.ResponseError) as error:
            raise XapiNonsense(f'{method}: {error}') from error

    def _call_json(self, method: str, params: Tuple[Any, ...]) -> Steps[Any]:
        """The JSON-RPC answer; None when XAPI does not seem to speak it.

        From then on it is not tried again, unless all that failed was a login: while XAPI starts
        that may have other reasons. HTTP 500 can be its answer to what is no XML.
        """
        answer, is_certain = None, method != _LOGIN
        try:
            parts = _JSON_FIRST.get(method)
            answer = yield from self._transport.post_json(
                _JSON_PATH, method, params,
                lambda read: json_stream.decode(read, parts) if parts
                else json_stream.decode_whole(read))
        except _NO_JSON_HERE as error:
            if self.speaks_json:
                raise
            is_certain = is_certain or (isinstance(error, Refused) and not error.is_passing)
        if isinstance(answer, dict) and ('result' in answer or 'error' in answer):
            self.speaks_json = True
            return answer
        if self.speaks_json:
            raise XapiNonsense(f'{method}: not a JSON-RPC answer')
        self._is_json_refused = is_certain
        return None


class _Envelope:
    """XAPI's calls as XenAPI writes them: the transport of its session, which sends nothing."""

    def __init__(self) -> None:
        import XenAPI
        self._body = b''
        self._session = XenAPI.Session('http://localhost/', transport=self)

    def write(self, method: str, params: Tuple[Any, ...]) -> bytes:
        """The request for a call."""
        # By its wire name: XenAPI's own way would log in again and repeat the call.
        getattr(self._session, method)(*params)
        return self._body

    def request(self, _host: Any, _handler: str, body: bytes, verbose: bool = False) -> Any:
        """Keep what is to be sent; as XenAPI calls it."""
        self._body = body
        return ({},)


@contextlib.contextmanager
def _without_secrets(method: str, params: Sequence[Any]) -> Iterator[None]:
    """Keep a call's session, or its password, out of the text of its error (P31)."""
    try:
        yield
    except XapiError as error:
        found = params[1:2] if method == _LOGIN else (
            params[:2] if method.startswith('session.') else params[:1])
        error.hide([item for item in found if isinstance(item, str)])
        raise


@contextlib.contextmanager
def _translated(method: str) -> Iterator[None]:
    try:
        yield
    except (XapiUnreachable, XapiNonsense, XapiFailure):
        raise
    except UnicodeError as error:
        raise XapiNonsense(f'{method}: {error}') from error
    except Disconnected as error:
        raise NoAnswer(f'{method}: {error}') from error
    except (OSError, NotHttp) as error:
        raise XapiUnreachable(f'{method}: {_describe(error)}') from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError,
            RecursionError, EOFError, AttributeError, AssertionError) as error:
        # The decoders raise these on answers that only look like the protocol.
        raise XapiNonsense(f'{method}: {error!r}') from error


def _is_about_parameters(error: XapiFailure) -> bool:
    """XAPI's own code for it, or what another server says in words."""
    return error.code == 'MESSAGE_PARAMETER_COUNT_MISMATCH' or not error.code.isupper()


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parse_envelope(method: str, answer: Any) -> Any:
    if not isinstance(answer, dict) or 'Status' not in answer:
        raise XapiNonsense(f'{method}: an answer without a status')
    if answer['Status'] == 'Success' and 'Value' in answer:
        return answer['Value']
    raise _build_failure(method, answer.get('ErrorDescription'))


def _parse_json(method: str, answer: Mapping[str, Any]) -> Any:
    error = answer.get('error')
    if error is None:
        return answer.get('result')
    if isinstance(error, dict):
        data = error.get('data')
        error = [error.get('message')] + (data if isinstance(data, list) else [])
    # A bare array comes from a member that forwards, and in emergency mode.
    raise _build_failure(method, error)


def _build_failure(method: str, details: Any) -> Exception:
    if not isinstance(details, list) or not details or not isinstance(details[0], str):
        return XapiNonsense(f'{method}: a failure without a code')
    code, params = details[0], tuple(str(item) for item in details[1:])
    if code == 'HANDLE_INVALID' and params[:1] == ('VM',):
        return VmVanished(code, params)
    return _FAILURES.get(code, XapiFailure)(code, params)
