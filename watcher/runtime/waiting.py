"""Waiting that a wall clock which jumps does not prolong.

Before Python 3.10 the standard library's queues and events wait until a time on the wall clock:
when it is set back an hour during a wait of half a second, the wait takes an hour. The kernel's
`poll` counts time as it passes. So the inbox and the stop flag wait on a pipe.
"""

import collections
import math
import os
import select
from typing import Any, Deque, List, Optional

# What a pipe holds; less than that from one read, and it is empty.
_PIPE_BYTES = 65536


class StopFlag:
    """Set once, from any thread or a signal handler; a waiting thread wakes at once."""

    def __init__(self) -> None:
        self._is_set = False
        self._pipe = _Pipe()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it for good."""
        self._is_set = True
        self._pipe.wake()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is set, or for so long; whether it is set."""
        if not self._is_set:
            self._pipe.wait(timeout_seconds)
        return self._is_set


class Inbox:
    """Messages from any thread to the main thread."""

    def __init__(self) -> None:
        self._messages: Deque[Any] = collections.deque()
        self._pipe = _Pipe()
        self._descriptor: Optional[int] = None
        self._message: Any = None

    def put(self, message: Any) -> None:
        """Leave a message."""
        self._messages.append(message)
        self._pipe.wake()

    def wake(self) -> None:
        """Have `take` return now; all that a signal handler may do."""
        self._pipe.wake()

    def listen(self, descriptor: Optional[int], message: Any) -> None:
        """Have `take` give this message whenever a descriptor (None: none) can be read."""
        if descriptor != self._descriptor:
            self._pipe.exchange(self._descriptor, descriptor)
        self._descriptor, self._message = descriptor, message

    def take(self, timeout_seconds: float) -> List[Any]:
        """All messages that are there; when there is none, wait for the first for so long."""
        if not self._messages and self._descriptor in self._pipe.wait(timeout_seconds):
            self._messages.append(self._message)
        # Emptied first: what is put from here on leaves a byte for the next call.
        self._pipe.drain()
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken


class _Pipe:
    """A pipe of which only matters whether there is something in it."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._poller = select.poll()
        self._poller.register(self._reader, select.POLLIN)

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def wake(self) -> None:
        try:
            os.write(self._writer, b'\0')
        except BlockingIOError:
            pass  # full: the waiting thread wakes in any case

    def exchange(self, before: Optional[int], descriptor: Optional[int]) -> None:
        """Wait for another descriptor too, and no more for the one before."""
        if before is not None:
            self._poller.unregister(before)
        if descriptor is not None:
            self._poller.register(descriptor, select.POLLIN)

    def wait(self, timeout_seconds: float) -> List[int]:
        """Wait; what can be read."""
        return [descriptor for descriptor, _event in
                self._poller.poll(max(0, math.ceil(timeout_seconds * 1000)))]

    def drain(self) -> None:
        try:
            while len(os.read(self._reader, _PIPE_BYTES)) == _PIPE_BYTES:
                continue
        except BlockingIOError:
            return
