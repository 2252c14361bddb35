"""The XAPI plugin on the hosts of a simulated pool."""

import os
import stat
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
# As deploy/xapi-plugin, with the tree in place of the package and a configuration of its own.
PROGRAM = '''#!{python} -EsB
import sys
sys.path[:1] = {path!r}
from cli.commandline.argv import take_arguments
words = take_arguments()
from cli.plugin.__main__ import main
sys.exit(main(words, config_path={config!r}))
'''


def install_plugin(directory: str, config_path: str) -> None:
    """Put the plugin where xapi looks for it."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, 'vgpu-watcher')
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(PROGRAM.format(python=sys.executable, config=config_path,
                                    path=[ROOT] + [item for item in sys.path if item]))
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
