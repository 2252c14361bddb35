"""What a host answers by itself, also when it has no master: the emergency calls.

They have sessions of their own, which the pool's database does not know.
"""

from typing import Any, Callable, Dict, Sequence

from simulator.hosts.node import Node
from simulator.wire.failures import Failure, method_unknown, session_invalid

LOCAL_LOGIN = 'session.slave_local_login_with_password'


class Emergencies:
    """The emergency calls of all hosts."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._sessions: Dict[str, Node] = {}
        self._calls: Dict[str, Callable[..., Any]] = {
            'session.local_logout': lambda node: None,
            'host.is_in_emergency_mode': lambda node: node.emergency is not None,
            'pool.is_slave': lambda node, host=None: not node.is_master,
            'pool.emergency_transition_to_master': self._become_master,
            'pool.emergency_reset_master': self._reset_master}

    def answers(self, node: Node, method: str) -> bool:
        """Ask whether a call is one of those that are never handed on."""
        return method == LOCAL_LOGIN or method in self._calls

    def call(self, node: Node, method: str, params: Sequence[Any]) -> Any:
        """Carry out an emergency call on the host that was asked."""
        if method == LOCAL_LOGIN:
            session = str(self._pool.state.names.ref())
            self._sessions[session] = node
            return session
        if not params or not self._is_known(node, params[0]):
            raise session_invalid(str(params[0]) if params else '')
        if method not in self._calls:
            raise method_unknown(method)
        return self._calls[method](node, *params[1:])

    def _is_known(self, node: Node, session: str) -> bool:
        if self._sessions.get(session) is node:
            return True
        return node.reign is not None and (
            node.reign.state.database.find('session', session) is not None)

    def _become_master(self, node: Node) -> None:
        self._pool.light_fuse(self._pool.take_over, node.ref)

    def _reset_master(self, node: Node, address: str) -> None:
        master = self._pool.find_address(address)
        if master is None:
            raise Failure('HOST_NAME_INVALID', ['not a host of this pool'])
        self._pool.light_fuse(self._pool.follow, node.ref, master)
