"""Whether the consumer of this host withholds stolen numbers, and what it goes by (P26)."""

import contextlib
import os
from typing import Any, Dict, NamedTuple, Optional

from cli.consumer.installation import STOCK, Awareness, ConsumerHost
from cli.consumer.wrapper_variant import Form
from cli.output.text import escape, plural
from watcher.config.settings import DEFAULT_PATH
from watcher.consumer.numbers_file import MAX_AGE_SECONDS, NumberFileInvalid
from watcher.consumer.run_directory import RunDirectory, read_instant
from watcher.errors import WatcherError

PAUSED = 'consumer.paused'
"""Beside the consumer's configuration; it looks for the pause at each start."""

ON, IN_DOUBT, PAUSED_STATE, NOT_IN_FORCE, NOT_READ, OFF, NO_DOM0, UNREADABLE = (
    'on', 'on_without_numbers', 'paused', 'not_in_force', 'not_read_yet', 'off', 'no_dom0',
    'unreadable')
# How an administrator has xenopsd read its configuration.
RESTART = 'restart xenopsd on this host: xe-toolstack-restart (running VMs run on)'


class ConsumerState(NamedTuple):
    """What the consumer does at the next start of a VM."""

    state: str
    form: Form
    is_paused: bool = False
    confirmed_seconds: Optional[float] = None
    """How long ago the daemon confirmed the numbers; None when it has not, on this boot."""
    rows: int = 0
    problem: str = ''
    """Why the numbers cannot be gone by; empty when they can."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the consumer goes by the numbers."""
        return not self.problem

    @property
    def is_well(self) -> bool:
        """Whether a stolen number would not boot here."""
        return self.state in (ON, NO_DOM0)

    @property
    def document(self) -> Dict[str, Any]:
        """The state for programs."""
        seconds = self.confirmed_seconds
        return {'state': self.state, 'form': self.form.value, 'paused': self.is_paused,
                'numbers_confirmed': self.is_confirmed,
                'confirmed_seconds': None if seconds is None else round(seconds, 1),
                'rows': self.rows, 'problem': self.problem or None}


def read_consumer_state(host: ConsumerHost, paused: str, run_directory: str) -> ConsumerState:
    """Read what the consumer would find now."""
    try:
        return _read_state(host, paused, run_directory)
    except OSError as error:
        return ConsumerState(UNREADABLE, Form.UNKNOWN, os.path.lexists(paused),
                             problem=f'{error.filename}: {error.strerror}')


def _read_state(host: ConsumerHost, paused: str, run_directory: str) -> ConsumerState:
    form = host.find_form()
    state = ConsumerState(OFF, form, os.path.lexists(paused))
    state = _read_numbers(state, RunDirectory(run_directory))
    if form is Form.MISSING:
        return state._replace(state=NO_DOM0)
    if form.is_patched:
        return state._replace(state=NOT_IN_FORCE)
    # What counts is the xenopsd that runs, and otherwise the one that will.
    if not host.is_installed() or not (host.is_enabled() or host.goes_on):
        return state
    if host.find_awareness() is Awareness.UNAWARE:
        return state._replace(state=NOT_READ)
    if state.is_paused:
        return state._replace(state=PAUSED_STATE)
    return state._replace(state=ON if state.is_confirmed else IN_DOUBT)


def find_paused(context: Any, root: Optional[str]) -> str:
    """Where the pause stands: in dom0 where the consumer looks, whichever configuration was named.

    Elsewhere no consumer is installed, and it stands beside that configuration.
    """
    from cli.commandline.options import CONFIG
    named = context.arguments.get(CONFIG)
    if root is None and named and not os.path.exists(STOCK):
        with contextlib.suppress(OSError):  # the working directory is gone
            named = os.path.abspath(named)
        return os.path.join(os.path.dirname(named), PAUSED)
    return os.path.join(root or '/', os.path.dirname(DEFAULT_PATH).lstrip('/'), PAUSED)


def find_run_directory(context: Any) -> str:
    """Where the daemon of this host writes; the default when the configuration does not pass."""
    with contextlib.suppress(WatcherError):
        return context.settings.run_directory
    from watcher.config.settings import Settings
    return Settings().run_directory


def describe_consumer(state: ConsumerState) -> str:
    """The state in words, as they follow a colon."""
    if state.state == ON:
        return (f'withholds stolen numbers; {plural(state.rows, "row")} confirmed '
                f'{state.confirmed_seconds:.0f} s ago')
    if state.state == IN_DOUBT:
        return f'on, but withholds no stolen number: {escape(state.problem)}'
    if state.state == UNREADABLE:
        return f'not known: {escape(state.problem)}'
    return _WORDS[state.state]


def advise_consumer(state: ConsumerState) -> str:
    """What to do about it; empty when nothing is."""
    return _ADVICE.get(state.state, '')


def _read_numbers(state: ConsumerState, directory: RunDirectory) -> ConsumerState:
    try:
        numbers = directory.read_numbers()
    except (OSError, NumberFileInvalid) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return state._replace(problem=f'{directory.path}/numbers: {reason}')
    if numbers is None:
        return state._replace(problem=f'the daemon has written no numbers into {directory.path}')
    age = numbers.age(*read_instant())
    state = state._replace(confirmed_seconds=age, rows=len(numbers.rows))
    if age is None:
        return state._replace(problem='the numbers were not confirmed since this host booted')
    if age > MAX_AGE_SECONDS:
        return state._replace(problem=f'the numbers were confirmed {age:.0f} s ago, which is more '
                              f'than {MAX_AGE_SECONDS:.0f} s')
    return state


_WORDS = {
    PAUSED_STATE: 'paused: every VM gets what XAPI carries, a stolen number too',
    NOT_IN_FORCE: f'not in force: {STOCK} is patched by hand and gives QEMU what it finds, a '
                  'stolen number too',
    NOT_READ: 'not in force yet: the xenopsd that runs was started before it was enabled',
    OFF: 'off: nothing on this host hands our arguments to QEMU',
    NO_DOM0: f'not known: there is no {STOCK}, so this is not dom0',
}
_ADVICE = {
    PAUSED_STATE: "'vgpu-admin consumer resume'",
    NOT_IN_FORCE: "put the packaged file back and run 'vgpu-admin consumer enable'",
    NOT_READ: RESTART,
    OFF: "'vgpu-admin consumer enable'",
    UNREADABLE: "see 'vgpu-admin consumer status'",
    IN_DOUBT: "see 'vgpu-admin doctor': the daemon confirms them while it is in sync with XAPI",
}
