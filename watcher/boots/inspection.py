"""Reads what one domain of this host runs with.

An inspector of the daemon does, and the plugin on behalf of another host's daemon.
"""

import time
from typing import Callable, FrozenSet, Optional, Tuple

from watcher.boots.host import Host
from watcher.errors import HostUnreadable
from watcher.vm.boot import Finding
from watcher.vm.device_args import parse_args

LOOKS = 4
PAUSE_SECONDS = 0.5


def look(host: Host, names: FrozenSet[str], domid: int, is_running: Callable[[], bool]) -> Finding:
    """Look, a few times if need be: xenstore fills up while the domain comes up."""
    finding = Finding(is_readable=False)
    for attempt in range(LOOKS):
        if attempt and not is_running():
            break  # the domain is gone: waiting for it would hold up the others
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            return _read(host, names, domid)
        except HostUnreadable as error:
            finding = Finding(is_readable=False, problem=str(error))
    return finding


def find_in_arguments(arguments: Tuple[str, ...], names: FrozenSet[str]) -> Optional[str]:
    """Our devices among a QEMU's arguments, written as a span; None when there is none."""
    return ' '.join('%s %s' % (option, device)
                    for option, device in zip(arguments, arguments[1:])
                    if option == '-device' and device.split(',')[0] in names) or None


def _read(host: Host, names: FrozenSet[str], domid: int) -> Finding:
    found = find_in_arguments(host.read_qemu_arguments(domid), names)
    if found is not None:
        return Finding(found)
    delivered = host.read_delivered(domid)
    reading = parse_args(delivered, names)
    return Finding(None, reading.managed or (delivered if reading.problem else None),
                   is_withheld=host.is_withheld(domid))
