"""A restart of a running VM with a daemon beside it, held at each of its steps.

What the steps are held by: a question that nobody answers, a call that hangs, an operation that
hangs in XAPI, or just the moment when the command says what it does next.
"""

import json
import os
import pty
import threading
from typing import Any, Dict, List, Tuple

from tests.integration.cli.program import Place, span, wait_until
from tests.support import programs

BEFORE, AFTER = span(1), span(1, 'B')
STEPS = ('question', 'asking_for_the_stop', 'stopping', 'staging', 'asking_for_the_start',
         'starting', 'verifying')


class Daemon:
    """The daemon as a process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: Any = None
        self._starts = 0

    def start(self) -> None:
        """Start it, and wait until it has taken its first look."""
        self._starts += 1
        with open(self._log, 'wb') as log:
            self._process = programs.start('watcher', ['run', '--config', self._place.config],
                                           stderr=log, **programs.surroundings())
        wait_until(self._is_synced, 'the daemon in sync')

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def booted(self) -> List[Dict[str, Any]]:
        """The lines `vm.booted` since it was started last."""
        with open(self._log, encoding='utf-8') as log:
            lines = [json.loads(line) for line in log if line.endswith('}\n')]
        return [line for line in lines if line['event'] == 'vm.booted']

    @property
    def _log(self) -> str:
        return os.path.join(self._place.directory, 'log%d' % self._starts)

    def _is_synced(self) -> bool:
        with open(self._log, 'rb') as log:
            text = log.read()
        assert self._process.poll() is None, text
        return b'stream.synced' in text or b'session.opened' in text


class Restart:
    """One `set-pool --pool=B` of a running VM, on its way."""

    def __init__(self, place: Place, ref: str, step: str, words: Tuple[str, ...] = ()) -> None:
        self.place, self.ref, self.step = place, ref, step
        self._held = self._hold()
        self._boots = len(place.xapi.boots)
        self._seen = len(place.xapi.calls)
        self._ours, theirs = pty.openpty()
        if step != 'question':
            words += ('--yes',)
        self.process = place.start('set-pool', '--vm-name=web', '--pool=B', *words, stdin=theirs)
        os.close(theirs)
        self.told = ''
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_until(lambda: self._is_reached() or self.process.poll() is not None, step)
        assert self.process.poll() is None, self.told

    def answer(self, text: str) -> None:
        """Type an answer to the question."""
        os.write(self._ours, text.encode('utf-8'))

    def let_go(self) -> None:
        """Let what hangs go on."""
        for fault in self._held:
            self.place.xapi.faults.remove(fault)

    def finish(self) -> int:
        """Wait for the end; the exit status."""
        self.process.wait(60)
        self._reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        os.close(self._ours)
        return self.process.returncode

    def _hold(self) -> List[Any]:
        kind, method = {
            'asking_for_the_stop': ('hang', 'Async.VM.clean_shutdown'),
            'stopping': ('operation_hang', 'VM.clean_shutdown'),
            'staging': ('hang', 'VM.set_platform'),
            'asking_for_the_start': ('hang', 'Async.VM.start'),
            'starting': ('operation_hang', 'VM.start')}.get(self.step, ('', ''))
        return [self.place.xapi.add_fault(kind, method=method)] if kind else []

    def _is_reached(self) -> bool:
        xapi = self.place.xapi
        called = {call.method for call in xapi.calls[self._seen:]}
        operations = set(xapi.vm(self.ref)['current_operations'].values())
        return {'question': '(yes/no): ' in self.told and self._is_asleep(),
                'asking_for_the_stop': 'Async.VM.clean_shutdown' in called,
                'stopping': 'clean_shutdown' in operations,
                'staging': 'staging ' in self.told,
                'asking_for_the_start': 'Async.VM.start' in called,
                'starting': 'start' in operations,
                'verifying': len(xapi.boots) > self._boots}[self.step]

    def _is_asleep(self) -> bool:
        """Whether it waits for the answer: a signal just before that would be forgotten by read."""
        with open(f'/proc/{self.process.pid}/stat', 'rb') as file:
            return file.read().rpartition(b') ')[2].startswith(b'S')

    def _read(self) -> None:
        while True:
            text = os.read(self.process.stderr.fileno(), 65536)
            if not text:
                return
            self.told += text.decode('utf-8')
