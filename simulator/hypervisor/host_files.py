"""What this host shows of its domains to programs: a xenstore tree, QEMU's arguments, a boot id.

Everything lies below one directory, so that real programs can look: bin/xenstore-read,
xenstore/local/domain/<domid>/..., proc/<pid>/cmdline, proc/sys/kernel/random/boot_id.
"""

import os
import re
import shlex
import shutil
import threading
from typing import Dict, List

from simulator.hypervisor.consumer import Wrapper, write_program
from simulator.settings import Settings

KEY = re.compile(r'[A-Za-z0-9_@.:-]+')
# A shell, since a Python takes ten times as long to begin; it starts no other program.
READER = '''#!/bin/sh
# Print the value of xenstore paths, as xenstore-read does.
[ $# -gt 0 ] || {{ echo 'Usage: xenstore-read <path>...' >&2; exit 1; }}
for path do
    found={tree}/$path
    case "/$path/" in */../*|//) found= ;; esac
    if [ -d "$found" ]; then
        echo
    elif [ -f "$found" ]; then
        while IFS= read -r line; do
            printf '%s\\n' "$line"
        done <"$found" || exit 1
        printf '%s\\n' "$line"
    else
        echo "xenstore-read: couldn't read path $path" >&2
        exit 1
    fi
done
'''


class HostFiles:
    """The files of one host."""

    def __init__(self, directory: str, boot_id: str, settings: Settings = Settings()) -> None:
        self.directory = directory
        # A host that went down and came back gives the numbers of its domains again, while the
        # launch of one from before is not over yet.
        self._lock = threading.Lock()
        self.tree = os.path.join(directory, 'xenstore')
        for name in ('bin', 'xenstore/local/domain', 'proc/sys/kernel/random'):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        self._write_reader()
        self.set_boot_id(boot_id)
        self.wrapper = Wrapper(directory, settings.consumer_path, settings.consumer_configuration)

    def set_boot_id(self, boot_id: str) -> None:
        """Change the kernel's boot id, as a restart of the host does."""
        self._write('proc/sys/kernel/random/boot_id', boot_id + '\n')

    def add_domain(self, domid: int, uuid: str, platform: Dict[str, str]) -> None:
        """Show a domain as xenopsd writes it, before there is a QEMU."""
        base = f'xenstore/local/domain/{domid}'
        with self._lock:
            self._write(f'{base}/vm', f'/vm/{uuid}')
            self._write(f'{base}/domid', str(domid))
            for key, value in platform.items():
                # xenstore has a narrow idea of a path; what does not fit is not delivered.
                if KEY.fullmatch(key) and key not in ('.', '..'):
                    self._write(f'{base}/platform/{key}', value)
            os.makedirs(os.path.join(self.directory, base, 'vm-data'), exist_ok=True)

    def add_qemu(self, domid: int, pid: int, arguments: List[str]) -> None:
        """Show the QEMU of a domain, and then its pid."""
        with self._lock:
            self._write(f'proc/{pid}/cmdline', ''.join(word + '\0' for word in arguments))
            self._write(f'xenstore/local/domain/{domid}/qemu-pid', str(pid))

    def remove_domain(self, domid: int, pid: int) -> None:
        """Forget a domain."""
        with self._lock:
            for name in (f'xenstore/local/domain/{domid}', f'proc/{pid}'):
                shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)

    def _write_reader(self) -> None:
        write_program(os.path.join(self.directory, 'bin/xenstore-read'),
                      READER.format(tree=shlex.quote(os.path.abspath(self.tree))))

    def _write(self, name: str, text: str) -> None:
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.new', 'wb') as opened:
            opened.write(text.encode('utf-8', 'surrogateescape'))
        # Never half a file for a reader at this moment.
        os.rename(path + '.new', path)
