"""Runs one command that has been understood: here, or on the master; prints; gives the status."""

import contextlib
import importlib
import os
import stat
from typing import Optional, Sequence

from cli.commandline.options import MINIMAL
from cli.commandline.parser import Arguments
from cli.commandline.routing import belongs_to_master, is_edit
from cli.context import Context
from cli.errors import CommandError, Kind, list_expected, translate
from cli.output.printer import Output
from cli.output.result import Result
from cli.output.text import NO_PERMISSION

_STANDARD_OUTPUT = 1
_FORBIDDEN = ('Permission denied', NO_PERMISSION, 'cannot be read; check',
              'cannot be written; check')
_NOT_ROOT = 'you are not root: run vgpu-admin as root'


def run(arguments: Arguments, context: Context, output: Output) -> int:
    """Run a command to its end; the exit status."""
    try:
        _check_output(context)
        status = _forward(arguments, context, output)
        if status is not None:
            return status
        result = _execute(arguments, context)
        if _is_forbidden(context.notes + [context.config_problem, context.xapi_problem]):
            context.note(_NOT_ROOT)
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
    failure = _with_root(_with_names(failure, context), context)
    notes = [note for note in context.notes if note not in str(failure)]
    output.print_error(failure, notes, is_json=context.is_json)
    return int(failure.status)


def _is_forbidden(texts: Sequence[str]) -> bool:
    """Whether something is only for root, and another user asks."""
    return os.geteuid() != 0 and any(words in text for text in texts for words in _FORBIDDEN)


def _with_root(failure: CommandError, context: Context) -> CommandError:
    """Say who may, as the next step."""
    if not _is_forbidden([str(failure)] + context.notes):
        return failure
    return CommandError(failure.kind, f'{failure}\n{_NOT_ROOT}')


def _with_names(failure: CommandError, context: Context) -> CommandError:
    """Call VMs by the names that people typed, or that the registry has."""
    from cli.output.text import list_vms_named, name_vms, spell_vm
    text, names = str(failure), dict(context.named)
    for vm_uuid, name in context.named.items():
        text = text.replace(f"register-vm --vm-uuid={vm_uuid}'",
                            f"register-vm {spell_vm(name, f'--vm-uuid={vm_uuid}')}'")
    if not set(list_vms_named(text)) <= set(names):
        from registry.quick_read import list_names
        from watcher.errors import ConfigError
        with contextlib.suppress(ConfigError):
            names = dict(list_names(context.registry.path), **names)
    return CommandError(failure.kind, name_vms(text, names))


def _with_outcome(failure: CommandError, error: Exception, arguments: Arguments,
                  context: Context) -> CommandError:
    """Say of an edit that met a full disk, or a file that cannot be used, whether it was made; of
    an XAPI that does not answer, where to look."""
    from registry.errors import RegistryUnavailable
    from watcher.errors import XapiUnreachable
    if isinstance(error, XapiUnreachable):
        from cli.output.text import say_unavailable
        return CommandError(failure.kind, say_unavailable(failure))
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
