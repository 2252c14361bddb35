"""A signal in the first moments of our programs, while they are being imported."""

import os
import shutil
import signal
import subprocess
import sys
from typing import Any, Tuple

import pytest

from tests.support.programs import ROOT

# Whatever module is imported first sends the signal; a program that goes on says so.
_PROGRAM = """import os, time
os.kill(os.getpid(), %d)
time.sleep(60)
def main():
    return 77
"""
# The same in the real program, when it comes to one of its modules.
_IMPORTING = """import os, signal, sys, time
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == %r:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
sys.meta_path.insert(0, Interrupting())
from cli.__main__ import main
sys.exit(main(['status']))
"""


def _run(*words: str) -> Tuple[int, str]:
    done = subprocess.run([sys.executable] + list(words), cwd=ROOT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode('utf-8')


@pytest.mark.parametrize('name, package, word, number, status', [
    ('vgpu-admin', 'cli', 'status', signal.SIGINT, 130),
    ('vgpu-watcher', 'watcher', 'run', signal.SIGINT, 0),
    ('vgpu-watcher', 'watcher', 'run', signal.SIGTERM, 0),
    ('vgpu-watcher', 'watcher', 'check-config', signal.SIGINT, 130),
    ('vgpu-watcher', 'watcher', 'check-config', signal.SIGTERM, -signal.SIGTERM)])
def test_an_installed_program_that_is_being_imported_ends_without_a_traceback(
        tmp_path: Any, name: str, package: str, word: str, number: int, status: int) -> None:
    launcher = str(tmp_path / 'usr' / 'bin' / name)
    lib = str(tmp_path / 'opt' / 'vgpu-watcher' / 'lib' / package)
    for directory in (os.path.dirname(launcher), lib):
        os.makedirs(directory)
    shutil.copy(os.path.join(ROOT, 'deploy', 'launcher.py'), launcher)
    for module, text in (('__init__', ''), ('__main__', _PROGRAM % number)):
        with open(os.path.join(lib, module + '.py'), 'w', encoding='utf-8') as stream:
            stream.write(text)
    assert _run('-EsB', launcher, word) == (status, '')


@pytest.mark.parametrize('module', ['cli.output.printer', 'cli.app', 'cli.context', 'cli.errors'])
def test_vgpu_admin_that_is_interrupted_in_its_imports_ends_without_a_traceback(
        module: str) -> None:
    assert _run('-c', _IMPORTING % module) == (130, '')
