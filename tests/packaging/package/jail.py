"""A directory that programs can run in by chroot: a shell, a Python, and a systemctl that notes."""

import os
import re
import shutil
import sys
from typing import Any, List, Set

from tests.packaging.package.host import Done, Host, run

# What scriptlets, lifecycle and backup-registry run.
PROGRAMS = ('sh', 'cat', 'cp', 'cut', 'dirname', 'find', 'grep', 'ln', 'mkdir', 'rm', 'rmdir', 'sed',
            'timeout')
# Nothing of these is needed, and the packages of this machine must not be found.
LEFT_OUT = ('test', 'site-packages', 'dist-packages', '__pycache__', 'idlelib', 'ensurepip',
            'config-*')


class Jail(Host):
    """A host whose programs run inside, so that rpm runs the scriptlets itself."""

    def __init__(self, path: Any, python: str) -> None:
        super().__init__(path, python, is_running=True)
        for name in PROGRAMS:
            self._copy_program(os.path.realpath(str(shutil.which(name))), '/bin/' + name)
        self._copy_python()
        # A plain file: not everybody may make a device, and nobody reads it.
        self.write('/dev/null', '')
        self.write('/bin/systemctl', '#!/bin/sh\n[ "$1" != --version ] || { echo "systemd 219"; '
                   'exit; }\necho "$@" >>/run/called\n', 0o755)

    def rpm(self, *options: str) -> Done:
        """Run rpm as it runs on a host, scriptlets included, but for what others provide."""
        return run(['rpm', '--root', self.path, '--dbpath', '/rpmdb', '--nodeps'] + list(options))

    def launch(self, program: str, *arguments: str) -> Done:
        """Run an installed program by its own name, in the jail."""
        return run(['chroot', self.path, '/usr/bin/' + program] + list(arguments))

    def take_calls(self) -> List[str]:
        """How systemctl was called since the last time."""
        lines = self.read('/run/called').splitlines()
        os.unlink(self.path + '/run/called')
        return lines

    def _copy_python(self) -> None:
        """The Python that runs the tests, where it is, under the name that dom0 gives it."""
        version = 'python%d.%d' % sys.version_info[:2]
        library = os.path.dirname(os.__file__)
        shutil.copytree(library, self.path + library, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for parent, _directories, names in os.walk(library + '/lib-dynload'):
            for name in names:
                self._copy_libraries(os.path.join(parent, name))
        program = os.path.realpath(os.path.join(sys.base_prefix, 'bin', version))
        self._copy_program(program, program)
        os.makedirs(self.path + '/usr/bin', exist_ok=True)
        os.symlink(program, self.path + '/usr/bin/python3')

    def _copy_program(self, source: str, target: str) -> None:
        os.makedirs(os.path.dirname(self.path + target), exist_ok=True)
        shutil.copy(source, self.path + target)
        self._copy_libraries(source)

    def _copy_libraries(self, program: str) -> None:
        for name in _list_libraries(program):
            if not os.path.exists(self.path + name):
                os.makedirs(os.path.dirname(self.path + name), exist_ok=True)
                shutil.copy(name, self.path + name)


def _list_libraries(program: str) -> Set[str]:
    """List what the dynamic linker loads for a program."""
    return set(re.findall(r'(/\S+) \(0x', run(['ldd', program]).said))
