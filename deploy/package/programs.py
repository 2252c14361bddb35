"""Programs that building or testing the package takes, installed from Debian where they may be."""

import functools
import os
import shutil
import subprocess
from typing import Dict, Optional

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
    if found is None and os.getuid() == 0 and shutil.which('apt-get'):
        environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
        for command in (['update', '-qq'],
                        ['install', '-y', '-qq', '--no-install-recommends',
                         DEBIAN_PACKAGES[name]]):
            subprocess.call(['apt-get'] + command, env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = find_program(name)
    return found
