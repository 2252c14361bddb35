"""Carry one plan out in XAPI, and say what really happened.

XAPI has no compare-and-set and no transaction over two calls (xapi-boot-path.md). So: what needs
one call is one call; what needs two is fenced while the VM rests, and done back to back on a
record read immediately before while it starts. Whoever calls has committed the new value to the
journal before, so that dying between the two calls loses nothing.

Knows neither registry nor journal; runs in any thread, on the client it is given.
"""

import enum
import time
from typing import Callable, List, NamedTuple, Optional, Tuple

from watcher import fence
from watcher.errors import (InjectionNotVerified, MalformedRecord, SessionLost, VmVanished,
                            XapiError, XapiFailure, XapiUnreachable)
from watcher.plan import Action, Plan
from watcher.records import VmRecord
from watcher.xapi import Client

# An add that fails after the remove leaves the VM without its args: try again at once.
_ADD_ATTEMPTS = 3
# A call that hangs must not keep the fence standing, and the VM from starting (P7).
PATIENCE_SECONDS = 0.9
# An XAPI that is slow throughout would never let a replacement through: the next attempt waits.
LONGER_PATIENCE_SECONDS = 3.0


class OutcomeKind(enum.Enum):
    """What became of a plan."""
    WRITTEN = 'written'
    OVERTAKEN = 'overtaken'
    """The record read last differs from the one decided on: look again."""
    VANISHED = 'vanished'
    REFUSED = 'refused'
    """XAPI said no, or the value read back is not the one written."""
    UNREACHABLE = 'unreachable'


class Outcome(NamedTuple):
    """What really happened to one VM."""
    kind: OutcomeKind
    plan: Plan
    vm: Optional[VmRecord] = None
    """The record read last, where one was read."""
    error: str = ''
    is_key_missing: bool = False
    """The key was removed and is not known to be back: the journal entry must stay."""
    fences_left: Tuple[str, ...] = ()
    """Operations that a fence of ours may still block."""
    fenced_seconds: float = 0.0
    elapsed_ms: float = 0.0
    lost_session: Optional[str] = None
    """The session that XAPI does not know any more."""


class _Progress:
    """How far a plan has come, for the outcome of an attempt that failed half-way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.vm: Optional[VmRecord] = None
        self.is_key_missing = False
        self.raised: List[str] = []
        self.doubtful: List[str] = []
        self.fenced_seconds = 0.0


class _Overtaken(Exception):
    """The VM is not any more as the plan saw it."""


def carry_out(client: Client, plan: Plan, owner: fence.Owner, *,
              clock: Callable[[], float] = time.monotonic,
              patience_seconds: float = PATIENCE_SECONDS) -> Outcome:
    """Carry out a plan. Never raises for XAPI's sake: the outcome tells.

    While the fence stands no call is waited for longer than `patience_seconds`.
    """
    progress = _Progress(plan)
    started_at = clock()
    error = ''
    lost_session = None
    try:
        _write(client, progress, owner, clock, patience_seconds)
        kind = OutcomeKind.WRITTEN
    except _Overtaken:
        kind = OutcomeKind.OVERTAKEN
    except VmVanished:
        kind = OutcomeKind.VANISHED
        progress = _Progress(plan)
    except (XapiFailure, MalformedRecord, InjectionNotVerified) as refusal:
        kind, error = OutcomeKind.REFUSED, str(refusal)
        lost_session = client.handle if isinstance(refusal, SessionLost) else None
    except XapiError as failure:
        kind, error = OutcomeKind.UNREACHABLE, str(failure)
    return Outcome(kind, plan, progress.vm, error, progress.is_key_missing,
                   tuple(progress.raised + progress.doubtful), progress.fenced_seconds,
                   (clock() - started_at) * 1000.0, lost_session)


def is_current(plan: Plan, vm: Optional[VmRecord]) -> bool:
    """Whether the newest record of the VM still is what the plan rests on."""
    if vm is None:
        return False
    is_writable = vm.is_starting if plan.is_rescue else vm.is_at_rest
    return is_writable and (vm.uuid, vm.kind, vm.args) == (plan.vm.uuid, plan.vm.kind,
                                                           plan.vm.args)


def _write(client: Client, progress: _Progress, owner: fence.Owner,
           clock: Callable[[], float], patience_seconds: float) -> None:
    plan = progress.plan
    if plan.action is Action.ADD:
        _add(client, progress)
    elif plan.is_rescue or plan.action is Action.REMOVE:
        _read_surely(client, progress)
        _exchange(client, progress)
    else:
        with client.limited(patience_seconds):
            _replace_behind_fence(client, progress, owner, clock)


def _add(client: Client, progress: _Progress) -> None:
    try:
        client.add_args(progress.plan.vm.ref, progress.plan.value or '')
    except XapiFailure as error:
        if error.code != 'MAP_DUPLICATE_KEY':
            raise
        progress.vm = client.read_vm(progress.plan.vm.ref)
        raise _Overtaken() from error


def _replace_behind_fence(client: Client, progress: _Progress, owner: fence.Owner,
                          clock: Callable[[], float]) -> None:
    fenced_at = clock()
    try:
        fence.block(client, progress.plan.vm, owner, progress.raised, progress.doubtful,
                    progress.plan.value)
        # A start that passed the test before the fence stood shows up only now.
        _read_unchanged(client, progress)
        # An entry of ours that was there already is lifted with those raised now.
        progress.raised[:] = sorted(set(progress.raised) | set(fence.list_fences(progress.vm)))
        _exchange(client, progress)
        _verify(client, progress)
    finally:
        _lift(client, progress)
        progress.fenced_seconds = clock() - fenced_at


def _lift(client: Client, progress: _Progress) -> None:
    """Lift what we raised; what cannot be lifted now stays in `raised` for the outcome.

    While the key is missing the fence is what keeps the VM from starting without it: it stays
    until the value is back, a moment later (`jobs.lift_fences`).
    """
    for operation in () if progress.is_key_missing else tuple(progress.raised):
        try:
            fence.lift(client, progress.plan.vm.ref, (operation,))
            progress.raised.remove(operation)
        except XapiError:
            continue


def _read_unchanged(client: Client, progress: _Progress) -> None:
    """Read the record; go on only when it is as the plan saw it."""
    progress.vm = client.read_vm(progress.plan.vm.ref)
    if not is_current(progress.plan, progress.vm):
        raise _Overtaken()


def _read_surely(client: Client, progress: _Progress) -> None:
    """The same, once more when the answer is lost: reading is safe, and a start does not wait."""
    try:
        _read_unchanged(client, progress)
    except XapiUnreachable:
        _read_unchanged(client, progress)


def _exchange(client: Client, progress: _Progress) -> None:
    """Remove and add, back to back."""
    plan = progress.plan
    progress.is_key_missing = plan.value is not None
    client.remove_args(plan.vm.ref)
    if plan.value is not None:
        _add_surely(client, progress, plan.value)
    progress.is_key_missing = False


def _add_surely(client: Client, progress: _Progress, value: str) -> None:
    for attempt in range(_ADD_ATTEMPTS):
        try:
            client.add_args(progress.plan.vm.ref, value)
            return
        except XapiFailure as error:
            if error.code == 'MAP_DUPLICATE_KEY':
                # Ours, when an answer was lost before; or somebody else was quicker.
                _accept_duplicate(client, progress, value)
                return
            if isinstance(error, (VmVanished, SessionLost)) or attempt == _ADD_ATTEMPTS - 1:
                raise
        except XapiUnreachable:
            if attempt == _ADD_ATTEMPTS - 1:
                raise


def _accept_duplicate(client: Client, progress: _Progress, value: str) -> None:
    progress.vm = client.read_vm(progress.plan.vm.ref)
    if progress.vm.args != value:
        progress.is_key_missing = progress.vm.args is None
        raise _Overtaken()


def _verify(client: Client, progress: _Progress) -> None:
    vm = progress.vm = client.read_vm(progress.plan.vm.ref)
    if vm.args != progress.plan.value:
        raise InjectionNotVerified(
            'XAPI holds %r where %r was written' % (vm.args, progress.plan.value))
