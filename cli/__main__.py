"""vgpu-admin: reads the command line, runs one command, prints, gives the exit status.

Completion goes its own short way (`tab_completion.py`); for all else the program is imported when
it is known that it is needed.
"""

import os
import sys

from cli.commandline import tab_completion

TYPE_CHECKING = False  # that of `typing`, which takes as long to import as a completion may last
if TYPE_CHECKING:
    from typing import List, Optional

    from cli.output.printer import Output

INTERRUPTED = 130
"""The status after Ctrl-C, before the module that has it is imported."""


def main(argv: 'Optional[List[str]]' = None) -> int:
    """Run one command; the exit status."""
    try:
        return _main(argv)
    except KeyboardInterrupt:  # while modules are imported, or the output is settled
        return INTERRUPTED


def _main(argv: 'Optional[List[str]]') -> int:
    words = [_repaired(word) for word in (sys.argv[1:] if argv is None else argv)]
    if sys.version_info < (3, 7):
        from cli import quick_named_tuples
        quick_named_tuples.install()
    if tab_completion.COMMAND in words:
        offered = tab_completion.find_offered(words, os.environ)
        if offered is not None:
            return tab_completion.write(offered)
    from cli.output.printer import Output
    output = Output(sys.stdout, sys.stderr, os.environ)
    return output.settle(_run(words, output))


def _run(words: 'List[str]', output: 'Output') -> int:
    from cli.app import run
    from cli.commandline.options import JSON
    from cli.commandline.parser import parse
    from cli.context import build_context
    from cli.errors import CommandError

    # Until the command line has been read, this is all there is to go by.
    is_json = JSON.flag in (words[:words.index('--')] if '--' in words else words)
    try:
        arguments = parse(words, os.environ.get(tab_completion.CONFIG_VARIABLE, ''))
        return run(arguments, build_context(arguments, os.environ), output)
    except CommandError as error:
        output.print_error(error, (), is_json=is_json)
        return int(error.status)
    except KeyboardInterrupt:
        return INTERRUPTED


def _repaired(word: str) -> str:
    """Read a word as UTF-8 whatever the locale: Python 3.6 takes it apart under LANG=C."""
    return os.fsencode(word).decode('utf-8', 'replace')


if __name__ == '__main__':
    sys.exit(main())
