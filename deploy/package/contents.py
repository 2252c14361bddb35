"""What the package holds: which file of this repository goes where, and with which mode."""

import os
from typing import Iterator, NamedTuple, Tuple

HOME = '/opt/vgpu-watcher'
# The guides, which messages, alerts and man pages name.
GUIDES = '/usr/share/doc/vgpu-watcher'
# The simulator is no part of what dom0 gets.
PACKAGES = ('watcher', 'registry', 'cli')
# Directories whose files are programs: which XAPI or xenopsd runs, and where these look for them.
# {} is the name of the file.
PROGRAMS = (('deploy/qemu-wrapper', HOME + '/qemu-wrapper/{}'),
            # XAPI runs every file of a directory named after the occasion.
            ('deploy/hooks', '/etc/xapi.d/{}/50-vgpu-watcher'))


class Entry(NamedTuple):
    """One file: where it comes from, below the repository, and where it goes to."""
    source: str
    target: str
    mode: int = 0o644
    # The operator's once it is installed: never overwritten.
    is_config: bool = False


FIXED: Tuple[Entry, ...] = (
    Entry('deploy/launcher.py', '/usr/bin/vgpu-watcher', 0o755),
    Entry('deploy/launcher.py', '/usr/bin/vgpu-admin', 0o755),
    Entry('deploy/xapi-plugin', '/etc/xapi.d/plugins/vgpu-watcher', 0o755),
    Entry('deploy/master.d/50-vgpu-watcher', '/etc/xensource/master.d/50-vgpu-watcher', 0o755),
    Entry('deploy/lifecycle', HOME + '/libexec/lifecycle', 0o755),
    Entry('deploy/backup-registry', HOME + '/libexec/backup-registry', 0o755),
    Entry('deploy/modern.conf', HOME + '/share/modern.conf'),
    Entry('deploy/vgpu-watcher.service', '/usr/lib/systemd/system/vgpu-watcher.service'),
    Entry('deploy/vgpu-watcher.preset',
          '/usr/lib/systemd/system-preset/50-vgpu-watcher.preset'),
    Entry('deploy/vgpu-watcher.conf', '/etc/vgpu/vgpu-watcher.conf', is_config=True),
    Entry('deploy/rsyslog.conf', '/etc/rsyslog.d/20-vgpu-watcher.conf', is_config=True),
    Entry('deploy/logrotate.conf', '/etc/logrotate.d/vgpu-watcher', is_config=True),
    Entry('deploy/completion/_vgpu-admin', '/usr/share/zsh/site-functions/_vgpu-admin'),
    Entry('deploy/bugtool/vgpu-watcher.xml', '/etc/xensource/bugtool/vgpu-watcher.xml'),
    Entry('deploy/bugtool/stuff.xml', '/etc/xensource/bugtool/vgpu-watcher/stuff.xml'),
)


def list_entries(root: str) -> Iterator[Entry]:
    """List all files of the repository that the package holds."""
    yield from FIXED
    for package in PACKAGES:
        for name in _list_files(os.path.join(root, package)):
            if name.endswith('.py'):
                yield Entry(f'{package}/{name}', f'{HOME}/lib/{package}/{name}')
    for directory, target in PROGRAMS:
        for name in _list_files(os.path.join(root, directory)):
            yield Entry(f'{directory}/{name}', target.format(name), 0o755)


def _list_files(directory: str) -> Iterator[str]:
    """List the files below a directory, in an order that is always the same; none if missing."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name != '__pycache__')
        for name in sorted(names):
            yield os.path.relpath(os.path.join(parent, name), directory)
