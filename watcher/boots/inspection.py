"""Reads what one domain of this host runs with.

An inspector of the daemon does, and the plugin on behalf of another host's daemon.
"""

from typing import Callable, FrozenSet, Optional, Tuple

from watcher.boots.host import Host
from watcher.errors import HostUnreadable
from watcher.loop.steps import Steps, pause
from watcher.vm.boot import BootFinding
from watcher.vm.device_args import mentions, parse_args

LOOKS = 4
PAUSE_SECONDS = 0.5


def inspect_domain(host: Host, names: FrozenSet[str], domid: int,
                   is_running: Callable[[], bool]) -> Steps[BootFinding]:
    """Look, a few times if need be: xenstore fills up while the domain comes up."""
    finding = BootFinding(is_readable=False)
    for attempt in range(LOOKS):
        if attempt and not is_running():
            break  # the domain is gone: waiting for it would hold up the others
        if attempt:
            yield from pause(PAUSE_SECONDS)
        try:
            return (yield from read_finding(host, names, domid))
        except HostUnreadable as error:
            finding = BootFinding(is_readable=False, problem=str(error))
    return finding


def read_finding(host: Host, names: FrozenSet[str], domid: int) -> Steps[BootFinding]:
    """Read it once; HostUnreadable when xenstore or the process does not show it (yet)."""
    found = find_in_arguments((yield from host.read_qemu_arguments(domid)), names)
    if found is not None:
        return BootFinding(found)
    delivered = yield from host.read_delivered(domid)
    return BootFinding(None, _find_ours(delivered, names),
                       is_withheld=(yield from host.is_withheld(domid)))


def _find_ours(value: Optional[str], names: FrozenSet[str]) -> Optional[str]:
    """Our spans in a value; all of one that cannot be read and in which they may stand."""
    reading = parse_args(value, names)
    return reading.managed or (value if reading.problem and mentions(value, names) else None)


def find_in_arguments(arguments: Tuple[str, ...], names: FrozenSet[str]) -> Optional[str]:
    """Our devices among a QEMU's arguments, written as a span; None when there is none."""
    return ' '.join(f'{option} {device}'
                    for option, device in zip(arguments, arguments[1:])
                    if option == '-device' and device.split(',')[0] in names) or None
