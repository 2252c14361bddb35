"""Threads that wait for XAPI and for the host, so that the main thread never has to.

The main thread decides, and hands over one job for one VM at a time; what came of it returns as
a message in the inbox. So there is one decider and no lock of ours, and a call that hangs holds
up nothing but its own VM.
"""

import itertools
import queue
import threading
import time
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

from watcher.config.settings import XapiSettings
from watcher.errors import WatcherError
from watcher.runtime.logs import get_logger
from watcher.xapi.client import Client, NoteCall
from watcher.xapi.event_stream import ThreadDied

# Eight that stage and four that mirror may all hang at once: four are left for VMs that start.
# XAPI serves each connection with a thread of its own.
CALLERS = 16
# Reading what a host runs costs a process per boot, and patience where a domain is gone.
INSPECTORS = 4
# A caller that shall write for a starting VM waits for the interpreter until the main thread
# stands still: so it does, until that is under way, and no longer than this when XAPI hangs.
_GIVE_WAY_SECONDS = 0.0003
_GIVE_WAY_AT_MOST_SECONDS = 0.02


class Urgency:
    """Which job goes first."""
    RESCUE = 0
    STAGE = 1
    LATER = 2


class Workers:
    """A few threads, started when there is work for them, that run jobs by urgency."""

    def __init__(self, name: str, size: int, put: Callable[[Any], None]) -> None:
        self._name = name
        self._size = size
        self._put = put
        self._jobs: queue.PriorityQueue = queue.PriorityQueue()
        self._order = itertools.count()
        self.threads: Tuple[threading.Thread, ...] = ()
        self._unfinished = 0
        self._has_urgent = False

    def submit(self, job: Callable[[], Any], urgency: int = Urgency.STAGE) -> None:
        """Have a job run; the message it returns goes into the inbox. Main thread only."""
        self._jobs.put((urgency, next(self._order), job))
        self._unfinished += 1
        self._has_urgent = self._has_urgent or urgency == Urgency.RESCUE
        if len(self.threads) < min(self._size, self._unfinished):
            self.threads += (threading.Thread(
                target=self._work, daemon=True,
                name='%s-%d' % (self._name, len(self.threads) + 1)),)
            self.threads[-1].start()

    def give_way(self) -> None:
        """Let the jobs that were submitted for starting VMs begin. Main thread only."""
        if not self._has_urgent:
            return
        self._has_urgent = False
        deadline = time.monotonic() + _GIVE_WAY_AT_MOST_SECONDS
        time.sleep(_GIVE_WAY_SECONDS)
        while self._is_urgent_waiting() and time.monotonic() < deadline:
            time.sleep(_GIVE_WAY_SECONDS)

    def note_finished(self) -> None:
        """The main thread has taken a message of ours out of the inbox."""
        self._unfinished -= 1

    def _is_urgent_waiting(self) -> bool:
        with self._jobs.mutex:
            return bool(self._jobs.queue) and self._jobs.queue[0][0] == Urgency.RESCUE

    def _work(self) -> None:
        try:
            while True:
                self._put(self._jobs.get()[2]())
        except BaseException as error:  # the thread's body: the main thread ends the process
            self._put(ThreadDied(self._name, error))


class ThreadLost(WatcherError):
    """A thread of ours died of something unforeseen: the service manager starts us again."""


def check_threads(threads: Sequence[threading.Thread]) -> None:
    """Raise ThreadLost for one that could not even say that it died, for want of memory."""
    for thread in threads:
        if not thread.is_alive():
            get_logger().error('thread.died', thread=thread.name)
            raise ThreadLost('the thread %s died' % thread.name)


class _Session(NamedTuple):
    settings: XapiSettings
    handle: str
    speaks_json: bool


class Clients:
    """Gives each worker thread a connection of its own to the session for calls."""

    def __init__(self, is_given_up: Callable[[], bool],
                 note_call: Optional[NoteCall] = None) -> None:
        self._is_given_up = is_given_up
        self._note_call = note_call
        self._session: Optional[_Session] = None
        self._local = threading.local()

    def begin(self, settings: XapiSettings, handle: str, speaks_json: bool = False) -> None:
        """A new session: connections to the one before are dropped when next asked for."""
        self._session = _Session(settings, handle, speaks_json)

    def is_current(self, handle: Optional[str]) -> bool:
        """Whether this is the session of now."""
        return self._session is not None and self._session.handle == handle

    def current(self) -> Client:
        """The calling thread's client for the session of now."""
        session = self._session
        if getattr(self._local, 'session', self) is not session:
            self._replace(session)
        return self._local.client

    def _replace(self, session: Optional[_Session]) -> None:
        before = getattr(self._local, 'client', None)
        if before is not None:
            before.close()
        settings = session.settings if session else before.settings if before else XapiSettings()
        self._local.client = Client(settings, handle=session.handle if session else None,
                                    is_given_up=self._is_given_up, note_call=self._note_call,
                                    speaks_json=bool(session and session.speaks_json))
        self._local.session = session
