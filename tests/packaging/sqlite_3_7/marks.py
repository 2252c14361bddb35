"""Where the tests of the floor can run: in CI always, elsewhere with the tools they need."""

import os
import shutil

import pytest

needs_the_floor = pytest.mark.skipif(
    'CI' not in os.environ and not (shutil.which('npm') and shutil.which('gcc')),
    reason='SQLite 3.7.17 is fetched with npm and built with gcc')
