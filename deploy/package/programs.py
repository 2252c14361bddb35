"""Programs that building or testing the package takes, installed from Debian where they may be."""

import fcntl
import functools
import os
import shutil
import subprocess
from typing import Dict, Optional

_LOCK = '/run/vgpu-watcher-apt.lock'
# Where Debian keeps programs for root, which a user's PATH may lack.
SYSTEM_PATH = os.pathsep.join(['/usr/sbin', '/sbin'])
DEBIAN_PACKAGES: Dict[str, str] = {'rpmbuild': 'rpm', 'rpm2cpio': 'rpm2cpio', 'rsyslogd': 'rsyslog',
                   'logrotate': 'logrotate', 'systemd-analyze': 'systemd',
                   'systemctl': 'systemd', 'groff': 'groff-base'}


def find_program(name: str) -> Optional[str]:
    """Find a program in the path, and where a user's path may not lead."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


@functools.lru_cache(maxsize=None)
def obtain(name: str) -> Optional[str]:
    """Find a program, and install it when it is missing, where root and apt-get are there."""
    found = find_program(name)
    if found is not None or os.getuid() != 0 or shutil.which('apt-get') is None:
        return found
    with open(_LOCK, 'w') as lock:
        # apt-get does not wait for another one, and tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if find_program(name) is None:
            _install(DEBIAN_PACKAGES[name])
    return find_program(name)


def _install(package: str) -> None:
    environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
    for words in (['update', '-qq'],
                  ['install', '-y', '-qq', '--no-install-recommends', package]):
        subprocess.call(['apt-get'] + words, env=environment, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
