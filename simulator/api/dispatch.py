"""From the body of a request to the body of an answer: sessions, emergencies, the log of calls."""

import time
from collections import deque
from typing import Any, Callable, Deque, List, NamedTuple, Optional, Sequence, Tuple

from simulator.api.methods import SESSIONLESS, Caller, Methods
from simulator.api.pool_methods import host_is_slave
from simulator.state.pool_state import State
from simulator.wire import rpc
from simulator.wire.failures import Failure, count_mismatch, method_unknown

CALLS_KEPT = 200000


class Call(NamedTuple):
    """One call that arrived."""
    method: str
    params: List[Any]
    session: str
    originator: str
    user_agent: str
    at: float
    transport: str
    host: str


class Incoming(NamedTuple):
    """A parsed request, in either protocol."""
    method: str
    params: List[Any]
    json: Optional[rpc.JsonCall]

    @property
    def ref(self) -> Optional[str]:
        """Return the first reference among the parameters, the session left out."""
        for param in self.params[0 if self.method in SESSIONLESS else 1:]:
            if isinstance(param, str) and param.startswith('OpaqueRef:'):
                return param
        return None


class Dispatcher:
    """Carries out what arrives."""

    def __init__(self, state: State, methods: Methods, host: Optional[str] = None,
                 calls: Optional[Deque[Call]] = None) -> None:
        self._state = state
        self._methods = methods
        self._host = host
        self.calls: Deque[Call] = deque(maxlen=CALLS_KEPT) if calls is None else calls

    @property
    def host(self) -> str:
        """Return the host whose xapi answers here."""
        return self._host or self._state.this_host

    def parse(self, path: str, body: bytes) -> Incoming:
        """Read a request: /jsonrpc is JSON-RPC, any other path is XML-RPC."""
        if path.split('?')[0].rstrip('/') == '/jsonrpc':
            call = rpc.parse_json_call(body)
            return Incoming(self._methods.canonical(call.method), call.params, call)
        method, params = rpc.parse_xml_call(body)
        return Incoming(self._methods.canonical(method), params, None)

    def note(self, incoming: Incoming, caller: Caller) -> None:
        """Write a call into the list of calls."""
        session, params = _split(incoming.method, incoming.params)
        originator = self._originator(incoming, session)
        self.calls.append(Call(incoming.method, list(params), session, originator,
                               caller.user_agent, time.monotonic(), caller.transport,
                               self.host))
        self._state.tell()

    def answer(self, incoming: Incoming, caller: Caller) -> bytes:
        """Carry a call out and render what came of it."""
        if self._state.emergency is not None:
            return self.refuse(incoming, self._state.emergency)
        asking = caller._replace(host=self.host)
        return self.render(incoming, lambda: self._call(incoming, asking))

    def render(self, incoming: Incoming, act: Callable[[], Any]) -> bytes:
        """Render what comes of a call."""
        try:
            value = act()
        except Failure as failure:
            return self.fail(incoming, failure.description)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            # As in XAPI: the code that stumbles over a parameter of the wrong type finds it out.
            return self.fail(incoming, ['INTERNAL_ERROR', repr(error)])
        if incoming.method == 'system.listMethods' and incoming.json is None:
            return rpc.render_xml_bare(value)
        if incoming.json is not None:
            return rpc.render_json_answer(incoming.json, value)
        return rpc.render_xml_answer(value)

    def fail(self, incoming: Incoming, description: Sequence[str]) -> bytes:
        """Render a failure in the protocol of the call; what was forwarded is not translated."""
        if incoming.json is not None and self.host != self._state.master:
            return rpc.render_json_untranslated(incoming.json, description)
        if incoming.json is not None:
            return rpc.render_json_failure(incoming.json, description)
        return rpc.render_xml_failure(description)

    def _call(self, incoming: Incoming, caller: Caller) -> Any:
        name, params = incoming.method, incoming.params
        if name == 'system.listMethods':
            return self._methods.list_names()
        if name in SESSIONLESS or name.startswith('sim.'):
            return self._methods.call(caller, name, params)
        if not params:
            # Without a parameter there is no session to check, so the name is looked up first.
            found = self._methods.resolve(name.replace('Async.', '', 1))
            raise method_unknown(name) if found is None else \
                count_mismatch(name, found.mandatory, -1)
        fields = self._state.sessions.check(params[0])
        if caller.transport == 'tcp' and self.host != self._state.master:
            raise host_is_slave(self._state)
        caller = caller._replace(session=params[0], originator=fields['originator'],
                                 user_name=fields['auth_user_name'],
                                 role=self._state.sessions.find_role(params[0]))
        return self._methods.call(caller, name, params[1:])

    def refuse(self, incoming: Incoming, description: Sequence[str]) -> bytes:
        """Render what a xapi in an emergency answers to every call."""
        if incoming.json is not None and incoming.json.version == 2:
            call = incoming.json._replace(identity=0)
            return rpc.render_json_untranslated(call, description)
        if incoming.json is not None:
            return rpc.render_json_failure(incoming.json, description)
        return rpc.render_xml_failure(description)

    def _originator(self, incoming: Incoming, session: str) -> str:
        if incoming.method in SESSIONLESS:
            return str(incoming.params[3]) if len(incoming.params) > 3 else ''
        with self._state.database.lock:
            row = self._state.database.find('session', session)
            return row.fields['originator'] if row is not None else ''


def _split(method: str, params: Sequence[Any]) -> Tuple[str, Sequence[Any]]:
    if method in SESSIONLESS or method.startswith('sim.') or not params:
        return '', params
    return str(params[0]), params[1:]
