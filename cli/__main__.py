"""vgpu-admin: reads the command line, runs one command, prints, gives the exit status."""

import importlib
import os
import sys
from typing import List, Optional

from cli.context import Context, build_context
from cli.errors import CommandError, ExitStatus, Kind, translate
from cli.options import JSON, MINIMAL
from cli.output import Output
from cli.parser import Arguments, parse
from cli.result import Result
from registry.errors import RegistryError
from watcher.errors import WatcherError


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command; the exit status."""
    words = [_repaired(word) for word in (sys.argv[1:] if argv is None else argv)]
    output = Output(sys.stdout, sys.stderr, os.environ)
    # Until the command line has been read, this is all there is to go by.
    is_json = JSON.flag in words
    try:
        return _run(parse(words), output)
    except CommandError as error:
        output.print_error(error, (), is_json=is_json)
        return int(error.status)
    except KeyboardInterrupt:
        return int(ExitStatus.INTERRUPTED)
    finally:
        output.close()


def _run(arguments: Arguments, output: Output) -> int:
    context = build_context(arguments, os.environ)
    try:
        result = _execute(arguments, context)
        output.print_result(result, context.notes, is_json=context.is_json,
                            is_minimal=bool(arguments.get(MINIMAL)))
        return int(result.status)
    except (CommandError, RegistryError, WatcherError) as error:
        failure = translate(error)
    except KeyboardInterrupt:
        failure = CommandError(Kind.INTERRUPTED, '\n'.join(
            ['interrupted'] + (context.done or ['nothing was changed'])))
    finally:
        context.close()
    output.print_error(failure, context.notes, is_json=context.is_json)
    return int(failure.status)


def _execute(arguments: Arguments, context: Context) -> Result:
    command = arguments.command
    if command is None and 'help' not in arguments.values:
        raise CommandError(Kind.USAGE, "a command is needed; see 'vgpu-admin help'")
    if command is None or arguments.topic is not None or command.name == 'help':
        from cli.usage import show_help
        return show_help(arguments, context)
    return getattr(importlib.import_module(command.module), command.function)(arguments, context)


def _repaired(word: str) -> str:
    """Read a word as UTF-8 whatever the locale: Python 3.6 takes it apart under LANG=C."""
    return os.fsencode(word).decode('utf-8', 'replace')


if __name__ == '__main__':
    sys.exit(main())
