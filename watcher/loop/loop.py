"""The daemon's one thread: runs steps side by side, each as far as it gets without waiting.

Only `turn` waits. Decision 15 lists the few calls that block all the same.
"""

import collections
import contextlib
import heapq
import itertools
import os
import select
import time
from typing import Any, Callable, Deque, Dict, List, Optional, Set, Tuple

from watcher.errors import WatcherError
from watcher.loop.steps import READ, Steps, Wait, count_milliseconds
from watcher.runtime.logs import get_logger

# What a pipe holds; less than that from one read, and it is empty.
_PIPE_BYTES = 65536


class JobDied(WatcherError):
    """Steps raised what they should not: the process ends, and the service manager restarts it."""


class Task:
    """Steps under way in a loop."""

    def __init__(self, name: str, steps: Steps[Any],
                 on_end: Optional[Callable[[Any], None]] = None) -> None:
        self.name = name
        self.steps = steps
        self.on_end = on_end
        self.wait: Optional[Wait] = None
        self.error: Optional[BaseException] = None
        """Raised in the steps when they go on."""


class Loop:
    """Runs tasks side by side in the thread that calls `turn`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._poller = select.poll()
        self._waiting: Set[Task] = set()
        self._by_descriptor: Dict[int, Task] = {}
        self._polled_at = clock()
        self._next: List[Task] = []
        """Tasks that go on in the next turn."""
        self._due: List[Task] = []
        """Tasks that go on in this turn, in reverse order."""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._poller.register(self._wake_reader, READ)
        self._death: Optional[JobDied] = None
        self._listened: Optional[int] = None
        self._hear: Callable[[], None] = lambda: None

    def __del__(self) -> None:
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def start(self, name: str, steps: Steps[Any],
              on_end: Optional[Callable[[Any], None]] = None) -> Task:
        """Run steps up to their first wait; `on_end` gets what they return in the end."""
        task = Task(name, steps, on_end)
        self._step(task, None)
        return task

    def interrupt(self, task: Task, error: Exception) -> None:
        """Raise an error where a task waits; nothing happens to one that has ended."""
        if task in self._waiting:
            self._stop_waiting(task)
            self._next.append(task)
        if task in self._next or task in self._due:
            task.error = error

    def cancel(self, task: Task) -> None:
        """End a task where it waits; its steps close what they opened."""
        if task in self._waiting:
            self._stop_waiting(task)
        for going_on in (self._next, self._due):
            if task in going_on:
                going_on.remove(task)
        task.steps.close()

    def wake(self) -> None:
        """Make `turn` return; safe in a signal handler."""
        try:
            os.write(self._wake_writer, b'\0')
        except BlockingIOError:
            pass  # the pipe is full: `turn` returns in any case

    def listen(self, descriptor: Optional[int], hear: Callable[[], None]) -> None:
        """Make `turn` call `hear` whenever a descriptor is readable; None stops that.

        The descriptor of before may be closed, and its number taken by a task.
        """
        before, self._listened, self._hear = self._listened, descriptor, hear
        if before is not None and before != descriptor and before not in self._by_descriptor:
            with contextlib.suppress(KeyError):
                self._poller.unregister(before)
        if descriptor is not None:
            self._poller.register(descriptor, READ)

    def turn(self, seconds: float) -> bool:
        """Wait until tasks are ready, for so long at most; run each up to its next wait.

        False when none was ready. Raises JobDied for a task that died in it or before it.
        """
        self._raise_death()
        self._due += reversed(self._next)
        del self._next[:]
        has_due = bool(self._due)
        if has_due:
            seconds = 0.0
        elif self._waiting:
            first = min(task.wait.until for task in self._waiting)  # type: ignore
            seconds = min(seconds, first - self._clock())
        away_seconds = self._clock() - self._polled_at
        ready = [(descriptor, self._by_descriptor.get(descriptor))
                 for descriptor, _events in self._poller.poll(count_milliseconds(seconds))]
        self._polled_at = self._clock()
        # What is ready at once may have been so since the last poll.
        heard_at = self._polled_at - away_seconds
        for descriptor, task in ready:
            if task is not None:
                # A task before it may have cancelled it and reused its descriptor.
                if self._by_descriptor.get(descriptor) is task:
                    self._stop_waiting(task)
                    self._step(task, heard_at)
            elif descriptor == self._listened:
                self._hear()
            elif descriptor == self._wake_reader:
                self._drain()
        now = self._polled_at
        late = [task for task in self._waiting if task.wait.until <= now]  # type: ignore
        for task in late:
            if task in self._waiting:
                self._stop_waiting(task)
                self._step(task, 0.0)
        while self._due:
            self._step(self._due.pop(), 0.0)
        self._raise_death()
        return bool(ready or late or has_due)

    def close(self) -> None:
        """Cancel all tasks."""
        for task in list(self._waiting) + self._next + self._due:
            self.cancel(task)

    def _step(self, task: Task, heard_at: Optional[float]) -> None:
        try:
            error, task.error = task.error, None
            self._begin_waiting(task, task.steps.throw(error) if error is not None
                                else task.steps.send(heard_at))  # type: ignore
        except StopIteration as end:
            if task.on_end is not None:
                task.on_end(end.value)
            return
        except MemoryError:
            raise
        except Exception as error:
            get_logger().error('job.died', job=task.name, exc_info=error)
            # Not raised here: a task begins within code that takes an error for one VM's.
            death = JobDied(f'the job {task.name} died: {error!r}')
            death.__cause__ = error
            self._death = self._death or death

    def _raise_death(self) -> None:
        death, self._death = self._death, None
        if death is not None:
            raise death

    def _begin_waiting(self, task: Task, wait: Wait) -> None:
        if wait.descriptor is None and wait.until <= 0.0:
            self._next.append(task)
            return
        task.wait = wait
        self._waiting.add(task)
        if wait.descriptor is not None:
            self._by_descriptor[wait.descriptor] = task
            self._poller.register(wait.descriptor, wait.events)

    def _stop_waiting(self, task: Task) -> None:
        self._waiting.discard(task)
        descriptor = task.wait.descriptor  # type: ignore
        if descriptor is not None:
            del self._by_descriptor[descriptor]
            self._poller.unregister(descriptor)

    def _drain(self) -> None:
        try:
            while len(os.read(self._wake_reader, _PIPE_BYTES)) == _PIPE_BYTES:
                continue
        except BlockingIOError:
            return


class Urgency:
    """The order in which jobs begin."""
    RESCUE = 0
    STAGE = 1
    LATER = 2


class JobQueue:
    """Runs up to `size` jobs of one kind side by side; the others wait, by urgency."""

    def __init__(self, name: str, size: int, loop: Loop, put: Callable[[Any], None]) -> None:
        self._name = name
        self._free = size
        self._loop = loop
        self._put = put
        self._is_starting = False
        self._jobs: List[Tuple[int, int, Callable[[], Steps[Any]]]] = []
        self._order = itertools.count()

    def submit(self, job: Callable[[], Steps[Any]], urgency: int = Urgency.STAGE) -> None:
        """Run a job, at once if there is room; `put` gets what it returns."""
        heapq.heappush(self._jobs, (urgency, next(self._order), job))
        self._start_free()

    @property
    def is_urgent_waiting(self) -> bool:
        """Whether a job for a starting VM waits for room."""
        return bool(self._jobs) and self._jobs[0][0] == Urgency.RESCUE

    def _start_free(self) -> None:
        """Begin jobs in a loop: those that end at once must not nest."""
        if self._is_starting:
            return
        self._is_starting = True
        while self._jobs and self._free:
            self._free -= 1
            self._loop.start(self._name, heapq.heappop(self._jobs)[2](), self._take)
        self._is_starting = False

    def _take(self, message: Any) -> None:
        self._put(message)
        self._free += 1
        self._start_free()


class Inbox:
    """Messages in their order."""

    def __init__(self) -> None:
        self._messages: Deque[Any] = collections.deque()
        self.put = self._messages.append

    def __bool__(self) -> bool:
        return bool(self._messages)

    def take(self) -> List[Any]:
        """Take all messages out."""
        taken = list(self._messages)
        self._messages.clear()
        return taken
