"""Runs one command that has been understood: here, or on the master; prints; gives the status."""

import importlib
import os
import stat
from typing import Optional

from cli.commandline.options import MINIMAL
from cli.commandline.parser import Arguments
from cli.commandline.routing import belongs_to_master, is_edit
from cli.context import Context
from cli.errors import CommandError, Kind, list_expected, translate
from cli.output.printer import Output
from cli.output.result import Result

_STANDARD_OUTPUT = 1


def run(arguments: Arguments, context: Context, output: Output) -> int:
    """Run a command to its end; the exit status."""
    try:
        _check_output(context)
        status = _forward(arguments, context, output)
        if status is not None:
            return status
        result = _execute(arguments, context)
        output.print_result(result, context.notes, is_json=context.is_json,
                            is_minimal=bool(arguments.get(MINIMAL)))
        return int(result.status)
    except list_expected() as error:
        failure = _with_outcome(translate(error), error, arguments, context)
    except KeyboardInterrupt:
        failure = CommandError(Kind.INTERRUPTED, '\n'.join(
            ['interrupted'] + (context.done + context.advice or ['nothing was changed'])))
    finally:
        output.outcome = _describe_outcome(arguments, context)
        context.close()
    output.print_error(failure, context.notes, is_json=context.is_json)
    return int(failure.status)


def _with_outcome(failure: CommandError, error: Exception, arguments: Arguments,
                  context: Context) -> CommandError:
    """Say of an edit that met a full disk, or a file that cannot be used, whether it was made."""
    from registry.errors import RegistryUnavailable
    if not isinstance(error, RegistryUnavailable) or not is_edit(arguments) \
            or 'nothing was changed' in str(failure):
        return failure
    return CommandError(failure.kind, f'{failure}\n{_describe_outcome(arguments, context)}')


def _describe_outcome(arguments: Arguments, context: Context) -> str:
    """What was done, said where the result itself cannot be written."""
    if context.done:
        return 'done all the same: ' + '; '.join(context.done)
    if not is_edit(arguments):
        return ''
    if context.was_forwarded:
        return "the master has done it, or has not: see 'vgpu-admin history'"
    return 'nothing was changed'


def _check_output(context: Context) -> None:
    """Refuse a standard output that the shell has led into a file of ours (`status >>FILE`)."""
    if context.is_forwarded or not _is_regular(_STANDARD_OUTPUT):
        return
    from cli.exchange.files import check_output
    from watcher.errors import ConfigError
    try:
        own = tuple(context.own_files())
    except ConfigError:
        return  # the command itself says so, where it needs one
    check_output(os.fstat(_STANDARD_OUTPUT), own)


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _forward(arguments: Arguments, context: Context, output: Output) -> Optional[int]:
    """The status of a command that the master carried out; None when it is done here."""
    if context.is_forwarded or not belongs_to_master(arguments):
        return None
    from cli.queries.member import find_master
    master = find_master(arguments, context)
    if master is None:
        return None
    from cli.forwarding.forward import forward
    context.was_forwarded = True
    return forward(arguments, context, output, master)


def _execute(arguments: Arguments, context: Context) -> Result:
    command = arguments.command
    if 'version' in arguments.values:
        from cli.commands.help import show_version
        return show_version(arguments, context)
    if command is None and 'help' not in arguments.values:
        raise CommandError(Kind.USAGE, "a command is needed; see 'vgpu-admin help'")
    if command is None or arguments.topic is not None or command.name == 'help':
        from cli.commands.help import show_help
        return show_help(arguments, context)
    module = importlib.import_module('cli.' + command.module)
    return getattr(module, command.function)(arguments, context)
