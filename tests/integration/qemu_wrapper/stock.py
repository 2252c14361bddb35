"""Imitations of the stock qemu-wrapper, in words of our own, that run QEMU as the releases do.

What differs between releases 24.0 and 26.17, and what people patched into them, is data here.
"""

import os
from typing import Any, NamedTuple

# All releases: subprocess.Popen with another executable than the first argument, a function that
# runs in the child, descriptors that are passed on; in the end the wrapper becomes `logger`.
_TEXT = '''#! /usr/bin/python3
# an imitation
import os
import subprocess
import sys
{imports}
import xenstore
from limits import LIMIT

keep_open = []


def before_exec():
    global own_serial
    with open({directory!r} + '/child', 'w') as stream:
        stream.write('serial %s limit %s' % (own_serial, LIMIT))


def version_of(program):
{version}

def main(argv):
    print('Arguments: ' + ' '.join(argv[1:]))
    for n in range(len(argv)):
        if argv[n] == '-xen-domid':
            domid = int(argv[n + 1])
            break
    qemu_dm = {directory!r} + '/qemu-system-i386'
    version_of(qemu_dm)
    qemu_args = ['qemu-dm-%d' % domid, '-machine', 'pc']
    qemu_args.extend(argv[2:])
{before}
    n = 0
    depriv = True
    global own_serial
    own_serial = False
    while n < len(qemu_args):
        p = qemu_args[n]
        if p == '-priv':
            del qemu_args[n]
            depriv = False
            continue
        if p == '-serial':
            own_serial = True
        n += 1
    qemu_args += ['-device', 'cirrus-vga,addr=2']
    if depriv:
        qemu_args += ['-xen-domid-restrict', '-runas', '1:1']
{last}
    subprocess.call([{directory!r} + '/clipboardd', '-d', str(domid)])
    environment = dict(os.environ, LD_PRELOAD_OF_QEMU='jemalloc')
    reading, writing = os.pipe()
    keep_open.append(writing)
    sys.stdout.flush()
{launch}


if __name__ == '__main__':
    raise SystemExit(main(sys.argv))
'''

_POPEN = '''\
    qemu = subprocess.Popen(qemu_args, executable=qemu_dm, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=before_exec, pass_fds=keep_open)
    with open({directory!r} + '/qemu-pid', 'w') as stream:
        stream.write('%d' % qemu.pid)
    os.dup2(qemu.stdout.fileno(), 0)
    os.execvp({directory!r} + '/logger', ['logger', '-t', 'qemu-dm-%d[%d]' % (domid, qemu.pid)])
'''
_EXEC = '''\
    os.execvpe(qemu_dm, qemu_args, environment)
'''
_ENV = '''\
    os.execve('/usr/bin/env', ['env', qemu_dm] + qemu_args[1:], environment)
'''
_READ = "    extra = xenstore.read('/local/domain/%d/platform/device-model-args' % domid)\n"
_VERSION = '''\
    done = subprocess.run([program, '-version'], stdout=subprocess.PIPE)
    done.check_returncode()
    assert b'version' in done.stdout
'''


class Stock(NamedTuple):
    """One form of the wrapper."""

    imports: str = ''
    version: str = '    pass\n'
    before: str = ''
    last: str = ''
    launch: str = _POPEN

    def render(self, directory: str) -> str:
        """The text, for a dom0 in a directory."""
        return _TEXT.format(directory=directory, imports=self.imports, version=self.version,
                            before=self.before, last=self.last,
                            launch=self.launch.format(directory=directory))


# 24.0 to 26.8: without a look at QEMU's version; later it is run first, to tell its version.
OLD = Stock()
NEW = Stock(version=_VERSION)
# No release does so: a wrapper that becomes QEMU itself, and one whose QEMU is not recognised.
BECOMES_QEMU = Stock(launch=_EXEC)
HIDES_QEMU = Stock(launch=_ENV)

PATCHED_1 = Stock(last=_READ + '    if extra:\n        qemu_args += extra.split()\n')
PATCHED_2 = Stock(imports='import shlex', before=_READ + '''\
    if extra:
        words = shlex.split(extra)
        qemu_args.extend(words)
''')
PATCHED_3 = Stock(imports='from shlex import split', before='''\
    def extra_args():
        value = xenstore.read('/local/domain/%d/platform/device-model-args' % domid)
        return split(value) if value else []
''', last='    qemu_args = qemu_args + extra_args()\n')
PATCHED_OTHERWISE = Stock(before=_READ + '    qemu_args += extra.split()\n')


def program(path: Any, text: str) -> None:
    """Write a program."""
    with open(str(path), 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(str(path), 0o755)
