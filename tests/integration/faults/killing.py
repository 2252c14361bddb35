"""Programs that die by SIGKILL at the n-th system call with which they write something."""

import os
import struct
import subprocess
from typing import Dict

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'kill.c')


def compile_library(directory: str) -> str:
    """Compile what counts the calls and kills; its path, for LD_PRELOAD."""
    path = os.path.join(directory, 'kill.so')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', path, SOURCE, '-ldl'], check=True)
    return path


class Calls:
    """The calls of one program: at which it dies, and how many it has made."""

    def __init__(self, directory: str, library: str) -> None:
        self._path = os.path.join(directory, 'counts')
        self._library = library

    def arm(self, kill_at: int) -> Dict[str, str]:
        """Have the next program die at this call (0: at none); its environment."""
        with open(self._path, 'wb') as stream:
            stream.write(struct.pack('qq', kill_at, 0))
        return {'LD_PRELOAD': self._library, 'KILL_AT': self._path}

    @property
    def made(self) -> int:
        """How many it has made until now."""
        with open(self._path, 'rb') as stream:
            return int(struct.unpack('qq', stream.read())[1])
