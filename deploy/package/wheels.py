"""The packages of others that we bring along: downloaded by exact version and checked by hash."""

import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import Dict, List, NamedTuple, Set

LOCKS = os.path.dirname(os.path.abspath(__file__))
# 600 files that only times in other zones than UTC need, and ours are all in UTC.
LEFT_OUT = ('pytz/zoneinfo/',)


class VendorSet(NamedTuple):
    """The packages of one lock file, and the Python whose wheels are asked for."""
    name: str
    python: str


SETS = (VendorSet('py36', '3.6'), VendorSet('py3', '3.12'), VendorSet('xenapi', '3.6'))


def read_lock(name: str) -> Dict[str, str]:
    """Read a lock file: the hash of each `package==version`."""
    with open(os.path.join(LOCKS, name + '.lock'), encoding='utf-8') as stream:
        lines = [line.strip() for line in stream if not line.startswith('#')]
    return dict(re.match(r'(\S+) --hash=sha256:([0-9a-f]{64})\Z', line).groups()  # type: ignore
                for line in lines)


def fetch(vendor_set: VendorSet, directory: str) -> List[str]:
    """Download what is not in the directory yet: the paths of the wheels, one for each package."""
    hashes = set(read_lock(vendor_set.name).values())
    if len(_find(hashes, directory)) < len(hashes):
        os.makedirs(directory, exist_ok=True)
        # By way of a directory of its own: another build may be reading this one.
        with tempfile.TemporaryDirectory(prefix='new', dir=directory) as new:
            _download(vendor_set, new)
            for name in os.listdir(new):
                os.replace(os.path.join(new, name), os.path.join(directory, name))
    found = _find(hashes, directory)
    if set(found) != hashes:
        raise RuntimeError(f'{vendor_set.name}: not all of its wheels could be had')
    return sorted(found.values())


def unpack(wheel: str, directory: str) -> None:
    """Unpack a wheel, but for what dom0 has no use for."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            # A compiled module would fit one Python only.
            if name.endswith(('.so', '.pyc')):
                raise RuntimeError(f'{wheel} is not pure Python: {name}')
            if not name.startswith(LEFT_OUT) and not name.endswith('/'):
                archive.extract(name, directory)


def _download(vendor_set: VendorSet, directory: str) -> None:
    subprocess.check_call([
        sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check',
        '--no-deps', '--require-hashes', '--only-binary=:all:',
        '--python-version', vendor_set.python, '--dest', directory,
        '--requirement', os.path.join(LOCKS, vendor_set.name + '.lock')])


def _find(hashes: Set[str], directory: str) -> Dict[str, str]:
    """Find the wheels with these hashes."""
    found = {}
    for path in glob.glob(os.path.join(directory, '*.whl')):
        with open(path, 'rb') as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
        if digest in hashes:
            found[digest] = path
    return found
