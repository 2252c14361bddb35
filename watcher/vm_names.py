"""Keeps the names of all VMs in a file of /run, where the completion of vgpu-admin finds them.

A TAB cannot wait for XAPI. The file is root's, has one name a line, and is written when names
have changed, which is looked for every ten seconds.
"""

from typing import Iterable, List, Optional

from watcher.consumer.run_directory import NumberFileInvalid, RunDirectory
from watcher.vm.record import VmKind, VmRecord

LOOK_SECONDS = 10.0
# A longer name is not completed.
_MAX_NAME = 100
MAX_BYTES = 256 << 10


class VmNames:
    """Remembers what was written last."""

    def __init__(self) -> None:
        self._directory: Optional[RunDirectory] = None
        self._last: Optional[int] = None
        """The hash of the names: of two sets with the same one TAB may miss the newer."""
        self._look_at = 0.0

    def use(self, directory: Optional[RunDirectory]) -> None:
        """Write into this directory from now on, or nowhere."""
        self._directory, self._last, self._look_at = directory, None, 0.0

    def attend(self, now: float, vms: Iterable[VmRecord]) -> None:
        """Write the names when they have changed. Costs next to nothing otherwise."""
        if self._directory is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        names = frozenset(vm.name for vm in vms if vm.kind is VmKind.VM)
        if hash(names) == self._last:
            return
        self._last = hash(names)
        try:
            self._directory.write_names(render_names(names))
        except (OSError, NumberFileInvalid):
            pass  # the numbers, in the same directory, say what is wrong with it


def render_names(names: Iterable[str]) -> bytes:
    """The content of the file: in order, and without what is not fit for a terminal."""
    lines: List[bytes] = []
    room = MAX_BYTES
    for name in sorted(names):
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            continue
        line = name.encode('utf-8') + b'\n'
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    return b''.join(lines)
