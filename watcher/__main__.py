"""vgpu-watcher: the composition root. Arguments, settings, logging, objects, run, exit status."""

import argparse
import contextlib
import os
import signal
import sys
from typing import List, Optional

from watcher.config import settings as config
from watcher.config.settings import Settings
from watcher.errors import ConfigError, WatcherError
from watcher.metrics.exporter import Reporter
from watcher.runtime import logs
from watcher.runtime.log_format import escape
from watcher.runtime.systemd import Notifier
from watcher.service import Service
from watcher.staging.block_clearing import clear_blocks
from watcher.version import VERSION

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78


def build_parser() -> argparse.ArgumentParser:
    """The command line of vgpu-watcher."""
    parser = argparse.ArgumentParser(
        prog='vgpu-watcher', allow_abbrev=False,
        description='Makes every registered VM boot with its assigned vGPU arguments.')
    parser.add_argument('--version', action='version', version=f'vgpu-watcher {VERSION}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    for name, summary in (('run', 'run the daemon in the foreground'),
                          ('check-config', 'say whether the configuration is good, and show it'),
                          ('clear-fences', 'lift the start blocks that a version before 0.2 left')):
        command = commands.add_parser(name, help=summary, description=summary,
                                      epilog=f'example: vgpu-watcher {name}',
                                      allow_abbrev=False)
        command.add_argument('--config', metavar='FILE', default=None,
                             help=f'configuration file ({config.DEFAULT_PATH})')
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command; the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.error('a command is needed: run, check-config or clear-fences')
    if arguments.command == 'run':
        return run(arguments.config)
    command = {'check-config': check_config, 'clear-fences': clear}[arguments.command]
    try:
        status = command(arguments.config)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _complain(f'standard output cannot be written: {error.strerror}')
        # Else the interpreter tries once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    return status


def run(path: Optional[str]) -> int:
    """The daemon."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        _complain(str(error))
        return EXIT_CONFIG
    # Journal, lock and whatever else we create is for root only.
    os.umask(0o077)
    reporter = Reporter(settings.metrics)
    logs.configure(settings.log.format, settings.log.level, reporter.tap)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    service = Service(settings, lambda: config.load(path), notifier=Notifier(os.environ),
                      reporter=reporter)
    try:
        return service.run()
    except MemoryError:
        logs.get_logger().error('service.failed', error='no memory is left')
        return EXIT_FAILED
    except WatcherError as error:
        logs.get_logger().error('service.failed', error=str(error))
        return EXIT_FAILED
    except Exception as error:  # a fault of ours
        logs.get_logger().error('service.failed', error=repr(error), exc_info=error)
        return EXIT_FAILED


def check_config(path: Optional[str]) -> int:
    """Say whether the configuration is good, and what it amounts to."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        _complain(str(error))
        return EXIT_CONFIG
    if path is None and not os.path.exists(config.DEFAULT_PATH):
        _complain(f'{config.DEFAULT_PATH} does not exist: these are the defaults')
    for line in config.render(settings).splitlines():
        _say(line)
    return EXIT_OK


def clear(path: Optional[str]) -> int:
    """Lift the start blocks that a version before 0.2 left."""
    try:
        settings = config.load(path)
    except ConfigError as error:
        _complain(f'{error}\nusing the defaults instead')
        settings = Settings()
    try:
        count = clear_blocks(settings, _say)
    except WatcherError as error:
        _complain(str(error))
        return EXIT_FAILED
    _say(f'VMs that had a start block of ours: {count}' if count else 'no start block of ours')
    return EXIT_OK


def _say(line: str) -> None:
    """Print a line; what XAPI said in it must not act on the terminal, nor fail for its locale."""
    if sys.stdout is None:  # it was closed by who started us
        return
    encoding = sys.stdout.encoding or 'ascii'
    sys.stdout.write(escape(line).encode(encoding, 'backslashreplace').decode(encoding) + '\n')


def _complain(text: str) -> None:
    for line in text.splitlines() if sys.stderr is not None else ():
        with contextlib.suppress(OSError):
            sys.stderr.write(f'vgpu-watcher: {escape(line)}\n')


if __name__ == '__main__':
    sys.exit(main())
