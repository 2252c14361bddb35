"""The files of the package that are made from the code: man pages, and completion for bash."""

import os
import subprocess
import sys
from typing import Iterator, Tuple

COMPLETION = '/usr/share/bash-completion/completions/vgpu-admin'
MANUAL = '/usr/share/man'
# The pages are made by `python -m docs.man`, and compared with the code by a test.
PAGES = 'docs/man'


def render_completion(root: str) -> bytes:
    """Ask vgpu-admin for its script."""
    return subprocess.check_output([sys.executable, '-B', '-m', 'cli', 'completion'], cwd=root)


def list_manuals(root: str) -> Iterator[Tuple[str, str]]:
    """List the man pages: path in the repository, and where it goes, by its section."""
    for name in sorted(os.listdir(os.path.join(root, PAGES))):
        section = name.rpartition('.')[2]
        if section.isdigit():
            yield f'{PAGES}/{name}', f'{MANUAL}/man{section}/{name}'
