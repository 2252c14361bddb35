"""The event stream: three loops with three endings.

`forever` reconnects, with growing pauses, until it is stopped. `follow` owns the token, until the
stream is lost for whatever reason. `poll_once` is one call. Every interruption is answered in
the same way: a new session, and the empty token, whose first batch names every VM there is.

A task of the loop; what it has found it puts into the inbox.
"""

import time
from typing import Any, Callable, Iterator, NamedTuple, Optional, Set, Tuple

from watcher.errors import (MalformedRecord, NoAnswer, NotTheMaster, SessionLost, StreamLost,
                            VmVanished, XapiError, XapiFailure, XapiNonsense,
                            XapiUnreachable)
from watcher.loop.loop import Loop, Task
from watcher.loop.steps import TURN, Steps, pause
from watcher.runtime.logs import get_logger
from watcher.vm.record import Batch, PoolRecord
from watcher.xapi.callers import URGENT_SECONDS
from watcher.xapi.client import CLASSES, FIRST_POLL_SECONDS, Client
from watcher.xapi.record_parser import parse_batch, parse_vm

# Two answers in a row that count other VMs than we know mean that a deletion was forgotten
# (xapi keeps 512 of them); more often than this we do not start afresh for it, since a VM that
# vanished before its record was taken is counted and never shown.
_RECOUNT_SECONDS = 60.0
# An XAPI that answers at once with nothing, or with the same, is not asked without end: a pause
# that grows with each such answer.
_QUICK_SECONDS = 0.2
_EMPTY_SECONDS = (0.0, 0.05, 0.1, 0.2)
# How often a stream that is put off for VMs that start looks whether it may go on.
_STARTS_PAUSE_SECONDS = 0.005
# The pool's record was refused: it is asked for again so long after.
_POOL_AGAIN_SECONDS = 60.0
_WITHOUT_POOL = ('vm',)
# Without a token all VMs are read one by one, over and over.
_READ_AGAIN_SECONDS = 2.0
# More records in a row without an answer are no matter of single VMs: XAPI is in trouble.
_UNANSWERED_IN_A_ROW = 5


class StreamBroken(NamedTuple):
    """The stream ended and will be started afresh."""
    error: str
    retry_seconds: float


class Stream:
    """Follows XAPI's events and puts Batch and StreamBroken into the inbox."""

    def __init__(self, connect: Callable[[], Steps[Client]], put: Callable[[Any], None], *,
                 build_delays: Callable[[], Iterator[float]],
                 has_starts: Callable[[], bool] = lambda: False,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._put = put
        self._build_delays = build_delays
        self._has_starts = has_starts
        self._clock = clock
        self._loop: Optional[Loop] = None
        self._task: Optional[Task] = None
        self._is_following = False
        self._recounted_at = -_RECOUNT_SECONDS
        self._has_met_nonsense = False
        self._has_delivered = False
        self._has_failed_at_once = False
        self._pool_again_at = clock()
        self._is_pool_missed = False
        """Whether answers have left the resource pool's record out since it was last told."""

    def start(self, loop: Loop) -> None:
        """Follow the stream in a task of this loop."""
        self._loop = loop
        self._task = loop.start('stream', self.forever())

    def restart(self) -> None:
        """Give up the call that waits now; the stream starts afresh."""
        if self._is_following and self._loop is not None and self._task is not None:
            self._loop.interrupt(self._task, XapiUnreachable('the connection was given up'))

    def stop(self) -> None:
        """Follow it no more."""
        if self._loop is not None and self._task is not None:
            self._loop.cancel(self._task)

    def forever(self) -> Steps[None]:
        """Follow the stream, again and again."""
        delays = self._build_delays()
        while True:
            self._has_delivered = False
            error = yield from self._follow_until_lost()
            if self._has_delivered:
                delays = self._build_delays()
            delay = next(delays)
            self._put(StreamBroken(error, delay))
            yield from pause(delay)

    def follow(self, client: Client) -> Steps[None]:
        """Deliver batches from the empty token on; ends by raising an XapiError."""
        known: Set[str] = set()
        token, miscounts, empty = '', 0, 0
        while True:
            asked_at = self._clock()
            batch = yield from self._read_batch(client, token)
            self._put(batch)
            yield from self._let_starts_go_first()
            is_idle = is_idle_answer(batch, token) and self._clock() - asked_at < _QUICK_SECONDS
            empty = min(empty + 1, len(_EMPTY_SECONDS) - 1) if is_idle else 0
            if _EMPTY_SECONDS[empty]:
                yield from pause(_EMPTY_SECONDS[empty])
            # A connection that breaks after its first batch, again and again, is given pauses.
            self._has_delivered = bool(token)
            _update_known(known, batch)
            miscounts = self._count_miscounts(batch, len(known), miscounts)
            token = batch.token

    def _let_starts_go_first(self) -> Steps[None]:
        """Ask for more only when the writes that the batch asks for have been sent.

        While all connections are taken by VMs that start, more news could not be acted upon.
        """
        yield TURN
        until = self._clock() + URGENT_SECONDS
        while self._has_starts() and self._clock() < until:
            yield from pause(_STARTS_PAUSE_SECONDS)

    def poll_once(self, client: Client, token: str) -> Steps[Batch]:
        """Wait for one answer.

        Without the resource pool's record where XAPI refuses that: the mirror waits, and nothing
        else does.
        """
        if self._clock() < self._pool_again_at:
            return (yield from self._ask(client, token, _WITHOUT_POOL))
        try:
            batch = yield from self._ask(client, token, CLASSES,
                                         FIRST_POLL_SECONDS if self._is_pool_missed else None)
            self._has_failed_at_once = False
        except (SessionLost, StreamLost, NotTheMaster):
            raise
        except (XapiFailure, XapiNonsense, NoAnswer) as error:
            # Once it may be a torn answer, or XAPI's start: then a new session is due.
            has_failed, self._has_failed_at_once = self._has_failed_at_once, not token
            if not (isinstance(error, XapiFailure) or (not token and has_failed)):
                raise
            batch = yield from self._ask(client, token, _WITHOUT_POOL)
            self._miss_pool()
            return batch
        return (yield from self._catch_up(client, batch)) if self._is_pool_missed else batch

    def _catch_up(self, client: Client, batch: Batch) -> Steps[Batch]:
        """A token tells what has changed since: what became of the resource pool is read."""
        self._is_pool_missed = False
        pools = batch.pools or (yield from _read_pools(client))
        if not pools:
            self._miss_pool()
        return batch._replace(pools=pools)

    def _miss_pool(self) -> None:
        self._is_pool_missed = True
        self._pool_again_at = self._clock() + _POOL_AGAIN_SECONDS

    def _ask(self, client: Client, token: str, classes: Tuple[str, ...],
             seconds: Optional[float] = None) -> Steps[Batch]:
        answer = yield from client.event_from(token, seconds, classes)
        return parse_batch(answer, is_first=not token)

    def _follow_until_lost(self) -> Steps[str]:
        client = None
        try:
            client = yield from self._connect()
            self._is_following = True
            yield from self.follow(client)
            return ''
        except XapiError as error:
            return str(error)
        finally:
            self._is_following = False
            if client is not None:
                client.close()

    def _read_batch(self, client: Client, token: str) -> Steps[Batch]:
        try:
            batch = yield from self.poll_once(client, token)
            self._has_met_nonsense = False
            return batch
        except XapiNonsense:
            # Once may be a torn answer: start afresh. Twice is a record that cannot be decoded.
            if not self._has_met_nonsense:
                self._has_met_nonsense = True
                raise
            self._has_met_nonsense = False
            batch = yield from read_one_by_one(client)
            if not batch.token:
                yield from pause(_READ_AGAIN_SECONDS)
            return batch

    def _count_miscounts(self, batch: Batch, known: int, miscounts: int) -> int:
        if batch.vm_count is None or batch.vm_count == known:
            return 0
        now = self._clock()
        if miscounts and now - self._recounted_at > _RECOUNT_SECONDS:
            self._recounted_at = now
            raise StreamLost('VM_COUNT', (str(known), str(batch.vm_count)))
        return miscounts + 1


def read_one_by_one(client: Client) -> Steps[Batch]:
    """Read every VM with a call of its own, when one record spoils the answer for all (P15).

    The token is taken first, so that nothing is missed in between. What cannot be read even so
    is reported as malformed and stays aside until XAPI shows a change of it.
    """
    token = yield from _read_fresh_token(client)
    vms, malformed, unanswered = [], [], 0
    refs = yield from client.read_vm_refs()
    for ref in refs:
        try:
            vms.append(parse_vm(ref, (yield from client.call('VM.get_record', ref))))
            unanswered = 0
        except NoAnswer as error:
            unanswered += 1
            if unanswered > _UNANSWERED_IN_A_ROW:
                raise
            malformed.append(MalformedRecord(ref, 'record', f'cannot be read: {error}'))
        except MalformedRecord as error:
            malformed.append(error)
        except VmVanished:
            continue
        except SessionLost:
            raise
        except XapiNonsense as error:
            malformed.append(MalformedRecord(ref, 'record', f'cannot be decoded: {error}'))
        except XapiFailure as error:
            malformed.append(MalformedRecord(ref, 'record', f'cannot be read: {error}'))
    pools = yield from _read_pools(client)
    get_logger().warning('stream.read_one_by_one', vms=len(vms), set_aside=len(malformed))
    return Batch(token, tuple(vms), (), tuple(malformed), len(refs), is_first=True,
                 pools=pools)


def is_idle_answer(batch: Batch, token: str) -> bool:
    """Whether the answer tells nothing new."""
    return batch.token == token or not (batch.vms or batch.gone or batch.malformed or batch.pools)


def _read_fresh_token(client: Client) -> Steps[str]:
    """Without one, '': what comes next is asked for afresh."""
    try:
        return (yield from client.read_fresh_token())
    except SessionLost:
        raise
    except (XapiFailure, XapiNonsense, NoAnswer):
        return ''


def _read_pools(client: Client) -> Steps[Tuple[PoolRecord, ...]]:
    """The resource pool's record; without it the mirror waits, and nothing else does."""
    try:
        pool = yield from client.read_pool((yield from client.read_pool_ref()))
    except SessionLost:
        raise
    except (XapiFailure, XapiNonsense):
        return ()
    return (pool,) if pool is not None else ()


def _update_known(known: Set[str], batch: Batch) -> None:
    """In place: an event costs the same in a large pool."""
    if batch.is_first:
        known.clear()
    known.update(_refs_of(batch))
    known.difference_update(batch.gone)


def _refs_of(batch: Batch) -> Tuple[str, ...]:
    return tuple(vm.ref for vm in batch.vms) + tuple(error.ref for error in batch.malformed)
