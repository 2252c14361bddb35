"""The floor of dom0: Python 3.6 by a checker, and SQLite 3.7.17 by replaying what was run."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.packaging.sqlite_3_7 import recording
from tests.packaging.sqlite_3_7.replay import main as replay

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIPPED = ('watcher', 'registry', 'cli', 'simulator', 'deploy')


def run_vermin(*paths):
    done = subprocess.run(
        # Not by -m, which it does not know.
        [sys.executable, '-c', 'import vermin; vermin.main()',
         '-t=3.6-', '--no-tips', '--violations'] + list(paths),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    return done.returncode, done.stdout.decode('utf-8', 'replace')


needs_vermin = pytest.mark.skipif(sys.version_info < (3, 8),
                                  reason='the checker needs a newer Python')


@needs_vermin
def test_shipped_code_needs_nothing_above_python_3_6():
    code, said = run_vermin(*[path for path in SHIPPED
                              if os.path.isdir(os.path.join(ROOT, path))])
    assert code == 0, said
    assert 'Minimum required versions: 3.6' in said


@needs_vermin
def test_checker_finds_what_python_3_6_does_not_know(tmp_path):
    (tmp_path / 'newer.py').write_text('if (x := 1):\n    print(f"{x=}")\n')
    code, said = run_vermin(str(tmp_path))
    assert code != 0 and 'named expressions require !2, 3.8' in said


@pytest.mark.runs_last
@pytest.mark.skipif('CI' not in os.environ and not (shutil.which('npm') and shutil.which('gcc')),
                    reason='SQLite 3.7.17 is fetched with npm and built with gcc')
def test_all_sql_that_ran_so_far_runs_on_sqlite_3_7_17(capsys):
    path = os.environ[recording.VARIABLE]
    if not os.path.exists(path) and 'CI' not in os.environ:
        pytest.skip('a part of the tests that touches no registry')
    code = replay([path])
    assert code == 0, capsys.readouterr().out
