"""XAPI's methods by JSON-RPC or XML-RPC; the only module that knows `XenAPI`.

An error says first who answered: no one, XAPI, or something that is not the protocol. Nothing else
leaves this module than the classes of `errors.py` for these. `XenAPI.Session` only writes requests
here, since it would wait for the answer; and by their wire names, since by its own way it logs in
again silently and repeats the call, so that a restarted XAPI would be asked with an old token
(tried, docs/reference/wire.md).

Reads go by JSON-RPC where XAPI offers it, which costs a twentieth of XML-RPC to decode; and all
else too, once it is known to be offered: a write is never the first to try, a login may be. Where
all goes by JSON, `XenAPI` and XML-RPC are never imported.
"""

import contextlib
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Tuple

from watcher.errors import (NoAnswer, NotTheMaster, SessionLost, StreamLost, VmVanished, XapiError,
                            XapiFailure, XapiNonsense, XapiUnreachable)
from watcher.loop.steps import Steps
from watcher.xapi import json_stream
from watcher.xapi.connection import Refused, Transport
from watcher.xapi.http1 import Disconnected, NotHttp
from watcher.xapi.record_parser import reduce_event, reduce_record

_JSON_PATH, _XML_PATH = '/jsonrpc', '/'
LOGIN = 'session.login_with_password'
# With these JSON-RPC may be tried first: reads, and the login, since a session that is not known
# does no harm. What is large is decoded part by part, and reduced at once to what the watcher
# needs.
_JSON_FIRST = {
    LOGIN: None,
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


class Rpc:
    """Calls methods over one connection, in the protocol that XAPI was found to speak."""

    def __init__(self, transport: Transport, *, note_call: Optional[NoteCall] = None,
                 speaks_json: bool = False) -> None:
        self._transport = transport
        self._note_call = note_call
        self._envelope: Optional[_Envelope] = None
        self.speaks_json = speaks_json
        """Whether XAPI is known to offer JSON-RPC."""
        self._is_json_refused = False

    def call(self, method: str, *params: Any) -> Steps[Any]:
        """Carry out a call, and give its answer; raise what `errors.py` names."""
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
        with without_secrets(method, params), _translated(method):
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
        answer, is_certain = None, method != LOGIN
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
def without_secrets(method: str, params: Sequence[Any]) -> Iterator[None]:
    """Keep a call's session, or its password, out of the text of its error (P31)."""
    try:
        yield
    except XapiError as error:
        found = params[1:2] if method == LOGIN else (
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
        raise XapiUnreachable(f'{method}: {str(error) or type(error).__name__}') from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError,
            RecursionError, EOFError, AttributeError, AssertionError) as error:
        # The decoders raise these on answers that only look like the protocol.
        raise XapiNonsense(f'{method}: {error!r}') from error


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
