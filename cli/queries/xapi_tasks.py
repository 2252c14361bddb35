"""Long operations of XAPI: begun as tasks, watched with a time limit, cancelled when given up."""

import contextlib
from typing import Any, Callable, TypeVar

from cli.interrupts import deferred
from watcher.errors import SessionLost, XapiError, XapiFailure, XapiUnreachable

# What is seen of an XAPI that is being restarted: that alone must not leave a VM down.
XAPI_AWAY = (XapiUnreachable, SessionLost)
_AWAY_SECONDS = 20
_LOOK_SECONDS = 0.25
# What a daemon is waited for mostly takes less.
_FIRST_PAUSE_SECONDS = 0.06
_TELL_SECONDS = 5.0
_CANCEL_SECONDS = 10.0
# A connection may drop while a guest stops; an XAPI that stays away is given up.
_SILENCE_SECONDS = 10.0
_T = TypeVar('_T')


class TaskTookTooLong(Exception):
    """The time limit passed; the operation was cancelled, or `is_cancelled` is False."""

    def __init__(self, is_cancelled: bool) -> None:
        super().__init__()
        self.is_cancelled = is_cancelled


def run_task(context: Any, method: str, *params: Any, timeout_seconds: float,
             progress: str) -> None:
    """Run an operation to its end; an operation that is given up is cancelled in XAPI.

    Raises XapiFailure when XAPI says no, TaskTookTooLong, and whatever interrupts the wait.
    """
    client = context.live().client
    task = ''
    try:
        # Interrupted in the middle of this call, we would not know what to cancel.
        with deferred():
            task = client.call('Async.' + method, *params)
        deadline = context.clock() + timeout_seconds
        status = _wait(context, client, task, deadline, progress)
        if status == 'pending':
            raise TaskTookTooLong(_cancel(context, client, task))
        if status != 'success':
            raise read_failure(client, task, status)
    except KeyboardInterrupt:
        is_cancelled = bool(task) and _cancel(context, client, task)
        context.done.append(f'the {progress} was cancelled' if is_cancelled else
                            f'the {progress} could not be cancelled and may still happen')
        raise
    finally:
        if task:
            destroy_task(client, task)


def wait_until(context: Any, condition: Callable[[], Any], timeout_seconds: float) -> Any:
    """Look again and again until something is there; None when the time is over."""
    deadline, pause = context.clock() + timeout_seconds, _FIRST_PAUSE_SECONDS
    while True:
        value = condition()
        if value or context.clock() >= deadline:
            return value or None
        context.sleep(pause)
        pause = min(2.0 * pause, _LOOK_SECONDS)


def read_patiently(context: Any, read: Callable[[], _T]) -> _T:
    """What `read` returns; an XAPI that is being restarted is waited for."""
    deadline = context.clock() + _AWAY_SECONDS
    while True:
        try:
            return read()
        except XAPI_AWAY:
            if context.clock() >= deadline:
                raise
            context.reconnect()
        context.sleep(_LOOK_SECONDS)


def read_failure(client: Any, task: str, status: str) -> XapiFailure:
    """Why a task did not succeed."""
    error = client.call('task.get_error_info', task)
    if not isinstance(error, list) or not error:
        error = [status]
    return XapiFailure(str(error[0]), [str(item) for item in error[1:]])


def destroy_task(client: Any, task: str) -> None:
    """Tidy up; what cannot be is left: XAPI collects finished tasks by itself."""
    with contextlib.suppress(XapiError):
        client.call('task.destroy', task)


def _wait(context: Any, client: Any, task: str, deadline: float, progress: str) -> str:
    """The task's status when it has ended; 'pending' when the time is over."""
    told_at = answered_at = context.clock()
    while True:
        try:
            status = str(client.call('task.get_status', task))
            answered_at = context.clock()
        except XapiUnreachable:
            if context.clock() - answered_at > _SILENCE_SECONDS:
                raise
            status = 'pending'
        if status not in ('pending', 'cancelling'):
            return status
        now = context.clock()
        if now >= deadline:
            return 'pending'
        if now - told_at >= _TELL_SECONDS:
            told_at = now
            context.tell(f'{progress}: {int(deadline - now)} s left')
        context.sleep(_LOOK_SECONDS)


def _cancel(context: Any, client: Any, task: str) -> bool:
    """Cancel, and wait for the end; whether the operation did not come about."""
    try:
        client.call('task.cancel', task)
        status = _wait(context, client, task, context.clock() + _CANCEL_SECONDS, 'cancelling')
        return status in ('cancelled', 'failure')
    except XapiError:
        return False
