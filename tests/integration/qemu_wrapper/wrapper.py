"""The shipped wrapper, as it is but for where things lie.

It has no options: xenopsd gives it QEMU's arguments and nothing else. So a test that lets it run
elsewhere changes the constants at its top, and nothing below them.
"""

import os
import re
from typing import Any

from tests.support.documents import ROOT

WRAPPER = os.path.join(ROOT, 'deploy/qemu-wrapper/vgpu-qemu-wrapper')


def point_wrapper(**constants: Any) -> str:
    """The text of the wrapper with other values of some constants."""
    with open(WRAPPER, encoding='utf-8') as stream:
        text = stream.read()
    for name, value in constants.items():
        line = re.compile(r'^%s = .*$' % name, re.MULTILINE)
        assert len(line.findall(text)) == 1, name
        # The value may hold what `sub` would take for the number of a group.
        text = line.sub(('%s = %r' % (name, value)).replace('\\', '\\\\'), text)
    return text
