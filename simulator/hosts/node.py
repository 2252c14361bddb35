"""One host of a pool: whose member it is, what it remembers, what answers on its sockets.

A member hands everything but a login on to its master. When the master does not answer, a login
waits, other calls get HTTP 500 or hear nothing, and after a while xapi restarts and answers every
call with an error, until it has found its master again.
"""

import os
import threading
from collections import deque
from typing import Any, Deque, List, Optional, Tuple

from simulator.api.dispatch import CALLS_KEPT, Call, Dispatcher, Incoming
from simulator.api.listeners import Listener, Unanswered, open_tcp, open_unix
from simulator.api.methods import Caller, Methods
from simulator.database.rows import Copy
from simulator.state.pool_state import State
from simulator.wire.failures import XapiGone

LOGIN = 'session.login_with_password'


class Reign:
    """One master's time: its database, its methods, its node."""

    def __init__(self, state: State, methods: Methods, master: 'Node') -> None:
        self.state = state
        self.methods = methods
        self.master = master
        self.is_over = False

    def call(self, method: str, *params: Any) -> Any:
        """Call a method as root on this master, in process."""
        if self.is_over:
            raise XapiGone()
        return self.methods.call(Caller(), method, params)

    def end(self) -> None:
        """Cut off everything that is under way: no call writes into this database any more, and as
        it is it lies on the disk of the host that was master."""
        with self.state.database.lock:
            self.is_over = True
            self.state.end_waits()
            self.master.copy = self.state.database.copy()


class Node:
    """One host."""

    def __init__(self, ref: str, name: str, directory: str, version: str) -> None:
        self.ref = ref
        self.name = name
        self.directory = directory
        self.version = version
        self.socket_path = os.path.join(directory, 'xapi')
        self.root = os.path.join(directory, 'root')
        self.plugins_directory = os.path.join(self.root, 'etc/xapi.d/plugins')
        self.master_scripts_directory = os.path.join(self.root, 'etc/xensource/master.d')
        self.plugin_environment: Tuple[Tuple[str, str], ...] = ()
        self.listen: Optional[Tuple[str, int]] = None
        self.reign: Optional[Reign] = None
        self.copy: Optional[Copy] = None
        self.calls: Deque[Call] = deque(maxlen=CALLS_KEPT)
        self.is_up = True
        self.is_open = False
        self.emergency: Optional[List[str]] = None
        self.has_run_scripts = False
        self.life = threading.Event()
        self._listeners: List[Listener] = []
        self._sockets = threading.Lock()

    @property
    def is_master(self) -> bool:
        """Ask whether this host takes itself for the master."""
        return self.reign is not None and self.reign.master is self

    def open(self, pool: Any) -> None:
        """Begin a life of xapi: listen on this host's sockets, unless the pool ends meanwhile."""
        assert self.reign is not None
        with self._sockets:
            if pool.over.is_set():
                return
            self.life = threading.Event()
            self.is_open = True
            dispatcher = MemberDispatcher(pool, self)
            sockets = [(open_unix(self.socket_path), 'unix')]
            if self.listen is not None:
                sockets.append((open_tcp(*self.listen), 'tcp'))
            for opened, transport in sockets:
                listener = Listener(self.reign.state, dispatcher, opened, transport,
                                    pool.run_fault)
                self._listeners.append(listener)
                listener.start()

    def close(self) -> None:
        """End this life of xapi: the socket is gone, all connections are cut."""
        with self._sockets:
            self.is_open = False
            if os.path.lexists(self.socket_path):
                os.unlink(self.socket_path)
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self.life.set()


class MemberDispatcher(Dispatcher):
    """What xapi on one host does with a call: answer it, or hand it on."""

    def __init__(self, pool: Any, node: Node) -> None:
        assert node.reign is not None
        super().__init__(node.reign.state, node.reign.methods, node.ref, node.calls)
        self._pool = pool
        self._node = node
        self._reign = node.reign
        self._life = node.life

    def answer(self, incoming: Incoming, caller: Caller) -> bytes:
        """Carry a call out here or on the master, and render what came of it."""
        node = self._node
        if self._life.is_set():
            # Whatever held this call up outlasted the xapi that it was for.
            raise XapiGone()
        if incoming.method.startswith('sim.'):
            return super().answer(incoming, caller)
        if self._pool.emergencies.answers(node, incoming.method):
            return self.render(incoming, lambda: self._pool.emergencies.call(
                node, incoming.method, incoming.params))
        if node.emergency is not None:
            return self.refuse(incoming, node.emergency)
        if node.is_master or caller.transport == 'tcp':
            return super().answer(incoming, caller)
        return self._forward(incoming, caller)

    def _forward(self, incoming: Incoming, caller: Caller) -> bytes:
        self._reign.state.pause(self._pool.settings.forward_seconds)
        if not self._pool.reaches_master(self._node):
            self._suffer(incoming)
        try:
            answer = super().answer(incoming, caller)
        except XapiGone:
            self._suffer(incoming)
            raise
        if not self._pool.reaches_master(self._node):
            # It was carried out, and the answer is lost.
            self._suffer(incoming)
        return answer

    def _suffer(self, incoming: Incoming) -> None:
        """Do what a member does when its master does not answer."""
        if incoming.method == LOGIN or self._pool.settings.master_goes_silently:
            while not self._life.wait(0.05) and not self._pool.reaches_master(self._node):
                continue
            if self._life.is_set():
                raise XapiGone()
            if incoming.method == LOGIN:
                return
        raise Unanswered()
