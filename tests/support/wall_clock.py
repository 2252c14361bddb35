"""A wall clock that a test can set, for one program: tests/clock.c, compiled and preloaded."""

import atexit
import calendar
import os
import shutil
import struct
import subprocess
import tempfile
import time
from typing import Dict

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'clock.c')
YEAR = 365 * 86400


class WallClock:
    """The clock of whatever runs with its environment."""

    _library = ''

    def __init__(self, directory: str, seconds: int = 0) -> None:
        self._path = os.path.join(directory, 'clock')
        self.steps = 0
        with open(self._path, 'wb') as stream:
            stream.write(struct.pack('q', seconds))

    def set(self, seconds: int) -> None:
        """Set it this far from the machine's, forward or back."""
        self.steps += 1
        with open(self._path, 'r+b') as stream:
            stream.write(struct.pack('q', seconds))

    @property
    def environment(self) -> Dict[str, str]:
        """With this a program goes by it."""
        return {'LD_PRELOAD': self._build(), 'FAKE_CLOCK': self._path}

    @classmethod
    def _build(cls) -> str:
        if not cls._library:
            directory = tempfile.mkdtemp(prefix='clock')
            atexit.register(shutil.rmtree, directory)
            subprocess.check_call(['cc', '-shared', '-fPIC', '-O1', '-o', directory + '/clock.so',
                                   SOURCE, '-ldl', '-lpthread'])
            cls._library = directory + '/clock.so'
        return cls._library


def until(date: str) -> int:
    """How far a date (YYYY-MM-DD) is away, back if negative."""
    return calendar.timegm(time.strptime(date, '%Y-%m-%d')) - int(time.time())
