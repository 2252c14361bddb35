"""`python -m deploy.package rpm|tarball`: builds, and prints the path of what was built."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from typing import List, Optional

from deploy.package import archives, programs, staging
from watcher.version import VERSION

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(argv: Optional[List[str]] = None) -> int:
    """Build one form of the package; the exit status."""
    parser = argparse.ArgumentParser(prog='deploy.package', description=__doc__,
                                     allow_abbrev=False)
    parser.add_argument('form', choices=('rpm', 'tarball'))
    parser.add_argument('--output', default=os.path.join(ROOT, 'dist'), metavar='DIR')
    parser.add_argument('--wheels', default=os.path.join(ROOT, 'build/wheels'), metavar='DIR',
                        help='where downloaded packages are kept')
    arguments = parser.parse_args(argv)
    if arguments.form == 'rpm' and programs.obtain('rpmbuild') is None:
        sys.stderr.write("rpmbuild is missing: install Debian's package rpm\n")
        return 1
    print(build(arguments.form, arguments.output, arguments.wheels))
    return 0


def build(form: str, output: str, wheels: str) -> str:
    """Build `rpm` or `tarball` from the repository that this stands in; its path."""
    os.makedirs(output, exist_ok=True)
    if not re.match(r'[0-9][0-9A-Za-z.]*\Z', VERSION):
        raise RuntimeError(f'{VERSION} is not a version that an RPM can have')
    timestamp = read_timestamp()
    with tempfile.TemporaryDirectory(prefix='vgpu-package') as directory:
        tree = os.path.join(directory, 'tree')
        staging.stage(ROOT, tree, wheels)
        tarball = archives.build_tarball(
            ROOT, tree, VERSION, output if form == 'tarball' else directory, timestamp)
        if form == 'tarball':
            return tarball
        return archives.build_rpm(tree, tarball, VERSION, output, timestamp)


def read_timestamp() -> int:
    """Read when the last commit was made; of a copy without a history, when it became 2026."""
    done = subprocess.run(['git', '-C', ROOT, 'log', '-1', '--format=%ct'],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(done.stdout) if done.returncode == 0 else 1767225600


if __name__ == '__main__':
    sys.exit(main())
