"""The event stream: three loops with three endings.

`forever` reconnects, with growing pauses, until it is stopped. `follow` owns the token, until the
stream is lost for whatever reason. `poll_once` is one call. Every interruption is answered in
the same way: a new session, and the empty token, whose first batch names every VM there is.

Runs in a thread of its own and talks to the main thread by messages only.
"""

import time
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Set, Tuple

from watcher.errors import (MalformedRecord, NoAnswer, NotTheMaster, SessionLost, StreamLost,
                            VmVanished, XapiError, XapiFailure, XapiNonsense)
from watcher.runtime.logs import get_logger
from watcher.runtime.waiting import StopFlag
from watcher.vm.record import Batch, PoolRecord, VmRecord, parse_batch, parse_vm
from watcher.xapi.client import CLASSES, Client

# Two answers in a row that count other VMs than we know mean that a deletion was forgotten
# (xapi keeps 512 of them); more often than this we do not start afresh for it, since a VM that
# vanished before its record was taken is counted and never shown.
_RECOUNT_SECONDS = 60.0
# Yield the interpreter lock this long, so that the main thread can queue its write, when a VM
# starts: a write that it needs should not wait until the next long poll is under way. XAPI holds
# its answers back for 50 ms anyway.
_HEAD_START_SECONDS = 0.001
# An XAPI that answers at once with nothing, or with the same, is not asked without end: a pause
# that grows with each such answer.
_QUICK_SECONDS = 0.2
_EMPTY_SECONDS = (0.0, 0.05, 0.1, 0.2)
# The pool's record was refused: it is asked for again so long after.
_POOL_AGAIN_SECONDS = 60.0
_WITHOUT_POOL = ('vm',)
# Without a token all VMs are read one by one, over and over.
_READ_AGAIN_SECONDS = 2.0


class StreamStarted(NamedTuple):
    """A session for events was opened."""
    client: Client


class StreamBroken(NamedTuple):
    """The stream ended and will be started afresh."""
    error: str
    retry_seconds: float


class ThreadDied(NamedTuple):
    """A thread of ours ended in a way that was not foreseen."""
    name: str
    error: BaseException


class Stream:
    """Follows XAPI's events and puts Batch, StreamStarted and StreamBroken into the inbox."""

    def __init__(self, connect: Callable[[], Client], put: Callable[[Any], None], *,
                 stop: StopFlag, build_delays: Callable[[], Iterator[float]],
                 read_ahead: Callable[[Iterable[VmRecord]], None] = lambda _vms: None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._put = put
        self._stop = stop
        self._build_delays = build_delays
        self._clock = clock
        self._read_ahead = read_ahead
        self._client: Optional[Client] = None
        self._recounted_at = -_RECOUNT_SECONDS
        self._has_met_nonsense = False
        self._has_delivered = False
        self._has_failed_at_once = False
        self._pool_again_at = clock()

    def forever(self) -> None:
        """Follow the stream until stopped; the body of the stream thread."""
        try:
            delays = self._build_delays()
            while not self._stop.is_set():
                self._has_delivered = False
                error = self._follow_until_lost()
                if self._has_delivered:
                    delays = self._build_delays()
                pause = next(delays)
                if not self._stop.is_set():
                    self._put(StreamBroken(error, pause))
                self._stop.wait(pause)
        except BaseException as error:  # the thread's body: the main thread ends the process
            self._put(ThreadDied('stream', error))

    def restart(self) -> None:
        """Give up the call that waits now; the stream starts afresh."""
        client = self._client
        if client is not None:
            client.abort()

    def follow(self, client: Client) -> None:
        """Deliver batches from the empty token on; ends by raising an XapiError."""
        known: Set[str] = set()
        token, miscounts, empty = '', 0, 0
        while not self._stop.is_set():
            asked_at = self._clock()
            batch = self._read_batch(client, token)
            self._read_ahead(batch.vms)
            self._put(batch)
            is_idle = is_idle_answer(batch, token) and self._clock() - asked_at < _QUICK_SECONDS
            empty = min(empty + 1, len(_EMPTY_SECONDS) - 1) if is_idle else 0
            is_start = any(vm.is_starting for vm in batch.vms)
            pause = _EMPTY_SECONDS[empty] + (_HEAD_START_SECONDS if is_start else 0.0)
            if pause:
                self._stop.wait(pause)
            self._has_delivered = True
            known = _update_known(known, batch)
            miscounts = self._count_miscounts(batch, len(known), miscounts)
            token = batch.token

    def poll_once(self, client: Client, token: str) -> Batch:
        """Wait for one answer.

        Without the resource pool's record where XAPI refuses that: the mirror waits, and nothing
        else does.
        """
        if self._clock() < self._pool_again_at:
            return self._ask(client, token, _WITHOUT_POOL)
        try:
            batch = self._ask(client, token, CLASSES)
            self._has_failed_at_once = False
            return batch
        except (SessionLost, StreamLost, NotTheMaster):
            raise
        except (XapiFailure, XapiNonsense, NoAnswer) as error:
            # Once it may be a torn answer, or XAPI's start: then a new session is due.
            has_failed, self._has_failed_at_once = self._has_failed_at_once, not token
            if not (isinstance(error, XapiFailure) or (not token and has_failed)):
                raise
            batch = self._ask(client, token, _WITHOUT_POOL)
        self._pool_again_at = self._clock() + _POOL_AGAIN_SECONDS
        return batch

    def _ask(self, client: Client, token: str, classes: Tuple[str, ...]) -> Batch:
        return parse_batch(client.event_from(token, classes=classes), is_first=not token)

    def _follow_until_lost(self) -> str:
        client = None
        try:
            client = self._client = self._connect()
            self._put(StreamStarted(client))
            self.follow(client)
            return 'stopped'
        except XapiError as error:
            return str(error)
        finally:
            self._client = None
            if client is not None:
                client.close()

    def _read_batch(self, client: Client, token: str) -> Batch:
        try:
            batch = self.poll_once(client, token)
            self._has_met_nonsense = False
            return batch
        except XapiNonsense:
            # Once may be a torn answer: start afresh. Twice is a record that cannot be decoded.
            if not self._has_met_nonsense:
                self._has_met_nonsense = True
                raise
            self._has_met_nonsense = False
            batch = read_one_by_one(client)
            if not batch.token:
                self._stop.wait(_READ_AGAIN_SECONDS)
            return batch

    def _count_miscounts(self, batch: Batch, known: int, miscounts: int) -> int:
        if batch.vm_count is None or batch.vm_count == known:
            return 0
        now = self._clock()
        if miscounts and now - self._recounted_at > _RECOUNT_SECONDS:
            self._recounted_at = now
            raise StreamLost('VM_COUNT', (str(known), str(batch.vm_count)))
        return miscounts + 1


def read_one_by_one(client: Client) -> Batch:
    """Read every VM with a call of its own, when one record spoils the answer for all (P15).

    The token is taken first, so that nothing is missed in between. What cannot be read even so
    is reported as malformed and stays aside until XAPI shows a change of it.
    """
    token = _read_fresh_token(client)
    vms, malformed = [], []
    refs = client.read_vm_refs()
    for ref in refs:
        try:
            vms.append(parse_vm(ref, client.call('VM.get_record', ref)))
        except MalformedRecord as error:
            malformed.append(error)
        except VmVanished:
            continue
        except SessionLost:
            raise
        except XapiNonsense as error:
            malformed.append(MalformedRecord(ref, 'record', 'cannot be decoded: %s' % error))
        except XapiFailure as error:
            malformed.append(MalformedRecord(ref, 'record', 'cannot be read: %s' % error))
    get_logger().warning('stream.read_one_by_one', vms=len(vms), set_aside=len(malformed))
    return Batch(token, tuple(vms), (), tuple(malformed), len(refs), is_first=True,
                 pools=_read_pools(client))


def is_idle_answer(batch: Batch, token: str) -> bool:
    """Whether the answer tells nothing new."""
    return batch.token == token or not (batch.vms or batch.gone or batch.malformed or batch.pools)


def _read_fresh_token(client: Client) -> str:
    """Without one, '': what comes next is asked for afresh."""
    try:
        return client.read_fresh_token()
    except SessionLost:
        raise
    except (XapiFailure, XapiNonsense, NoAnswer):
        return ''


def _read_pools(client: Client) -> Tuple[PoolRecord, ...]:
    """The resource pool's record; without it the mirror waits, and nothing else does."""
    try:
        pool = client.read_pool(client.read_pool_ref())
    except SessionLost:
        raise
    except (XapiFailure, XapiNonsense):
        return ()
    return (pool,) if pool is not None else ()


def _update_known(known: Set[str], batch: Batch) -> Set[str]:
    """In place: an event costs the same in a large pool."""
    if batch.is_first:
        known.clear()
    known.update(_refs_of(batch))
    known.difference_update(batch.gone)
    return known


def _refs_of(batch: Batch) -> Tuple[str, ...]:
    return tuple(vm.ref for vm in batch.vms) + tuple(error.ref for error in batch.malformed)
