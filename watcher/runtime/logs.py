"""Logging: the only place that configures it.

Everybody else says `get_logger().info('vm.args_injected', vm_uuid=..., ...)`, always inside a
function: a logger that was bound earlier escapes the log capture of tests on structlog 21.5.
Lines go to standard error. What the libraries log comes the same way, as `library.logged`.

Rule: logging never raises and never waits long. The reader of our lines may have gone.
"""

import logging
import os
import select
import sys
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Union

import structlog

from watcher.config.settings import LogFormat, LogLevel
from watcher.runtime.log_format import render_console, render_json

# Below this size a pipe that is ready to be written to takes a piece as a whole.
PIECE_BYTES = 4096
# How long a line waits for a reader that is behind; after that lines are dropped, and counted.
PATIENCE_SECONDS = 0.2
# A line that comes again and again is said once in this time (P30).
_REPEAT_SECONDS = 60.0
# How many keys a rate limiter remembers before it forgets those that are over.
MAX_KEYS = 1000

_LEVELS = {LogLevel.DEBUG: logging.DEBUG, LogLevel.INFO: logging.INFO,
           LogLevel.WARNING: logging.WARNING, LogLevel.ERROR: logging.ERROR}


Tap = Callable[[Mapping[str, Any]], None]


def configure(log_format: Union[LogFormat, str], level: Union[LogLevel, str],
              tap: Optional[Tap] = None) -> None:
    """Have everything that is logged from now on written to standard error in this way.

    The tap gets the fields of every line from level info on, also of those that are not shown.
    """
    is_console = LogFormat(log_format) is LogFormat.CONSOLE
    least = _LEVELS[LogLevel(level)]
    structlog.configure(
        processors=[structlog.stdlib.add_log_level] + _tapped(tap, least) + [
                    _add_timestamp, structlog.processors.format_exc_info,
                    _render_for_people if is_console else _render_for_programs],
        wrapper_class=structlog.make_filtering_bound_logger(
            min(least, logging.INFO) if tap else least),
        context_class=dict,
        logger_factory=_StandardError,
        cache_logger_on_first_use=False)
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)


def get_logger() -> Any:
    """The logger; bind context to it inside functions only."""
    return structlog.get_logger()


class RateLimiter:
    """Lets one line per key and minute pass, and counts those it held back."""

    def __init__(self) -> None:
        self._passed: Dict[Hashable, List[Any]] = {}

    def admit(self, key: Hashable, now: float) -> Optional[int]:
        """How many were held back since the last one that passed; None to hold this one back."""
        state = self._passed.get(key)
        if state is not None and now - state[0] < _REPEAT_SECONDS:
            state[1] += 1
            return None
        if len(self._passed) >= MAX_KEYS:
            self._forget(now)
        self._passed[key] = [now, 0]
        return state[1] if state is not None else 0

    def _forget(self, now: float) -> None:
        self._passed = {key: state for key, state in self._passed.items()
                        if now - state[0] < _REPEAT_SECONDS}


class _LibraryHandler(logging.Handler):
    """What APScheduler and other libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as an event of ours, with its logger's name."""
        try:
            message = record.getMessage()
        except Exception as error:  # arguments that do not fit their format
            message = f'{record.msg!r}, which does not fit its arguments: {error}'
        log = get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say('library.logged', logger=record.name, message=message,
            **({'exc_info': record.exc_info} if record.exc_info else {}))


class LineWriter:
    """Writes lines to a descriptor that may be slow, blocked or closed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._is_blocked = False
        self._is_torn = False
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write the line, or drop it and count."""
        if self._dropped:
            mark = f'({self._dropped} log lines were dropped: they were not read in time)'
            line = render_json({'event': 'log.dropped', 'level': 'warning', 'message': mark,
                                'count': self._dropped}) + '\n' + line
        data = ('\n' if self._is_torn else '') + line + '\n'
        if self._write(data.encode('utf-8', 'backslashreplace')):
            self._dropped = 0
        else:
            self._dropped += 1

    def _write(self, data: bytes) -> bool:
        # Once the reader has gone, no further line waits.
        deadline = time.monotonic() + (0.0 if self._is_blocked else PATIENCE_SECONDS)
        self._is_blocked, start = False, 0
        try:
            while start < len(data):
                if not self._is_ready(deadline):
                    self._is_blocked = True
                    break
                start += os.write(self.descriptor, data[start:start + PIECE_BYTES])
        except OSError:
            pass  # closed, full or gone: there is no place left to say so
        self._is_torn = start > 0 and start < len(data) or self._is_torn and start == 0
        return start == len(data)

    def _is_ready(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


class _StandardError:
    """The end of structlog's chain: each level is a method that takes the finished line."""

    _writer: Optional[LineWriter] = None

    def __init__(self, *_names: Any) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write one line to whatever is standard error now."""
        try:
            descriptor = sys.stderr.fileno()
        except (AttributeError, ValueError, OSError):
            return _write_without_descriptor(line)
        cls = type(self)
        if cls._writer is None or cls._writer.descriptor != descriptor:
            cls._writer = LineWriter(descriptor)
        cls._writer.write(line)

    debug = info = warning = warn = error = critical = exception = log = msg


def _write_without_descriptor(line: str) -> None:
    """Standard error has been replaced by an object, or closed."""
    try:
        sys.stderr.write(line + '\n')
    except (AttributeError, ValueError, OSError):
        return


def _tapped(tap: Optional[Tap], least: int) -> List[Any]:
    """The steps that hand a line to the tap, and then drop it when it is not to be shown."""
    if tap is None:
        return []

    def hand_over(_logger: Any, _method: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        tap(fields)
        if _LEVELS.get(fields['level'], logging.ERROR) < least:
            raise structlog.DropEvent
        return fields
    return [hand_over]


def _add_timestamp(_logger: Any, _method: str, fields: Dict[str, Any]) -> Dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat(timespec='milliseconds')
    fields['timestamp'] = now.replace('+00:00', 'Z')
    return fields


def _render_for_programs(_logger: Any, _method: str, fields: Dict[str, Any]) -> str:
    return render_json(fields)


def _render_for_people(_logger: Any, _method: str, fields: Dict[str, Any]) -> str:
    return render_console(fields, is_coloured=_wants_colour())


def _wants_colour() -> bool:
    try:
        return not os.environ.get('NO_COLOR') and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
