"""The daemon with a clock at the parts that an event goes through; `profile.py` runs it.

Each part notes when it was entered and left, by the wall's monotonic clock, which is the
simulator's too, and by processor time. All of it is written when the daemon
ends. The daemon itself is not changed: the parts are wrapped from outside.
"""

import atexit
import functools
import importlib
import inspect
import json
import os
import sys
import time
from typing import Any, Callable, List

# What is wrapped: the module in which the name is looked up, the name, and what it is called.
PARTS = (
    ('watcher.xapi.http1', 'Line.read_status', 'head'),
    ('watcher.xapi.json_stream', 'decode', 'decode'),
    ('watcher.xapi.record_parser', 'parse_vm', 'record'),
    ('watcher.xapi.event_stream', 'parse_batch', 'batch'),
    ('watcher.loop.loop', 'Loop.turn', 'turn'),
    ('watcher.daemon', 'Watcher.handle', 'handle'),
    ('watcher.state.registry_view', 'RegistryView.poll', 'registry'),
    ('watcher.daemon', 'Watcher._take', 'inventory'),
    ('watcher.state.number_claims', 'NumberClaims.note', 'standings'),
    ('watcher.staging.stager', 'Staging.review', 'look'),
    ('watcher.boots.observer', 'BootObserver.note', 'receipts'),
    ('watcher.xapi.callers', 'Callers.submit', 'hand-out'),
    ('watcher.daemon', 'Watcher.pump', 'pump'),
    ('watcher.state.journal_queue', 'JournalQueue.flush', 'journal'),
    ('watcher.job_dispatch', 'carry_out', 'call'),
    ('watcher.xapi.connection', 'Transport._send', 'send'),
)
PATH_VARIABLE = 'BENCH_TRACE'

_noted: List[Any] = []


def _thread_seconds() -> float:
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)


def _wrap(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        began, began_cpu = time.monotonic(), _thread_seconds()
        try:
            return function(*arguments, **named)
        finally:
            _noted.append((name, began, time.monotonic(), began_cpu, _thread_seconds()))

    @functools.wraps(function)
    def timed_steps(*arguments: Any, **named: Any) -> Any:
        began, began_cpu = time.monotonic(), _thread_seconds()
        try:
            return (yield from function(*arguments, **named))
        finally:
            _noted.append((name, began, time.monotonic(), began_cpu, _thread_seconds()))
    return timed_steps if inspect.isgeneratorfunction(function) else timed


def _write() -> None:
    with open(os.environ[PATH_VARIABLE], 'w', encoding='utf-8') as stream:
        json.dump(_noted, stream)


def main() -> int:
    """Run the daemon; the arguments are those of vgpu-watcher."""
    for module_name, path, name in PARTS:
        owner: Any = importlib.import_module(module_name)
        *outer, last = path.split('.')
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, last, _wrap(getattr(owner, last), name))
    atexit.register(_write)
    return int(importlib.import_module('watcher.__main__').main())


if __name__ == '__main__':
    sys.exit(main())
