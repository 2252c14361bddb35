"""Packs a staged tree: the tarball, and the RPM that is built from it."""

import glob
import os
import shutil
import stat
import subprocess
import tarfile
from typing import Iterator, List, Set

from deploy.package import contents, staging

PACKAGE = os.path.dirname(os.path.abspath(__file__))
NAME = 'vgpu-watcher'


def build_tarball(root: str, tree: str, version: str, output: str, timestamp: int) -> str:
    """Pack tree and installer into `output`; the path of the tarball."""
    top = f'{NAME}-{version}'
    path = os.path.join(output, top + '.tar.gz')

    def settle(member: tarfile.TarInfo) -> tarfile.TarInfo:
        # The same content gives the same tarball, whatever user and umask builds it.
        member.uid = member.gid = 0
        member.uname = member.gname = 'root'
        member.mtime = timestamp
        member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
        return member

    with tarfile.open(path + '.tar', 'w', format=tarfile.GNU_FORMAT) as archive:
        for source, name in ((os.path.join(root, 'deploy/install.sh'), 'install.sh'),
                             (os.path.join(root, 'deploy/package/removed.sh'), 'removed.sh')):
            archive.add(source, f'{top}/{name}', filter=settle)
        for name in staging.list_staged(tree):
            archive.add(tree + name, f'{top}/tree{name}', filter=settle)
    with open(path, 'wb') as stream:
        # Without a name and a time in its header.
        subprocess.check_call(['gzip', '-9', '-n', '-c', path + '.tar'], stdout=stream)
    os.unlink(path + '.tar')
    return path


def build_rpm(tree: str, tarball: str, version: str, output: str, timestamp: int) -> str:
    """Build the RPM from the tarball, beside that; its path.

    All that rpm reads is copied there, since it can name no path with a blank.
    """
    top = os.path.join(os.path.dirname(tarball), 'rpmbuild')
    os.makedirs(top + '/SOURCES')
    shutil.copy(tarball, top + '/SOURCES')
    shutil.copy(os.path.join(PACKAGE, 'removed.sh'), top)
    with open(top + '/files', 'w', encoding='utf-8') as stream:
        stream.writelines(line + '\n' for line in list_rpm_files(tree))
    _run_rpmbuild([
        '-bb', '--quiet', '--define', f'_topdir {top}',
        '--define', f'our_version {version}', '--define', f'our_files {top}/files',
        '--define', f'our_removed {top}/removed.sh',
        os.path.join(PACKAGE, NAME + '.spec')], timestamp)
    built, = glob.glob(top + '/RPMS/noarch/*.rpm')
    path = os.path.join(output, os.path.basename(built))
    shutil.move(built, path)
    return path


def list_rpm_files(tree: str) -> Iterator[str]:
    """List the lines of the spec's %files: only directories that are ours alone belong to us."""
    directories = {os.path.dirname(path) for path in staging.list_staged(tree)}
    own = {path for path in _with_parents(directories) if _is_own(path)}
    for path in sorted(own):
        yield f'%dir %attr(0755,root,root) "{path}"'
    for mode, kind, path in staging.read_manifest(tree):
        prefix = '%config(noreplace) ' if kind == 'config' else ''
        yield f'{prefix}%attr({mode},root,root) "{path}"'
    yield f'%attr(0644,root,root) "{staging.MANIFEST}"'


def _with_parents(directories: Set[str]) -> Set[str]:
    return {'/'.join(path.split('/')[:length]) for path in directories
            for length in range(2, path.count('/') + 2)}


def _is_own(directory: str) -> bool:
    # /etc/vgpu is shared with the programs that share the registry: it keeps its mode and owner.
    # XAPI has a folder for an occasion only when a package made it: rpm removes an empty one.
    return directory.startswith('/etc/xapi.d/') and directory != '/etc/xapi.d/plugins' or \
        (directory + '/').startswith((contents.HOME + '/', contents.GUIDES + '/',
                                      '/etc/xensource/bugtool/vgpu-'))


def _run_rpmbuild(options: List[str], timestamp: int) -> None:
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(timestamp), LC_ALL='C.UTF-8')
    done = subprocess.run(['rpmbuild'] + options, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError('rpmbuild failed:\n' + done.stdout.decode('utf-8', 'replace'))
