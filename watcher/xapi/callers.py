"""Runs jobs that call XAPI, each over a connection of its own in the session for calls.

The Watcher submits one job for one VM at a time; its result comes back as a message in the inbox.
So there is one decider, and a call that hangs delays only its own VM.
"""

from typing import Any, Callable, List, Optional

from watcher.config.settings import XapiSettings
from watcher.loop.loop import JobQueue, Loop, Urgency
from watcher.loop.steps import Steps
from watcher.xapi.client import Client
from watcher.xapi.rpc import NoteCall

# Eight that stage and four that mirror may all hang at once: four are left for VMs that start.
# XAPI serves each connection with a thread of its own.
CALLERS = 16
# How long all else may be put off while VMs start and wait for a connection.
URGENT_SECONDS = 0.2


class Callers:
    """Up to `size` connections, opened when a job needs one."""

    def __init__(self, name: str, size: int, loop: Loop, put: Callable[[Any], None],
                 note_call: Optional[NoteCall] = None) -> None:
        self._queue = JobQueue(name, size, loop, put)
        self._note_call = note_call
        self._idle: List[Client] = []
        self._build: Callable[[], Client] = lambda: Client(XapiSettings())
        self._session = 0
        self._handle: Optional[str] = None

    def begin(self, settings: XapiSettings, handle: str, speaks_json: bool = False) -> None:
        """Use a new session; connections of the one before are closed as their jobs end."""
        self._session += 1
        self._handle = handle
        self._build = lambda: Client(settings, handle=handle, note_call=self._note_call,
                                     speaks_json=speaks_json)
        for client in self._idle:
            client.close()
        del self._idle[:]

    def is_current(self, handle: Optional[str]) -> bool:
        """Whether this is the current session."""
        return self._handle is not None and self._handle == handle

    def submit(self, job: Callable[[Client], Steps[Any]], urgency: int = Urgency.STAGE) -> None:
        """Run a job; the message that it returns goes into the inbox."""
        self._queue.submit(lambda: self._run(job), urgency)

    @property
    def is_urgent_waiting(self) -> bool:
        """Whether a job for a starting VM waits for a connection."""
        return self._queue.is_urgent_waiting

    def _run(self, job: Callable[[Client], Steps[Any]]) -> Steps[Any]:
        session = self._session
        client = self._idle.pop() if self._idle else self._build()
        try:
            return (yield from job(client))
        finally:
            if session == self._session:
                self._idle.append(client)
            else:
                client.close()
