"""The package, built once, and directories that stand for dom0."""

import contextlib
import fcntl
import os
import re
import shutil
import sys
from typing import Any, Callable, Iterator

import pytest

from deploy.package import __main__ as package
from registry.schema import CURRENT_VERSION, JOURNAL_VERSION
from tests.packaging.package.host import Host, build_python, obtain, run

ROOT = package.ROOT
WHEELS = os.path.join(ROOT, 'build/wheels')
LOST_MANUAL = 'vgpu-watcher.8'


@contextlib.contextmanager
def downloading_alone() -> Iterator[None]:
    """Hold a lock: two processes of a test run build from one directory, into which wheels come."""
    os.makedirs(WHEELS, exist_ok=True)
    with open(WHEELS + '.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope='session')
def rpm_file(tmp_path_factory: Any) -> str:
    """The RPM of this tree."""
    obtain('rpmbuild')
    with downloading_alone():
        return package.build('rpm', str(tmp_path_factory.mktemp('rpm')), WHEELS)


@pytest.fixture(scope='session')
def next_rpm_file(tmp_path_factory: Any) -> str:
    """The RPM of a later version, which migrates registries and has one file less.

    Built in a directory with a blank in its name, which rpm's own words cannot hold.
    """
    source = tmp_path_factory.mktemp('next version')
    for name in ('watcher', 'registry', 'cli', 'deploy', 'docs'):
        shutil.copytree(os.path.join(ROOT, name), str(source / name),
                        ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(os.path.join(ROOT, 'CHANGELOG.md'), str(source))
    replace(source / 'watcher/version.py', r"^VERSION = .*", "VERSION = '99.0.0'")
    schema = source / 'registry/schema.py'
    for name, database, version in (('CURRENT_VERSION', 'registry', CURRENT_VERSION),
                                    ('JOURNAL_VERSION', 'main', JOURNAL_VERSION)):
        replace(schema, '^%s = %d$' % (name, version), '%s = %d' % (name, version + 1))
        replace(schema, "^ *'PRAGMA %s.user_version=%d',\n    \\)\\),$" % (database, version),
                "'PRAGMA {0}.user_version={1}')), ({2}, ('PRAGMA {0}.user_version={2}',)),".format(
                    database, version, version + 1))
    (source / 'docs/man' / LOST_MANUAL).unlink()
    obtain('rpmbuild')
    with downloading_alone():
        built = run([sys.executable, '-m', 'deploy.package', 'rpm', '--output',
                     str(source / 'dist'), '--wheels', WHEELS], cwd=str(source))
    assert built.status == 0, built.said
    return built.said.splitlines()[-1]


def replace(path: Any, pattern: str, text: str) -> None:
    """Change a file where the pattern fits, and see to it that it does."""
    changed, count = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
    assert count == 1, (path, pattern)
    path.write_text(changed)


@pytest.fixture(scope='session')
def installer(tmp_path_factory: Any) -> str:
    """The install.sh of the unpacked tarball."""
    output = tmp_path_factory.mktemp('tarball')
    with downloading_alone():
        tarball = package.build('tarball', str(output), WHEELS)
    assert run(['tar', '-xzf', tarball, '-C', str(output)]).status == 0
    return os.path.join(tarball[:-len('.tar.gz')], 'install.sh')


@pytest.fixture(scope='session')
def bare_python(tmp_path_factory: Any) -> str:
    """The Python that runs the tests, with its standard library only."""
    return build_python(tmp_path_factory.mktemp('python') / 'bare')


@pytest.fixture
def make_host(tmp_path: Any, bare_python: str) -> Callable[..., Host]:
    """Make a directory to install into: `make_host(is_running=True)` has a running systemd."""
    return lambda **options: Host(tmp_path / 'a root', bare_python, **options)


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """A directory to install into, where nothing runs."""
    return make_host()
