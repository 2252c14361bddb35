"""The programs of which a whole run is made; what they print is shown while they go."""

import os
import subprocess
import sys
import time
from typing import List, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_WIDTH = 150


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    sys.stderr.write('%s %s\n' % (time.strftime('%H:%M:%S'), text))
    sys.stderr.flush()


def run(name: str, *arguments: str, **environment: str) -> Tuple[int, str]:
    """Run a program of ours to its end and show its lines: exit status and standard output."""
    lines: List[str] = []
    with subprocess.Popen([sys.executable] + list(arguments), cwd=ROOT, stdout=subprocess.PIPE,
                          env=dict(os.environ, PYTHONUNBUFFERED='1', **environment)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.decode('utf-8', 'replace').rstrip('\n'))
            if lines[-1].strip() and not lines[-1].startswith('{'):
                say('%s: %s' % (name, lines[-1][:_WIDTH]))
    return process.returncode, '\n'.join(lines)
