"""The plugin's functions `admin` and `cancel`: a command of a user on another host."""

import contextlib
import io
import os
import signal
import socket
import struct
import threading
from typing import Iterator, List, Optional

from cli.app import run
from cli.commandline import options
from cli.commandline.options import JSON
from cli.commandline.parser import Arguments, parse
from cli.commandline.routing import belongs_to_master
from cli.context import Context
from cli.errors import CommandError, ExitStatus
from cli.forwarding.protocol import (Answer, Question, Request, build_question, parse_request,
                                     render_answer)
from cli.output.printer import Output
from cli.plugin.authorization import identify
from watcher.xapi.plugin_protocol import Call, CallInvalid

# A clean stop may take as long as --timeout says; everything else is done in minutes.
_SECONDS = 1800
# In the abstract namespace: nothing that could be left behind, and no path to be followed.
_ADDRESS = '\0vgpu-watcher-%s'
_CREDENTIALS = struct.Struct('3i')


class Asked(BaseException):
    """The command asks a question that has no answer yet. No error: nothing catches it."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question


def admin(call: Call, config_path: Optional[str]) -> str:
    """Run one command, and give back what it printed."""
    request = parse_request(call.arguments)
    results, errors = _Text(), _Text()
    output = Output(results.stream, errors.stream, {}, style=request.style)
    question = None
    try:
        arguments = _parse(request, config_path)
        context = _build_context(arguments, request, errors)
        with contextlib.closing(context):
            context.who = identify(context.live(), call.session, request)
            with _cancellable(request.identifier), _limited(arguments):
                status = run(arguments, context, output)
    except CommandError as error:
        output.print_error(error, (), is_json=JSON.flag in request.words)
        status = int(error.status)
    except Asked as asked:
        status, question = int(ExitStatus.FAILED), asked.question
    return render_answer(Answer(status, results.read(), errors.read(), question),
                         is_packed=request.is_packed)


def cancel(call: Call, config_path: Optional[str]) -> str:
    """Have a command of the function `admin` end as if its user had pressed Ctrl-C."""
    request = parse_request(dict(call.arguments, words='["cancel"]'))
    arguments = parse(['help'] + _config_words(config_path))
    context = _build_context(arguments, request, _Text())
    with contextlib.closing(context):
        identify(context.live(), call.session, request)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(_ADDRESS % request.identifier)
        except OSError as error:
            raise CallInvalid('no such command is under way') from error
    return render_answer(Answer(), is_packed=False)


class _Text:
    """A stream that keeps what is printed."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self._bytes, encoding='utf-8', errors='backslashreplace')

    def read(self) -> str:
        """What was printed until now."""
        self.stream.flush()
        return self._bytes.getvalue().decode('utf-8')


def _parse(request: Request, config_path: Optional[str]) -> Arguments:
    """Understand the words; nothing in them may name a file of this host."""
    arguments = parse(list(request.words))
    if arguments.get(options.CONFIG) or not belongs_to_master(arguments):
        raise CallInvalid('words: this command is not carried out for others')
    files = [option for option in (options.FILE, options.FROM_FILE)
             if arguments.get(option) is not None]
    is_export = arguments.command is not None and arguments.command.name == 'export'
    if files and not is_export and request.text is None:
        raise CallInvalid('input: the content of a file is expected; none of this host is read')
    # The configuration is this host's own, whatever the caller has.
    values = dict(arguments.values, **({options.CONFIG.name: config_path} if config_path else {}))
    return arguments._replace(values=values, file_text=request.text)


def _config_words(config_path: Optional[str]) -> List[str]:
    return ['--config', config_path] if config_path else []


def _build_context(arguments: Arguments, request: Request, errors: _Text) -> Context:
    def ask(block: List[str], text: str) -> None:
        question = build_question(request.words, block, text)
        if question.digest != request.answer:
            raise Asked(question)

    return Context(arguments, errors=errors.stream, answers=None, environment={},
                   ask=ask if request.can_ask or request.answer else None, is_forwarded=True)


@contextlib.contextmanager
def _limited(arguments: Arguments) -> Iterator[None]:
    """A command has an end: then it is interrupted, as Ctrl-C does, and says what it has done."""
    def interrupt(_number: int, _frame: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(_SECONDS + (arguments.get(options.TIMEOUT) or 0))
    try:
        yield
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def _cancellable(identifier: str) -> Iterator[None]:
    """Be interrupted when root of this host connects to the address of this command."""
    if not identifier:
        yield
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(_ADDRESS % identifier)
        listener.listen(1)
        threading.Thread(target=_await_cancel, args=(listener,), daemon=True).start()
        yield


def _await_cancel(listener: socket.socket) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return  # the command is done
        with contextlib.closing(connection):
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                          _CREDENTIALS.size)
            if _CREDENTIALS.unpack(found)[1] == os.getuid():
                os.kill(os.getpid(), signal.SIGINT)
