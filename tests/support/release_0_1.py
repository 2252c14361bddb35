"""Version 0.1 as it was: its own daemon and its own commands, out of this repository's history.

`left_by_0_1.py` writes what it left; here it does so itself.
"""

import os
import shutil
import subprocess
import sys
from typing import Any, Dict, List, Optional

from tests.integration.daemon.world import ROOT, Daemon

# The last commit of it.
COMMIT = '49b06d37992b4bd61911d12ddf3c423b23441a04'
FOLDERS = ('watcher', 'registry', 'cli')


def why_not() -> str:
    """Why it cannot run here; '' when it can."""
    if sys.version_info >= (3, 14):
        return '0.1 gives SQLite what Python 3.14 does not take'
    if not (shutil.which('git') and shutil.which('tar')):
        return 'there is no git, or no tar'
    known = subprocess.run(['git', '-C', ROOT, 'cat-file', '-e', COMMIT + '^{commit}'],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 'this is no clone with the history of 0.1' if known.returncode else ''


def extract(directory: str) -> None:
    """Its programs, below a directory."""
    archive = subprocess.Popen(['git', '-C', ROOT, 'archive', COMMIT] + list(FOLDERS),
                               stdout=subprocess.PIPE)
    subprocess.check_call(['tar', '-x', '-C', directory], stdin=archive.stdout)
    assert archive.stdout is not None
    archive.stdout.close()
    assert archive.wait() == 0


class Release:
    """An extracted tree of it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    @property
    def surroundings(self) -> Dict[str, Any]:
        """Directory and environment of its programs."""
        return {'cwd': self.directory,
                'env': dict(os.environ, PYTHONPATH=self.directory, PYTHONDONTWRITEBYTECODE='')}

    def build_daemon(self, config_path: str) -> Daemon:
        """Its daemon, with our configuration as far as it knows that."""
        path = config_path + '.0.1'
        with open(config_path, encoding='utf-8') as stream:
            known = [line for line in stream if not line.startswith('key_file')]
        with open(path, 'w', encoding='utf-8') as stream:
            stream.writelines(known)
        daemon = Daemon(path)
        daemon._surroundings = self.surroundings
        return daemon

    def begin_admin(self, daemon: Daemon, words: List[str]) -> subprocess.Popen:
        """Start a command of its vgpu-admin."""
        return subprocess.Popen(
            [sys.executable, '-m', 'cli', '--config', daemon._config] + words,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **self.surroundings)

    def admin(self, daemon: Daemon, *words: str, status: Optional[int] = 0) -> str:
        """Run a command of its vgpu-admin to its end; what it said."""
        process = self.begin_admin(daemon, list(words))
        said = process.communicate(timeout=120)[0].decode('utf-8', 'replace')
        assert status is None or process.returncode == status, said
        return said
