"""What commands work with: settings, registry, journal, XAPI, and the person at the terminal.

Everything is opened, and imported, when it is first asked for, so that a command pays only for
what it needs.
"""

import contextlib
import os
import pwd
import sys
import time
from typing import (TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence,
                    TextIO)

from cli.commandline.options import CONFIG, DB, JSON, YES
from cli.commandline.parser import Arguments
from cli.errors import CommandError, Kind
from cli.output.text import NO_PERMISSION, encodable, escape

if TYPE_CHECKING:
    from registry.paths import OwnFile
    from registry.proposal import Proposal
    from registry.store import Registry
    from watcher.config.settings import Settings
    from watcher.errors import XapiError

# P17: vgpu-admin waits so long for a registry that others have locked.
REGISTRY_SECONDS = 10.0
# A journal that only adds to the answer is not waited for.
_HELPER_SECONDS = 1.0
_AGAIN_SECONDS = 0.1
# What cannot be read is a line in what this command shows.
_WHOLE = 'status'


class Context:
    """One run of vgpu-admin."""

    def __init__(self, arguments: Arguments, *, errors: Optional[TextIO], answers: Optional[TextIO],
                 environment: Mapping[str, str],
                 ask: Optional[Callable[[List[str], str], None]] = None,
                 is_forwarded: bool = False) -> None:
        self.arguments = arguments
        self.clock = time.monotonic
        self.sleep = time.sleep
        self.notes: List[str] = []
        self.is_forwarded = is_forwarded
        """Whether the command came from another host."""
        self.who = '' if is_forwarded else _find_user(environment)
        """Who runs this, for the history."""
        self.was_forwarded = False
        """Whether the master was asked to carry the command out."""
        self.was_asked = False
        """Whether a person answered a question, and so agreed to what was shown."""
        self.named: Dict[str, str] = {}
        """UUID -> the name by which the command line calls a VM."""
        self.done: List[str] = []
        """What was done so far, told when the command is interrupted."""
        self.advice: List[str] = []
        """How to go on, told when a command is interrupted after it has done something."""
        self.config_problem = ''
        """Why the configuration cannot be gone by, for `status`."""
        self.journal_problem = ''
        """Why the journal could not be read."""
        self._errors = errors
        self._answers = answers
        self._ask = ask
        self._environment = environment
        self._settings: 'Optional[Settings]' = None
        self._registry: 'Optional[Registry]' = None
        self._live: Any = None
        self._problem: 'Optional[XapiError]' = None
        self._journal_seconds = _HELPER_SECONDS
        self._registry_seconds = REGISTRY_SECONDS
        self._host_names: Dict[Optional[str], Optional[str]] = {}

    @property
    def is_json(self) -> bool:
        """Whether a program reads what we print."""
        return bool(self.arguments.get(JSON))

    def read_variable(self, name: str) -> str:
        """A variable of the environment; '' when it is not set."""
        return self._environment.get(name, '')

    @property
    def command(self) -> str:
        """The name of the command, for the history."""
        return self.arguments.command.name if self.arguments.command else ''

    @property
    def settings(self) -> 'Settings':
        """The configuration, with the registry of --db."""
        if self._settings is None:
            self._settings = self._load_settings()
            path = self.arguments.get(DB)
            if path is not None:
                self._settings = self._settings._replace(
                    registry=self._settings.registry._replace(path=_resolve(path)))
        return self._settings

    def _load_settings(self) -> 'Settings':
        """Read the configuration; the panel is shown also where that does not pass."""
        from watcher.config import settings as config
        path = self.arguments.get(CONFIG)
        try:
            return config.load(path)
        except config.ConfigError as error:
            if self.command != _WHOLE or not os.path.exists(path or config.DEFAULT_PATH):
                raise
            self.config_problem = str(error)
            return config.Settings()

    @property
    def check_config(self) -> str:
        """The command that checks the configuration which is used here."""
        named = self.arguments.get(CONFIG)
        return f"'vgpu-watcher check-config{f' --config={escape(named)}' if named else ''}'"

    @property
    def configured_path(self) -> str:
        """The registry of the configuration, whatever --db says."""
        from watcher.config import settings as config
        return config.load(self.arguments.get(CONFIG)).registry.path

    def own_files(self) -> 'Iterator[OwnFile]':
        """List the files that no output may be written over: those of the registry that is used,
        of the configured and of the default one, and what the configuration names."""
        from registry.paths import OwnFile, list_own_files
        from watcher.config import settings as config
        named = self.arguments.get(CONFIG)
        settings = config.load(named)
        for path in dict.fromkeys((self.settings.registry.path, settings.registry.path,
                                   config.Settings().registry.path)):
            yield from list_own_files(path)
        for path in dict.fromkeys((named or config.DEFAULT_PATH, config.DEFAULT_PATH)):
            yield OwnFile(path, 'the configuration')
        for key in config.KEYS:
            if key.is_path and key.render(settings):
                yield OwnFile(key.render(settings),
                              f'a file of the configuration ([{key.section}] {key.name})')

    @property
    def registry(self) -> 'Registry':
        """The registry."""
        if self._registry is None:
            from registry.store import Registry
            settings = self.settings.registry
            self._registry = Registry(settings.path, timeout_seconds=self._registry_seconds,
                                      trust_mass_removals=settings.trust_mass_removals,
                                      on_wait=self.tell)
        return self._registry

    def lose_registry(self, *, is_locked: bool) -> None:
        """It could not be read; one that is locked is not waited for again in this run."""
        if is_locked:
            self._registry, self._registry_seconds = None, _AGAIN_SECONDS

    @contextlib.contextmanager
    def editing(self, *, done: str = '', dry_run: bool = False,
                allow_loss: bool = False) -> Iterator[Any]:
        """Edit the registry: all of the block or nothing; Ctrl-C prints `done`.

        Waiting for the lock can be interrupted. What follows cannot: whether the commit came
        about must be known when we say what was done.
        """
        with self._committing(self.registry.edit(
                who=self.who, command=self.command, dry_run=dry_run,
                allow_loss=allow_loss)) as edit:
            yield edit
        if not dry_run:
            self._note_done(edit, done)

    def carry_out(self, proposal: 'Proposal', *, done: str, allow_loss: bool = False,
                  needs_journal: bool = False) -> None:
        """Do what was proposed and shown, or nothing; interrupted as `editing` is."""
        with self._committing(self.registry.applying(
                proposal, who=self.who, command=self.command,
                allow_loss=allow_loss, needs_journal=needs_journal)) as edit:
            pass
        self._note_done(edit, done)

    @contextlib.contextmanager
    def _committing(self, transaction: Any) -> Iterator[Any]:
        from cli.interrupts import deferred
        with contextlib.ExitStack() as outer:
            inner = contextlib.ExitStack()
            edit = inner.enter_context(transaction)
            outer.enter_context(deferred())
            with inner:
                yield edit

    def _note_done(self, edit: Any, done: str) -> None:
        if not edit.proposal.has_any:
            return
        if edit.journal_problem:
            self.note(f'the history does not have this: {edit.journal_problem}')
        self._note_disabled(edit.proposal)
        if any(slot.origin is None for slot in edit.proposal.slots):
            from cli.mediator import describe_excess
            excess = describe_excess(len(edit.proposal.vms_after))
            if excess:
                self.note(excess)
        if done:
            self.done.append(done)

    def _note_disabled(self, proposal: 'Proposal') -> None:
        """Say why VMs get nothing, where rows came into a vGPU pool that is disabled."""
        entered = {row.after.pool_id for row in proposal.difference.rows
                   if row.after and (row.before is None or row.before.pool_id != row.after.pool_id)}
        for pool in proposal.pools_after:
            if not pool.enabled and pool.pool_id in entered:
                self.note(f'vGPU pool {pool.pool_id} is disabled: its VMs get no arguments until '
                          f"'vgpu-admin enable-pool --pool-id={pool.pool_id}'")

    @contextlib.contextmanager
    def journal(self, *, is_needed: bool = False) -> Iterator[Any]:
        """The journal, open; None where there is none, or where we may not read it.

        With `is_needed` one that cannot be read is an error: it must not look like an empty one.
        """
        path = self.registry.journal_path
        if not os.path.exists(path):
            yield None
            return
        from registry.errors import JournalUnavailable, Reason, RegistryError
        from registry.journal.journal import open_to_read
        from registry.sqlite.connection import TRY_AGAIN
        seconds = REGISTRY_SECONDS if is_needed else self._journal_seconds
        try:
            journal, problem = open_to_read(path, timeout_seconds=seconds,
                                            on_wait=lambda: self._tell_wait(path))
        except RegistryError as error:
            is_locked = getattr(error, 'reason', None) is Reason.LOCKED
            if is_needed and is_locked:
                raise JournalUnavailable(f'{error}; {TRY_AGAIN}', reason=Reason.LOCKED) from error
            if is_needed:
                raise
            if is_locked:
                # Once in a run it is waited for in vain.
                self._journal_seconds = _AGAIN_SECONDS
            self.journal_problem = str(error)
            self.note(self.journal_problem)
            yield None
            return
        if problem:
            self.note(problem)
        with contextlib.closing(journal):
            yield journal

    def live(self) -> Any:
        """The session with XAPI; raises XapiError, again and again, when there is none."""
        if self._problem is not None:
            raise self._problem
        if self._live is None:
            self._live = self._connect()
        return self._live

    @property
    def xapi_problem(self) -> str:
        """Why XAPI could not be asked."""
        return str(self._problem) if self._problem is not None else ''

    def find_host_name(self, ref: Optional[str]) -> Optional[str]:
        """Find the name of a host; None when XAPI cannot be asked, or does not say."""
        from watcher.errors import XapiError
        if ref is not None and ref not in self._host_names:
            try:
                self._host_names[ref] = self.live().find_host_name(ref)
            except XapiError:
                return None
        return self._host_names.get(ref)

    def lose_live(self, problem: 'XapiError') -> None:
        """XAPI has ceased to answer: it is not asked again in this run."""
        self.close()
        self._problem = problem

    def reconnect(self) -> None:
        """Log in again, where XAPI was restarted; while it is away, the next call says so."""
        from watcher.errors import XapiError
        self.close()
        self._problem = None
        with contextlib.suppress(XapiError):
            self.live()

    def close(self) -> None:
        """Give the session back."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def note(self, text: str) -> None:
        """Keep something that the reader should know, beside the result, and say it once."""
        if not any(text in note for note in self.notes):
            self.notes = [note for note in self.notes if note not in text] + [text]

    def tell(self, *lines: str) -> None:
        """Say at once what is going on; programs are not told."""
        if not self.is_json:
            self._say(self._fitted(lines))

    def _fitted(self, lines: Sequence[str]) -> str:
        """Lines for standard error: harmless, and broken at blanks where that is a terminal."""
        from cli.output.printer import fitted
        return ''.join(f'{line}\n' for line in fitted(
            [escape(line) for line in lines], self._errors))

    def _tell_wait(self, path: str) -> None:
        from registry.sqlite.lock_holders import describe_wait
        self.tell(describe_wait(path))

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return self._ask is not None or (self._answers is not None and self._answers.isatty())

    def confirm(self, block: List[str], question: str, *, alternatives: str = '--yes') -> None:
        """Have a question answered with yes, or raise; `--yes` answers in advance."""
        if self._ask is not None and not self.arguments.get(YES):
            self._ask(block, question)
            self.was_asked = True
            return
        if self.arguments.get(YES) or not self.can_ask:
            self.tell(*block)
        if self.arguments.get(YES):
            return
        if not self.can_ask:
            raise CommandError(Kind.USAGE, f'not a terminal: add {alternatives}; nothing was '
                               'changed')
        # The person who is asked sees what it is about, also when a program reads the answer.
        self._say(self._fitted(block) + f'{question} (yes/no): ')
        if self._errors is None or self._answers is None:
            raise CommandError(Kind.FAILED, 'the question cannot be shown; nothing was changed')
        self.was_asked = True
        try:
            answer = self._answers.readline()
        except KeyboardInterrupt:
            self._say('\n')  # what follows stands on a line of its own
            raise
        if not answer.endswith('\n') or not self._errors.isatty():
            self._say('\n')  # no terminal has shown a Return there
        if answer.strip().lower() not in ('yes', 'y'):
            raise CommandError(Kind.DECLINED, 'not confirmed; nothing was changed')

    def _say(self, text: str) -> None:
        """Write to standard error; where that cannot be read, the work goes on all the same."""
        try:
            if self._errors is not None:
                self._errors.write(encodable(text, self._errors.encoding))
                self._errors.flush()
        except OSError:
            self._errors = None

    def _connect(self) -> Any:
        from watcher.errors import XapiError
        try:
            probe(self.settings)
            from cli.xapi_session import open_session
            return open_session(self.settings)
        except XapiError as error:
            self._problem = error
            raise


def _resolve(path: str) -> str:
    from registry.paths import resolve_path
    try:
        return resolve_path(path)
    except OSError as error:
        raise CommandError(Kind.USAGE, f'--db={escape(path)}: the working directory is gone: name '
                           'the registry by its whole path') from error


def _find_user(environment: Mapping[str, str]) -> str:
    """The user's login name, also behind sudo."""
    try:
        return environment.get('SUDO_USER') or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f'uid {os.getuid()}'


def probe(settings: 'Settings') -> None:
    """Find out cheaply that nothing listens on the local socket, or that it is not for us."""
    from watcher.errors import XapiUnreachable
    address = settings.xapi.address
    if address.scheme == 'unix' and not os.path.exists(address.path):
        raise XapiUnreachable(f'XAPI is not reachable: no socket at {address.path}')
    if address.scheme == 'unix' and not os.access(address.path, os.W_OK):
        raise XapiUnreachable(f'XAPI is not reachable: {NO_PERMISSION}{address.path}')


def build_context(arguments: Arguments, environment: Mapping[str, str]) -> Context:
    """Build the context of a real run."""
    return Context(arguments, errors=sys.stderr, answers=sys.stdin, environment=environment)
