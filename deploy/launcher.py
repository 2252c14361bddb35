#!/usr/bin/python3 -EsB
"""Starts the program of ours that this file is named after, with the packages that we brought.

-E and -s: no environment and no home directory decides what root runs. -B: the byte-code is what
the installation has compiled, and removing the package leaves none behind.
"""

import importlib
import os
import sys

PACKAGES = {'vgpu-watcher': 'watcher', 'vgpu-admin': 'cli'}
# The newest packages for Python 3.6 go on working to 3.10, those for newer ones begin with 3.11.
VENDORED = 'py3' if sys.version_info >= (3, 11) else 'py36'

own_path = os.path.realpath(__file__)
# From where it stands itself, so that it also works below a --root.
home = os.path.join(os.path.dirname(own_path), '..', '..', 'opt', 'vgpu-watcher')
home = os.path.normpath(home)
# In place of the directory of this file, from which nothing shall be imported.
sys.path[:1] = [os.path.join(home, 'lib'), os.path.join(home, 'vendor', VENDORED)]
# Last: dom0's own XenAPI is the one that fits its XAPI.
sys.path.append(os.path.join(home, 'vendor', 'xenapi'))

package = PACKAGES[os.path.basename(own_path)]
if package == 'watcher' and sys.argv[1:2] == ['run']:
    import signal
    # Until the daemon has its own handlers nothing is begun that had to be ended.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
try:
    status = importlib.import_module(package + '.__main__').main()
except KeyboardInterrupt:  # while the program was being imported: it has done nothing
    status = 130
sys.exit(status)
