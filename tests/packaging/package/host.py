"""An imitation of dom0: a directory to install into, a bare Python, and a systemctl that notes."""

import os
import shlex
import shutil
import subprocess
import sys
from typing import Any, List, NamedTuple, Optional, Set

import pytest

from deploy.package import programs
from deploy.package.contents import HOME

CONFIGURATION = '/etc/vgpu/vgpu-watcher.conf'
REGISTRY = '/etc/vgpu/vgpu_config.db'
UNIT = '/usr/lib/systemd/system/vgpu-watcher.service'
DROP_IN = UNIT + '.d/50-modern.conf'
LIFECYCLE = HOME + '/libexec/lifecycle'
# rpm's own, and what stands for systemd while it runs.
NOT_PLACED = ('/rpmdb/', '/run/')


class Done(NamedTuple):
    """How a program ended, and all that it said."""
    status: int
    said: str


def run(command: List[str], **options: Any) -> Done:
    """Run a program to its end."""
    done = subprocess.run(command, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    return Done(done.returncode, done.stdout.decode('utf-8', 'replace'))


def obtain(name: str) -> str:
    """Find a program, which root installs when it is missing."""
    found = programs.obtain(name)
    if found is None:
        pytest.skip('%s is missing, and only root can install it' % name)
    return found


def build_python(directory: Any, interpreter: str = sys.executable) -> str:
    """Build a Python that has nothing but its standard library; its path."""
    made = run([interpreter, '-m', 'venv', '--without-pip', str(directory)])
    assert made.status == 0, made.said
    return os.path.join(str(directory), 'bin', 'python3')


class Host:
    """The directory, and what can be done in it."""

    def __init__(self, path: Any, python: str, *, is_running: bool = False) -> None:
        self.path = str(path)
        self.python = python
        self._tools = self.path + '.tools'
        self._called = self._tools + '/called'
        os.makedirs(self._tools)
        os.makedirs(self.path)
        os.symlink(python, self._tools + '/python3')
        self.set_systemctl(219)
        if is_running:
            os.makedirs(self.path + '/run/systemd/system')

    def rpm(self, *options: str) -> Done:
        """Run rpm on the directory. Scriptlets would need a whole system there: see `scriptlet`."""
        return run(['rpm', '--root', self.path, '--dbpath', '/rpmdb', '--nodeps',
                    '--noscripts'] + list(options))

    def scriptlet(self, package: str, tag: str, argument: int) -> Done:
        """Run a scriptlet of an RPM file as rpm would, but on the directory."""
        text = run(['rpm', '-qp', '--queryformat', '%%{%s}' % tag, package]).said
        assert text, tag
        text = text.replace(' /opt/', ' %s/opt/' % shlex.quote(self.path))
        return run(['sh', '-c', text, 'scriptlet', str(argument)], env=self.environment())

    def install(self, package: str) -> Done:
        """What `rpm -i` does, its scriptlet included."""
        done = self.rpm('-i', package)
        assert done.status == 0, done.said
        return self.scriptlet(package, 'POSTIN', 1)

    def upgrade(self, old: str, new: str) -> Done:
        """What `rpm -U` does, the scriptlets of both included: what the new one's said."""
        done = self.rpm('-U', new)
        assert done.status == 0, done.said
        said = self.scriptlet(new, 'POSTIN', 2)
        assert self.scriptlet(old, 'PREUN', 1).status == 0
        assert self.scriptlet(old, 'POSTUN', 1).status == 0
        return said

    def remove(self, package: str) -> Done:
        """What `rpm -e` does, its scriptlets included: what the first of them said."""
        said = self.scriptlet(package, 'PREUN', 0)
        done = self.rpm('-e', 'vgpu-watcher')
        assert done.status == 0, done.said
        assert self.scriptlet(package, 'POSTUN', 0).status == 0
        return said

    def copy(self, other: 'Host') -> None:
        """Be what the other one is by now: what systemctl was called for included."""
        assert run(['cp', '-a', other.path + '/.', self.path]).status == 0
        with open(other._called, encoding='utf-8') as noted, \
                open(self._called, 'w', encoding='utf-8') as stream:
            stream.write(noted.read().replace(other.path, self.path))

    def launch(self, program: str, *arguments: str) -> Done:
        """Run an installed program."""
        return run(self.command(program, *arguments), cwd='/')

    def command(self, program: str, *arguments: str) -> List[str]:
        """The command that runs an installed program, with the bare Python."""
        return [self.python, '-EsB', '%s/usr/bin/%s' % (self.path, program)] + list(arguments)

    def files(self) -> Set[str]:
        """All files in it, as paths of the host; links too."""
        found = {os.path.join(parent, name)[len(self.path):]
                 for parent, _directories, names in os.walk(self.path) for name in names}
        return {path for path in found if not path.startswith(NOT_PLACED)}

    def write(self, path: str, content: str, mode: Optional[int] = None) -> str:
        """Write a file; where it really is."""
        real = self.path + path
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, 'w', encoding='utf-8') as stream:
            stream.write(content)
        if mode is not None:
            os.chmod(real, mode)
        return real

    def read(self, path: str) -> str:
        """Read a file."""
        with open(self.path + path, encoding='utf-8') as stream:
            return stream.read()

    def set_systemctl(self, version: int) -> None:
        """Put a systemctl of that version into the path, which notes how it was called."""
        path = self._tools + '/systemctl'
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('#!/bin/sh\n[ "$1" != --version ] || { echo "systemd %d"; exit; }\n'
                         'echo "$@" >>%s\n' % (version, shlex.quote(self._called)))
        os.chmod(path, 0o755)

    def fail_systemctl(self, word: str) -> None:
        """Have systemctl note its calls and fail in those that have a word, or in all."""
        path = self._tools + '/systemctl'
        with open(path, encoding='utf-8') as stream:
            text = stream.read()
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(text + 'case "all $*" in *%s*) exit 1 ;; esac\n' % word)

    def kill_at(self, name: str, count: int) -> None:
        """Have a program end by SIGKILL whoever runs it, at that call of it and once only."""
        path = '%s/%s' % (self._tools, name)
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('#!/bin/sh\necho >>"$0.calls"\n[ "$(wc -l <"$0.calls")" -lt %d ] || '
                         '{ unlink "$0"; unlink "$0.calls"; kill -KILL $PPID; exit; }\nexec %s "$@"\n'
                         % (count, shutil.which(name)))
        os.chmod(path, 0o755)

    def limit_files(self, kilobytes: Optional[int]) -> None:
        """Have Python find no room for larger files, or for all again."""
        path = self._tools + '/python3'
        os.unlink(path)
        if kilobytes is None:
            os.symlink(self.python, path)
            return
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('#!/bin/sh\nulimit -f %d\nexec %s "$@"\n'
                         % (2 * kilobytes, shlex.quote(self.python)))
        os.chmod(path, 0o755)

    def take_calls(self) -> List[str]:
        """How systemctl was called since the last time, without the directory's name."""
        if not os.path.exists(self._called):
            return []
        with open(self._called, encoding='utf-8') as stream:
            lines = stream.read().splitlines()
        os.unlink(self._called)
        return [line.replace('--root=%s ' % self.path, '') for line in lines]

    def run_installer(self, installer: str, *options: str) -> Done:
        """Run install.sh on the directory."""
        return run(['sh', installer, '--root', self.path] + list(options),
                   env=self.environment())

    def environment(self) -> Any:
        """What the programs below the directory find: our systemctl and python3 first."""
        path = os.pathsep.join([self._tools, os.environ['PATH']])
        return dict(os.environ, PATH=path, VGPU_ROOT=self.path)
