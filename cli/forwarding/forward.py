"""Carries a command out on the master of the pool: through its plugin, by way of XAPI.

The member sends the words, and what its terminal can do; the master runs the command as its own
and gives back what would have been printed. A question comes back unanswered: it is asked here,
and the command sent again with the answer bound to what was shown. Nothing is repeated by itself.
"""

import os
from typing import Optional, Sequence

from cli.commandline import options
from cli.commandline.parser import Arguments, parse
from cli.commandline.routing import EDITS
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.forwarding.protocol import Answer, Request, parse_answer, render_request, split_lines
from cli.interrupts import deferred
from cli.output.printer import Output
from cli.output.text import Style, escape
from cli.queries.member import Master
from cli.queries.plugin_calls import begin_call, read_result
from cli.queries.xapi_tasks import destroy_task, read_failure
from watcher.errors import SessionLost, XapiError, XapiFailure
from watcher.xapi.plugin_protocol import MAX_CALL_BYTES, PLUGIN, AnswerInvalid, Call, render_call

# The first answer is often there at once; a restart takes minutes.
_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.25)
_TELL_SECONDS = 5.0
# What a command may still take to end once it was cancelled.
_CANCEL_SECONDS = 15.0
# Failures that come before the command was looked at: nothing was done.
_NOT_BEGUN = frozenset([
    'XENAPI_MISSING_PLUGIN', 'UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'MESSAGE_METHOD_UNKNOWN',
    'RBAC_PERMISSION_DENIED', 'HOST_OFFLINE', 'CANNOT_CONTACT_HOST', 'HOST_STILL_BOOTING'])
_REFUSALS = ('CallInvalid', 'CallRefused', 'ConfigError', 'XapiUnreachable', 'XapiFailure',
             'SessionLost')


class CannotForward(Exception):
    """The master cannot be asked; nothing was done."""


def forward(arguments: Arguments, context: Context, output: Output,
            master: Master) -> Optional[int]:
    """The exit status that the master gave; None when this host shall answer by itself."""
    command = arguments.command.name if arguments.command else ''
    try:
        return _Forwarding(arguments, context, output, master).run()
    except CannotForward as error:
        if command in EDITS:
            raise CommandError(Kind.FAILED, f'this host is a member of its pool, and the registry '
                               f'is edited on the master, {escape(master.name)}, to which the '
                               f'command could not be forwarded: {error}; nothing was '
                               'changed') from error
        context.note(f'the master, {master.name}, could not be asked ({error}); this is what this '
                     'host, a member, knows')
        return None


def fetch(words: Sequence[str], context: Context, master: Master) -> Answer:
    """What a command that only shows prints on the master, for this host to go on with."""
    output = Output(None, None, {}, style=Style())
    return _Forwarding(parse(list(words)), context, output, master).fetch()


class _Forwarding:
    """One command on its way."""

    def __init__(self, arguments: Arguments, context: Context, output: Output,
                 master: Master) -> None:
        self._context = context
        self._output = output
        self._is_export = arguments.command is not None and arguments.command.name == 'export'
        self._master = master
        self._client = context.live().client
        self._request = Request(
            arguments.words, can_ask=context.can_ask, style=output.style,
            text=_read_text(arguments), user=context.who, host=self._read_own_name(),
            identifier=os.urandom(16).hex(), is_packed=True)

    def run(self) -> int:
        """Send it, and again with each answer to a question; the exit status."""
        request = self._request
        while True:
            answer = self._send(request)
            self._output.print_lines(split_lines(answer.output), split_lines(answer.errors),
                                     is_data=self._is_export)
            if answer.question is None:
                return answer.status
            if request.answer:
                self._context.tell('what would be changed has changed meanwhile')
            self._context.confirm(list(answer.question.block), answer.question.text)
            request = request._replace(answer=answer.question.digest)

    def fetch(self) -> Answer:
        """Send it once, by one call: a user who may end tasks of others may write their results."""
        try:
            return parse_answer(self._client.call('host.call_plugin', self._master.ref, PLUGIN,
                                                  'admin', render_request(self._request)))
        except XapiFailure as error:
            raise self._explain(error) from error
        except (XapiError, AnswerInvalid) as error:
            raise self._unknown(error) from error

    def _read_own_name(self) -> str:
        try:
            return str(self._client.call('host.get_name_label', self._context.live().role.host))
        except XapiFailure:
            return ''

    def _send(self, request: Request) -> Answer:
        arguments = render_request(request)
        size = len(render_call(Call('admin', str(self._client.handle), arguments)))
        if size > MAX_CALL_BYTES:
            raise CannotForward(f'it is too large to be forwarded ({size} bytes of at most '
                                f'{MAX_CALL_BYTES}): repeat it there')
        task = ''
        try:
            # Interrupted in the middle of this call, we would not know what to wait for.
            with deferred():
                task = begin_call(self._client, self._master.ref, 'admin', arguments)
            return self._finish(task, request.identifier)
        except SessionLost as error:
            raise self._unknown(error) if task else CannotForward(str(error)) from error
        except XapiFailure as error:
            raise self._explain(error) from error
        except (XapiError, AnswerInvalid) as error:
            raise self._unknown(error) from error
        finally:
            if task:
                destroy_task(self._client, task)

    def _finish(self, task: str, identifier: str) -> Answer:
        """Wait for the end; Ctrl-C has the command cancelled there, and waits for what it says."""
        try:
            status = self._wait(task, None)
        except KeyboardInterrupt:
            self._context.tell(f'cancelling the command on {self._master.name}')
            status = self._cancel(task, identifier)
            if status == 'pending':
                self._context.done.append(
                    f'the command goes on on {self._master.name}: see vgpu-admin history')
                raise
        if status != 'success':
            raise read_failure(self._client, task, status)
        return parse_answer(read_result(self._client, task))

    def _wait(self, task: str, limit_seconds: Optional[float]) -> str:
        """The status of the task when it has ended; 'pending' when the time is over."""
        began_at = told_at = self._context.clock()
        pauses = iter(_PAUSES_SECONDS)
        while True:
            status = str(self._client.call('task.get_status', task))
            now = self._context.clock()
            if status not in ('pending', 'cancelling'):
                return status
            if limit_seconds is not None and now - began_at >= limit_seconds:
                return 'pending'
            if now - told_at >= _TELL_SECONDS:
                told_at = now
                self._context.tell(f'{self._master.name} carries it out: '
                                   f'{int(now - began_at)} s')
            self._context.sleep(next(pauses, _PAUSES_SECONDS[-1]))

    def _cancel(self, task: str, identifier: str) -> str:
        try:
            self._client.call('host.call_plugin', self._master.ref, PLUGIN, 'cancel',
                              {'request': identifier})
            return self._wait(task, _CANCEL_SECONDS)
        except XapiError as error:
            self._context.done.append(f'it could not be cancelled: {error}')
            return 'pending'

    def _explain(self, error: XapiFailure) -> Exception:
        """Whether the command was begun: only then anything may have been changed."""
        if error.code == 'XENAPI_MISSING_PLUGIN':
            return CannotForward('it has no plugin of this service: install or upgrade it there')
        if error.code == 'XENAPI_PLUGIN_FAILURE' and error.params[1:2] and \
                error.params[1] in _REFUSALS:
            return CannotForward(escape(' '.join(error.params[2:]))[:400])
        if error.code in _NOT_BEGUN:
            return CannotForward(escape(str(error))[:400])
        return self._unknown(error)

    def _unknown(self, error: Exception) -> CommandError:
        return CommandError(
            Kind.FAILED, f'the command was given to {escape(self._master.name)}, and no answer '
            f'came: {escape(str(error))[:400]}; what became of it is not known: see '
            "'vgpu-admin history' before you repeat it")


def _read_text(arguments: Arguments) -> Optional[str]:
    """The file that the command names: it is this host's, and goes along."""
    for option in (options.FILE, options.FROM_FILE):
        path = arguments.get(option)
        if path is not None and arguments.command and arguments.command.name != 'export':
            from cli.exchange.files import read_file
            return read_file(path)
    return None
