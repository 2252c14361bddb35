"""Runs wrappers in wrapper_process.py: one process for all hosts that are simulated here."""

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from typing import Any, Dict, Optional

_PROCESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'wrapper_process.py')
# On a machine that is busy with tests a program can be slow to begin: that is not ours to judge.
PATIENCE_SECONDS = 30.0


class Runner:
    """The process, which is started with the first wrapper and again when it has died."""

    def __init__(self) -> None:
        self._process: Optional[subprocess.Popen] = None
        self._numbers = itertools.count()
        self._waiting: Dict[int, threading.Event] = {}
        self._ended: Dict[int, int] = {}
        self._lock = threading.Lock()

    def run(self, request: Dict[str, Any]) -> int:
        """Run a wrapper to its end; its exit status."""
        number, done = next(self._numbers), threading.Event()
        line = (json.dumps(dict(request, number=number)) + '\n').encode('ascii')
        with self._lock:
            process = self._find_process()
            self._waiting[number] = done
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except OSError:
                done.set()
        if not done.wait(2 * PATIENCE_SECONDS):
            return -1
        if number in self._ended:
            return self._ended.pop(number)
        return run_once(request)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            _close(process)
            process.wait()

    def _find_process(self) -> Any:
        if self._process is not None and self._process.poll() is not None:
            _close(self._process)
            self._process = None
        if self._process is None:
            self._process = subprocess.Popen([sys.executable, '-IS', _PROCESS],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            threading.Thread(target=self._listen, args=(self._process,), daemon=True,
                             name='simulator-wrapper').start()
        return self._process

    def _listen(self, process: Any) -> None:
        with process.stdout:
            for line in process.stdout:
                answer = json.loads(line.decode('ascii'))
                self._ended[answer['number']] = answer['status']
                done = self._waiting.pop(answer['number'], None)
                if done is not None:
                    done.set()
        # A caller that still waits runs the wrapper by a Python of its own.
        while self._waiting:
            self._waiting.popitem()[1].set()


def _close(process: Any) -> None:
    # Closing writes what is left over, for a process that may be gone.
    with contextlib.suppress(OSError):
        process.stdin.close()


def run_once(request: Dict[str, Any]) -> int:
    """Run a wrapper by a Python of its own, as xenopsd does."""
    return subprocess.run(
        [sys.executable, '-IS', _PROCESS, 'once'], input=(json.dumps(request) + '\n').encode(),
        stdout=subprocess.DEVNULL).returncode


RUNNER = Runner()
atexit.register(RUNNER.close)
