"""The program's arguments, taken out of sight: any local user may read /proc/PID/cmdline.

XAPI hands a plugin its call as an argument, and the caller's session stands in it. It imports
nothing but what the interpreter has loaded already, so that it can run before anything else.
"""

import os
import sys
from typing import List

# Of /proc/self/stat, behind the name in brackets: the ends of the memory that cmdline shows.
_ARG_START, _ARG_END = 45, 46


def take_arguments() -> List[str]:
    """The program's arguments; from then on no other process can read them.

    Where the kernel does not let us, they stay: the call is answered all the same.
    """
    words = sys.argv[1:]
    try:
        _overwrite(len(words))
    except (OSError, ValueError, IndexError):
        pass
    return words


def _overwrite(count: int) -> None:
    """Overwrite the last so many words of our own command line with zeros."""
    start, end = [int(_read('/proc/self/stat').rpartition(b')')[2].split()[place])
                  for place in (_ARG_START, _ARG_END)]
    shown = _read('/proc/self/cmdline').split(b'\0')[:-1]
    size = sum(len(word) + 1 for word in shown[len(shown) - count:])
    if not 0 < start <= end - size or len(shown) <= count:
        return
    memory = os.open('/proc/self/mem', os.O_WRONLY)
    try:
        os.pwrite(memory, b'\0' * size, end - size)
    finally:
        os.close(memory)


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()
