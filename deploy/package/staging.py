"""Puts all files of the package below one directory, as they will stand on a host."""

import hashlib
import os
import stat
from typing import Iterator, Set, Tuple

from deploy.package import contents, generated, guides, wheels

MANIFEST = contents.HOME + '/MANIFEST'


def stage(root: str, tree: str, wheel_directory: str) -> None:
    """Fill the directory `tree`, which must not exist, from the repository at `root`."""
    os.makedirs(tree)
    entries = list(contents.list_entries(root))
    for entry in entries:
        _write(tree + entry.target, _read(os.path.join(root, entry.source)), entry.mode)
    for vendor_set in wheels.SETS:
        target = f'{tree}{contents.HOME}/vendor/{vendor_set.name}'
        for wheel in wheels.fetch(vendor_set, wheel_directory):
            wheels.unpack(wheel, target)
    _write(tree + generated.COMPLETION, generated.render_completion(root), 0o644)
    for source, target in generated.list_manuals(root):
        _write(tree + target, _read(os.path.join(root, source)), 0o644)
    for source, target in guides.list_guides(root):
        _write(tree + target, guides.render_guide(root, source), 0o644)
    _settle_modes(tree)
    configurations = {entry.target for entry in entries if entry.is_config}
    _write(tree + MANIFEST, render_manifest(tree, configurations).encode('utf-8'), 0o644)


def list_staged(tree: str) -> Iterator[str]:
    """List the files of a staged tree, as paths on the host, in order."""
    for parent, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted(names):
            yield '/' + os.path.relpath(os.path.join(parent, name), tree)


def read_manifest(tree: str) -> Iterator[Tuple[str, str, str]]:
    """Read the manifest of a tree: (mode, kind, path) of each file but itself."""
    with open(tree + MANIFEST, encoding='utf-8') as stream:
        for line in stream:
            mode, kind, _digest, path = line.rstrip('\n').split('\t')
            yield mode, kind, path


def render_manifest(tree: str, configurations: Set[str]) -> str:
    """Render the list that install.sh and the RPM are made from."""
    lines = []
    for path in list_staged(tree):
        mode = stat.S_IMODE(os.stat(tree + path).st_mode)
        kind = 'config' if path in configurations else 'file'
        digest = hashlib.sha256(_read(tree + path)).hexdigest()
        lines.append(f'{mode:04o}\t{kind}\t{digest}\t{path}\n')
    return ''.join(lines)


def _settle_modes(tree: str) -> None:
    """Whatever the umask and the wheels say: programs 0755, other files 0644, directories 0755."""
    for parent, _directories, names in os.walk(tree):
        os.chmod(parent, 0o755)
        for name in names:
            path = os.path.join(parent, name)
            is_program = '/vendor/' not in path and os.access(path, os.X_OK)
            os.chmod(path, 0o755 if is_program else 0o644)


def _read(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def _write(path: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as stream:
        stream.write(content)
    os.chmod(path, mode)
