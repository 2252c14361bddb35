"""A program that says what it sees of itself, and ends as it is told: `python -m tests.support.witness`."""

import gc
import json
import os
import resource
import signal
import sys
import threading
from typing import Any, Dict


def see() -> Dict[str, Any]:
    """What a program could look at, without what differs from process to process."""
    mask = os.umask(0o022)
    os.umask(mask)
    return {
        'argv': sys.argv, 'path': sys.path, 'flags': repr(sys.flags), 'cwd': os.getcwd(),
        'environment': dict(os.environ), 'umask': mask, 'parent': os.getppid(),
        'group': os.getpgrp(), 'session': os.getsid(0), 'nice': os.nice(0),
        'descriptors': sorted(os.listdir('/proc/self/fd'))[:-1],
        'files': [os.fstat(number).st_mode for number in range(3)],
        'signals': {number: str(signal.getsignal(number)) for number in range(1, signal.NSIG)
                    if not 32 <= number < 34},
        'blocked': sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        'limits': [resource.getrlimit(kind) for kind in (
            resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE)],
        'streams': [(stream.name, stream.mode, stream.encoding, stream.errors,
                     stream.line_buffering, stream.isatty(),
                     getattr(stream, 'write_through', None), type(stream.buffer).__name__, stream.fileno(),
                     stream is getattr(sys, '__%s__' % stream.name.strip('<>')))
                    for stream in (sys.stdin, sys.stdout, sys.stderr)],
        'threads': [thread.name for thread in threading.enumerate()],
        'encoding': sys.getfilesystemencoding(), 'switch': sys.getswitchinterval(),
        'thresholds': gc.get_threshold(), 'collects': gc.isenabled(),
        'main': sorted(vars(sys.modules['__main__'])), 'module': __name__,
    }


def main() -> None:
    """Tell, and end."""
    print(json.dumps(see(), sort_keys=True))
    ending = sys.argv[1]
    if ending == 'fails':
        raise ValueError('as told')
    if ending == 'waits':
        sys.stdout.flush()
        sys.stdin.read()
    if ending == 'thread':
        threading.Timer(0.05, print, ['a thread is waited for']).start()
    if ending == 'unwritable':
        os.close(1)
    if ending.isdigit():
        sys.exit(int(ending))
    if ending != 'returns':
        sys.exit(ending)


if __name__ == '__main__':
    main()
