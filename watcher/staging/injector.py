"""Carry one plan out in XAPI, by one call that writes, and say what really happened.

An absent key is added; a key of which nothing shall be left is removed; any other value is
replaced by writing back the whole platform map of a record read immediately before, with our
value changed (P5). At no moment is the key absent, nothing blocks a start, and a program that is
killed leaves the old value or the new one.

Knows neither registry nor journal.
"""

import contextlib
import enum
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

from watcher.errors import (AnswerTooOld, MalformedRecord, SessionLost, VmVanished, XapiError,
                            XapiFailure, XapiNonsense, XapiUnreachable)
from watcher.loop.steps import Steps
from watcher.vm.numbers import is_blocked_by_others
from watcher.vm.plan import Action, Plan, PlanReason
from watcher.vm.record import ARGS_KEY, VmRecord
from watcher.xapi.client import Client

# So often a map is read again that was too old when it could be sent; then the next look decides.
READS_AT_MOST = 5


class OutcomeKind(enum.Enum):
    """What became of a plan."""
    WRITTEN = 'written'
    OVERTAKEN = 'overtaken'
    """The record read last differs from the one decided on: look again."""
    VANISHED = 'vanished'
    REFUSED = 'refused'
    """XAPI said no, or would not be quick enough for a map to be written back."""
    UNREACHABLE = 'unreachable'


class Outcome(NamedTuple):
    """What really happened to one VM."""
    kind: OutcomeKind
    plan: Plan
    vm: Optional[VmRecord] = None
    """The record read last, after the write where there was one; None when none was read."""
    error: str = ''
    elapsed_ms: float = 0.0
    lost_session: Optional[str] = None
    """The session that XAPI does not know any more."""
    read_at: float = 0.0
    """When that record was asked for."""
    is_sent: bool = False
    """The write was sent, and may have been carried out whatever became of the answer."""

    @property
    def is_proven(self) -> bool:
        """Whether the VM's next start takes what was written: read after it, still at rest."""
        return (self.kind is OutcomeKind.WRITTEN and self.vm is not None and self.vm.is_at_rest
                and self.vm.args == self.plan.value)


class _Overtaken(Exception):
    """The VM is not any more as the plan saw it."""


def carry_out(client: Client, plan: Plan, *,
              clock: Callable[[], float] = time.monotonic) -> Steps[Outcome]:
    """Carry out a plan. Never raises for XAPI's sake: the outcome tells."""
    writing = _Writing(client, plan, clock)
    started_at = clock()
    kind, error, lost_session = OutcomeKind.WRITTEN, '', None
    try:
        yield from writing.run()
    except _Overtaken:
        kind = OutcomeKind.OVERTAKEN
    except VmVanished:
        kind = OutcomeKind.VANISHED
    except (XapiFailure, MalformedRecord, AnswerTooOld) as refusal:
        kind, error = OutcomeKind.REFUSED, str(refusal)
        lost_session = client.handle if isinstance(refusal, SessionLost) else None
    except XapiError as failure:
        kind, error = OutcomeKind.UNREACHABLE, str(failure)
    return Outcome(kind, plan, writing.vm, error, (clock() - started_at) * 1000.0, lost_session,
                   writing.read_at, writing.is_sent)


def is_current(plan: Plan, vm: Optional[VmRecord]) -> bool:
    """Whether a record of the VM still is what the plan rests on."""
    if vm is None or (plan.action is Action.REPLACE and vm.settles_platform):
        return False
    if plan.reason is PlanReason.NUMBER_COPIED and is_blocked_by_others(vm):
        return False  # a replica, blocked since it was decided on
    is_writable = vm.is_starting if plan.is_rescue else vm.is_at_rest
    return is_writable and (vm.uuid, vm.kind, vm.args) == (plan.vm.uuid, plan.vm.kind,
                                                           plan.vm.args)


class _Writing:
    """One plan under way: what was read last, and whether anything was sent."""

    def __init__(self, client: Client, plan: Plan, clock: Callable[[], float]) -> None:
        self._client = client
        self._plan = plan
        self._ref = plan.vm.ref
        self._clock = clock
        self.vm: Optional[VmRecord] = None
        self.read_at = 0.0
        self.is_sent = False

    def run(self) -> Steps[None]:
        """Write; what it raises, carry_out tells."""
        if self._plan.action is Action.ADD:
            yield from self._add()
        elif self._plan.action is Action.REMOVE:
            yield from self._read_current()
            yield from self._send(self._client.remove_args, self._ref)
        else:
            yield from self._replace()

    def _add(self) -> Steps[None]:
        try:
            yield from self._send(self._client.add_args, self._ref, self._plan.value or '')
        except XapiFailure as error:
            if error.code != 'MAP_DUPLICATE_KEY':
                raise
            yield from self._read()
            raise _Overtaken() from error

    def _replace(self) -> Steps[None]:
        """Read, write the map that was read, and read again: still at rest is the proof."""
        try:
            yield from self._write_map()
        except (XapiUnreachable, XapiNonsense):
            if not self.is_sent or (yield from self._read()).args != self._plan.value:
                raise
            return  # XAPI did it, and the answer was lost
        with contextlib.suppress(XapiUnreachable, XapiNonsense, MalformedRecord):
            yield from self._read()

    def _write_map(self) -> Steps[None]:
        for attempts_left in reversed(range(READS_AT_MOST)):
            platform = yield from self._read_current()
            platform[ARGS_KEY] = self._plan.value or ''
            try:
                yield from self._send(self._client.set_platform, self._ref, platform)
                return
            except AnswerTooOld:
                self.is_sent = False
                if not attempts_left:
                    raise

    def _send(self, call: Callable[..., Steps[None]], *params: Any) -> Steps[None]:
        self.is_sent, self.vm = True, None
        yield from call(*params)

    def _read_current(self) -> Steps[Dict[str, str]]:
        """Read the record; go on with its platform map only when it is as the plan saw it."""
        self.read_at = self._clock()
        self.vm, platform = yield from self._client.read_platform(self._ref)
        if not is_current(self._plan, self.vm):
            raise _Overtaken()
        return platform

    def _read(self) -> Steps[VmRecord]:
        self.read_at = self._clock()
        vm = self.vm = yield from self._client.read_vm(self._ref)
        return vm
