"""What is kept of a boot that nobody was told of: the daemon's whole log, and the receipts.

A figure that misses its goal is worth nothing without that: was it the daemon, or who asked?
"""

import os
from typing import Any, Iterable, Optional

from registry.journal.journal import Journal
from tests.integration.daemon.world import World
from tests.verification.assurance.running import ROOT

DIRECTORY = os.path.join(ROOT, 'build', 'assurance')
_RECEIPTS = 6
_VMS = 5


def find_login(world: World, since: float) -> Optional[float]:
    """When the daemon's first login after that moment came: from there on P14 counts."""
    found = None
    for call in reversed(world.xapi.calls):
        if call.at < since:
            break
        if call.method == 'session.login_with_password':
            found = call.at
    return found


def keep(world: World, name: str, boots: Iterable[Any]) -> str:
    """Write down what tells whose fault it was; where it lies."""
    os.makedirs(DIRECTORY, exist_ok=True)
    path = os.path.join(DIRECTORY, name)
    process = world.daemon.process
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write('daemon: %s\n' % (
            'none' if process is None else 'alive' if process.poll() is None
            else 'ended with %s' % process.returncode))
        for number, boot in enumerate(boots):
            stream.write('boot: %s domid %s took %r\n' % (boot.vm_uuid, boot.domid, boot.args))
            if number < _VMS:
                _write_receipts(world, boot.vm_uuid, stream)
        stream.write('\n'.join(world.daemon.raw) + '\n')
    return path


def _write_receipts(world: World, vm_uuid: str, stream: Any) -> None:
    with Journal(world.registry.journal_path, timeout_seconds=5.0) as journal:
        for receipt in journal.list_boots(vm_uuid, _RECEIPTS):
            stream.write('  receipt: %r\n' % (receipt,))
