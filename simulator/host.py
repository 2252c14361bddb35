"""What this host shows of its domains to programs: a xenstore tree, QEMU's arguments, a boot id.

Everything lies below one directory, so that real programs can look: bin/xenstore-read,
xenstore/local/domain/<domid>/..., proc/<pid>/cmdline, proc/sys/kernel/random/boot_id.
"""

import os
import re
import shlex
import shutil
import stat
import sys
from typing import Dict, List, Optional

KEY = re.compile(r'[A-Za-z0-9_@.:-]+')
READER = '''#!{python} -IS
"""Print the value of xenstore paths, as xenstore-read does."""
import os
import sys
for path in sys.argv[1:]:
    parts = [part for part in path.split('/') if part]
    found = os.path.join({tree!r}, *parts)
    if not parts or '..' in parts or not os.path.exists(found):
        sys.stderr.write("xenstore-read: couldn't read path %s\\n" % path)
        sys.exit(1)
    value = b''
    if not os.path.isdir(found):
        with open(found, 'rb') as opened:
            value = opened.read()
    os.write(1, value + b'\\n')
if len(sys.argv) < 2:
    sys.stderr.write('Usage: xenstore-read <path>...\\n')
    sys.exit(1)
'''


class ConsumerCrashed(Exception):
    """The wrapper died on the value, before QEMU started."""


class HostFiles:
    """The files of one host."""

    def __init__(self, directory: str, boot_id: str) -> None:
        self.directory = directory
        self.tree = os.path.join(directory, 'xenstore')
        for name in ('bin', 'xenstore/local/domain', 'proc/sys/kernel/random'):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        self._write_reader()
        self.set_boot_id(boot_id)

    def set_boot_id(self, boot_id: str) -> None:
        """Change the kernel's boot id, as a restart of the host does."""
        self._write('proc/sys/kernel/random/boot_id', boot_id + '\n')

    def add_domain(self, domid: int, pid: int, uuid: str, platform: Dict[str, str],
                   arguments: List[str]) -> None:
        """Show a domain: first what xenopsd writes, then QEMU and its pid."""
        base = f'xenstore/local/domain/{domid}'
        self._write(f'{base}/vm', f'/vm/{uuid}')
        self._write(f'{base}/domid', str(domid))
        for key, value in platform.items():
            # xenstore has a narrow idea of a path; what does not fit is not delivered.
            if KEY.fullmatch(key) and key not in ('.', '..'):
                self._write(f'{base}/platform/{key}', value)
        os.makedirs(os.path.join(self.directory, base, 'vm-data'), exist_ok=True)
        self._write(f'proc/{pid}/cmdline', ''.join(word + '\0' for word in arguments))
        self._write(f'{base}/qemu-pid', str(pid))

    def remove_domain(self, domid: int, pid: int) -> None:
        """Forget a domain."""
        for name in (f'xenstore/local/domain/{domid}', f'proc/{pid}'):
            shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)

    def _write_reader(self) -> None:
        text = READER.format(python=sys.executable, tree=os.path.abspath(self.tree))
        self._write('bin/xenstore-read', text)
        path = os.path.join(self.directory, 'bin/xenstore-read')
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def _write(self, name: str, text: str) -> None:
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.new', 'wb') as opened:
            opened.write(text.encode('utf-8', 'surrogateescape'))
        # Never half a file for whoever looks at this moment.
        os.rename(path + '.new', path)


def render_arguments(domid: int, name: str, value: Optional[str], consumer: str) -> List[str]:
    """Build QEMU's argument list; the consumer appends the extra arguments last."""
    stock = [f'qemu-dm-{domid}', '-machine', 'pc-i440fx-2.10,accel=xen,max-ram-below-4g=4026531840',
             '-xen-domid', str(domid), '-m', 'size=8176', '-smp', '4,maxcpus=4',
             '-vnc', f'unix:/var/run/xen/vnc-{domid},lock-key-sync=off', '-name', name,
             '-device', 'VGA,vgamem_mb=8,addr=2,romfile=', '-S', '-priv']
    return stock + split_value(value, consumer)


def split_value(value: Optional[str], consumer: str) -> List[str]:
    """Split the value as the consumer in use does; without a consumer nothing comes of it."""
    if not value or consumer == 'off':
        return []
    if consumer == 'shell':
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ConsumerCrashed(str(error)) from error
    return value.split()
