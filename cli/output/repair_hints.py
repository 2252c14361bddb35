"""How to mend device-model-args that cannot be parsed with certainty, and are left alone.

Pure: no clock, no I/O, no logging.
"""

import re
import shlex
from typing import FrozenSet, Optional, Tuple

from watcher.vm.device_args import Problem, parse_args

_ODD = re.compile(r'[^ -~]|["\'\\]')
_DANGLING = re.compile(r'(?:^| )-device *\Z')


def describe_unreadable(vm_uuid: str, args: Optional[str],
                        names: FrozenSet[str]) -> Tuple[str, str]:
    """Say what is wrong with a value, and give the command that mends it."""
    problem = parse_args(args, names).problem or Problem.TOO_LONG
    said = f'device-model-args {problem.value}'
    mended = _DANGLING.sub('', _ODD.sub('', args or ''))
    if problem is Problem.TOO_LONG or parse_args(mended, names).problem is not None:
        mended = 'THE RIGHT VALUE'
    return said, (f'xe vm-param-set uuid={vm_uuid} '
                  f'platform:device-model-args={shlex.quote(mended)}')
