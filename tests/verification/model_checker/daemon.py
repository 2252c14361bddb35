"""The real Watcher, with its callers taken apart, as something that can be put back in time.

One Watcher serves all states: `save` copies what it and its parts remember, `restore` puts it
back. A step changes little of that: what is as it was in the state before shares its copy. Jobs are
not run but kept, for the world to run one call at a time.
"""

import copy
import itertools
import math
from typing import Any, Callable, List, Optional, Sequence, Tuple
from unittest import mock

from tests.unit.watcher.builders import HOST, POLICY, build_permit
from tests.verification.model_checker.calls import Client, Job, Paused
from tests.verification.model_checker.disk import Journal, Registry, build_view
from watcher import assembly, numbers_keeper
from watcher.consumer.run_directory import Instant
from watcher.job_dispatch import JobDispatch
from watcher.loop.steps import Steps, run
from watcher.runtime.timers import DueTimes
from watcher.staging.injector import Outcome
from watcher.staging.jobs import VmRead
from watcher.vm.plan import Plan
from watcher.vm.record import VmRecord
from watcher.xapi.role import Role

ROLE = Role(True, True, HOST, '26.1.4')
_MEMORY = (dict, set, frozenset, list, tuple, str, int, float, bool, type(None))
_UNCHANGING = frozenset([frozenset, tuple, str, int, float, bool, type(None)])
_PLAIN = frozenset([str, int, bool, type(None)])
# What is only said, or follows from the rest, makes no state.
UNTOLD = frozenset(['_told', 'last_answer', '_watching_since', '_error', '_refs',
                    '_numbers', '_carriers', 'owners', '_sequence', 'contents', 'staged',
                    'bearers', 'claims', '_staged_at', '_last_seen', '_retry_at', '_last',
                    '_ran_with', '_runners', '_stirred', 'must_order_claims', '_handlers',
                    '_calm', '_heap', 'moves'])
# Maps whose values can change.
_DEEP = frozenset(['_carriers', '_under_way', '_arrived', '_progress', '_lately', '_fights',
                   '_staged_at', '_runners'])


class Keeping:
    """In the place of JobDispatch: keeps each job as a value, and lets the real one run it."""

    def __init__(self, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        self._known: Optional[VmRecord] = None
        self._client: Any = None
        self._message: Any = None
        self._dispatch = JobDispatch(self, self, build_permit())  # type: ignore

    # As JobDispatch.

    def carry_out(self, plan: Plan) -> None:
        """Keep the job."""
        self._submit(Job('carry_out', plan.vm.ref, (plan,)))

    def reread(self, vm: VmRecord) -> None:
        """Keep the job."""
        self._submit(Job('reread', vm.ref, (vm,)))

    def reread_later(self, ref: str) -> None:
        """Keep the job."""
        self._submit(Job('reread_later', ref, (ref,)))

    def lift(self, ref: str) -> None:
        """There is nothing to lift in these worlds."""

    def write_mirror(self, *_task: Any) -> None:
        """There is no resource pool's record in these worlds, and so no mirror."""

    def list_hosts(self) -> None:
        """There is one host that counts in these worlds."""

    def ask_host(self, _host: str, _resource_pool: str) -> None:
        """Nobody else is asked."""

    is_holding = False

    def let_go(self) -> None:
        """Nothing is held: a job's first call is a step of its own, after the journal's."""

    # As the callers and the inventory that the real JobDispatch knows.

    def submit(self, job: Callable[[Any], Steps[Any]], _urgency: int) -> None:
        """Run it at once, with the client that makes one call more."""
        self._message = run(job(self._client))

    def find(self, _ref: str) -> Optional[VmRecord]:
        """The newest record when the job began."""
        return self._known

    def run(self, job: Job, client: Client) -> Any:
        """Run a job up to its next call; its message, or Paused is raised."""
        self._known, self._client = job.known, client
        getattr(self._dispatch, job.kind)(*job.params)
        self._dispatch.let_go()
        if isinstance(self._message, Outcome):
            # By the real clock, which has no place in here.
            return self._message._replace(elapsed_ms=0.0, read_at=math.inf)
        if isinstance(self._message, VmRead):
            # Read and told in one step: it is never older than an outcome.
            return self._message._replace(began_at=math.inf)
        return self._message


class Daemon:
    """A Watcher that is alive or dead, its pending jobs, and the host that it looks at."""

    def __init__(self, journal: Journal, registry: Registry, clock: Callable[[], float],
                 submit: Callable[[Job], None],
                 look: Callable[[str, Tuple[str, int]], None]) -> None:
        self.view = build_view(journal, registry)
        self._journal = journal
        self.keeping = Keeping(submit)
        with mock.patch.object(assembly, 'JobDispatch', lambda *_args: self.keeping):
            self.watcher = assembly.build_watcher(
                self.view, POLICY, callers=_Idle(), inspectors=_Inspectors(look),
                restart_stream=lambda: None, clock=clock, wall=lambda: 0.0)
        self.watcher.permit.is_locked = True
        self.watcher.receipts.attend(None, HOST, POLICY.names)
        watcher = self.watcher
        parts = [watcher, watcher.permit, watcher.inventory, watcher.staging,
                 watcher.staging._fights, watcher._lifting, watcher.receipts,
                 watcher._journal_queue, watcher._number_claims, watcher._changes,
                 watcher._change_filter, self.view]
        self._parts = [_Part(part) for part in parts]
        # Whoever holds such times goes on with the same object.
        self._parts += [_Part(times) for part in parts for times in vars(part).values()
                        if isinstance(times, DueTimes)]
        self._run: Any = None
        self._last: Tuple[Any, ...] = ()
        self._newborn = self.save()

    def serve(self, run: Any, instant: Callable[[], Instant]) -> None:
        """Write the numbers for the consumer into this directory, from the next birth on."""
        self._run = run
        keeper = self.watcher.numbers
        keeper._instant = instant
        # What is written there goes into the world; what is remembered is in it, or follows.
        self._parts.append(_Part(keeper, names=('_last', '_seen', '_rows', '_confirm_at', '_told'),
                                 is_telling=False))
        self._newborn = self.save()

    def save(self) -> Tuple[Any, ...]:
        """What all parts remember; nobody changes it."""
        self._last = tuple([part.save(kept) for part, kept in itertools.zip_longest(
            self._parts, self._last, fillvalue=())])
        return self._last

    def restore(self, saved: Tuple[Any, ...]) -> None:
        """Put it back."""
        for part, kept in zip(self._parts, saved):
            part.restore(kept)
        # What is only worked out from the rest is worked out again.
        self.watcher._number_claims.forget_answers()
        self._last = saved

    def be_born(self) -> None:
        """Start with nothing but the disk, and a session."""
        self.restore(self._newborn)
        if self._run is not None:
            self.watcher.numbers._directory = None
            with mock.patch.multiple(numbers_keeper, RunDirectory=lambda _path: self._run,
                                     _is_writable=lambda _path: True):
                self.watcher.numbers.use(self._run.path)
        self.watcher.begin_session(ROLE)

    def freeze(self, now: float) -> Tuple[Any, ...]:
        """What tells this memory from another; times are relative, sequences ranks."""
        order = sorted({claim.sequence for claims in (self.view.staged, self.view.bearers)
                        for claim in claims.values()} | set(self.view.claims.values()))
        frozen: List[Any] = [(vm_id, order.index(sequence))
                             for vm_id, sequence in sorted(self.view.claims.items())]
        frozen += [
            (uuid, claim.vm_id, order.index(claim.sequence))
            for claims in (self.view.staged, self.view.bearers)
            for uuid, claim in sorted(claims.items())]
        return tuple(frozen), tuple([part.freeze(kept, now) for part, kept in zip(
            self._parts, self._last)])


class _Part:
    """An object that remembers: how that is copied, put back and told from another memory."""

    def __init__(self, part: Any, names: Sequence[str] = (), is_telling: bool = True) -> None:
        self._own = vars(part)
        self._names = names or tuple([name for name, value in self._own.items()
                                      if isinstance(value, _MEMORY)])
        self._telling = tuple([(number, name) for number, name in enumerate(self._names)
                               if is_telling and name not in UNTOLD])
        self._frozen: Tuple[Any, ...] = ()
        self._frozen_of: Any = None
        self._frozen_at = math.nan

    def save(self, kept: Tuple[Any, ...]) -> Tuple[Any, ...]:
        """A copy, in which is shared what is as it was kept of the state before."""
        values = tuple(map(self._own.__getitem__, self._names))
        if values == kept:
            return kept
        return tuple([before if value == before else _copy(name, value)
                      for name, value, before in itertools.zip_longest(
                          self._names, values, kept)])

    def restore(self, kept: Tuple[Any, ...]) -> None:
        """Put copies in; maps, sets and lists stay the objects that others may hold as well."""
        values = tuple(map(self._own.__getitem__, self._names))
        if values == kept:
            return
        for name, value, before in zip(self._names, values, kept):
            if value != before:
                copied = _copy(name, before)
                if copied is before or type(value) is not type(before):
                    self._own[name] = copied
                else:
                    value.clear()
                    (value.extend if type(value) is list else value.update)(copied)

    def freeze(self, kept: Tuple[Any, ...], now: float) -> Tuple[Any, ...]:
        """What tells it from others, as a value; made once of what is as it was kept."""
        values = tuple(map(self._own.__getitem__, self._names))
        if values != kept:
            return self._freeze(values, now)
        if kept is not self._frozen_of or now != self._frozen_at:
            self._frozen, self._frozen_of, self._frozen_at = self._freeze(kept, now), kept, now
        return self._frozen

    def _freeze(self, values: Tuple[Any, ...], now: float) -> Tuple[Any, ...]:
        return tuple([(name, _freeze(values[number], now))
                      for number, name in self._telling if values[number]])


class _Inspectors:
    """Passes on whose QEMU is to be looked at."""

    def __init__(self, look: Callable[[str, Tuple[str, int]], None]) -> None:
        self._look = look

    def submit(self, job: Any) -> None:
        """As the real ones."""
        self._look(job.__self__._vm_uuid, job.__self__._domain)


class _Idle:
    """Has no session of now."""

    def is_current(self, _handle: Optional[str]) -> bool:
        """As the real ones."""
        return False


def run_job(daemon_: Daemon, job: Job, client: Client) -> Tuple[Optional[Job], Any]:
    """Let a job make one call: what is left of it (None: it has ended), and its message."""
    try:
        return None, daemon_.keeping.run(job, client)
    except Paused:
        return job._replace(answers=client.answers), None


def _copy(name: str, value: Any) -> Any:
    """A copy of what can change."""
    if type(value) in _UNCHANGING or isinstance(value, tuple):
        return value
    if name in _DEEP:
        return {key: copy.copy(item) for key, item in value.items()}
    return value.copy()


def _freeze(value: Any, now: float) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return tuple([(key, _freeze(value[key], now)) for key in sorted(value)])
    if kind.__name__ == 'Wrote':
        return value.before, round(max(value.at - now, -1.3), 1)
    if kind is tuple:
        return tuple([_freeze(item, now) for item in value])
    if kind is float:
        return round(max(value - now, -5.2), 1)
    if kind is set or kind is frozenset:
        return tuple(sorted(value))
    if kind.__name__ == '_Open':
        return value.number, value.boot[1:10], value.boot.rescued
    if kind.__name__ == 'Progress':
        return (_freeze(value.held_until, now), value.failures, value.overtaken, value.start,
                _freeze(value.wrote, now), value.unproven, value.in_doubt)
    if kind.__name__ == 'deque':
        return len(value)
    if kind is list:
        return len(value)
    return value


def summarise_boots(journal: Journal) -> Tuple[Any, ...]:
    """The receipts without what only tells when."""
    return tuple([boot[1:8] + (boot.closed_at is None,) + boot[10:15]
                  for boot in journal.disk.boots])


def summarise_claims(journal: Journal) -> Tuple[Any, ...]:
    """Who has which number, in order; the sequences themselves mean nothing."""
    disk = journal.disk
    found = [(claim.sequence, claim[0], claim.vm_id, getattr(claim, 'value', None))
             for claims in (disk.staged, disk.bearers) for claim in claims.values()]
    found += [(sequence, '', vm_id, None) for vm_id, sequence in disk.claims.items()]
    return tuple([item[1:] for item in sorted(found, key=lambda item: item[0])]
                 + sorted(disk.removed.items()) + sorted(disk.written.items()))

