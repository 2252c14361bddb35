"""One boot, from the first sign of it to the verdict.

XAPI merges events, shows Running before the domid, and shows nothing at all of a reboot inside
the guest but a new domid. So a boot is a new (host, domid), never a transition that was seen;
operations and power states only tell which kind of boot it was. `follow` turns the records of
one VM, one after the other, into signs; `judge` compares what was found with what was desired.

Pure: no clock, no I/O, no logging.
"""

import enum
from typing import Any, FrozenSet, NamedTuple, Optional, Tuple

from watcher.vm.record import MIGRATIONS, PowerState, VmRecord


class BootKind(enum.Enum):
    """How a QEMU came up (P20)."""
    START = 'start'
    REBOOT = 'reboot'
    RESUME = 'resume'
    MIGRATION = 'migration'
    UNKNOWN = 'unknown'


class Verdict(enum.Enum):
    """What a boot took, compared with what was desired (P20)."""
    AS_DESIRED = 'as_desired'
    PENDING = 'pending'
    FROZEN = 'frozen'
    STALE = 'stale'
    MISSING = 'missing'
    WITHHELD = 'withheld'
    NOT_CONSUMED = 'not_consumed'
    UNVERIFIED = 'unverified'


_KNOWN_KINDS = frozenset(kind.value for kind in BootKind)
_KNOWN_VERDICTS = frozenset(verdict.value for verdict in Verdict)
GOOD_VERDICTS = frozenset([Verdict.AS_DESIRED, Verdict.PENDING])

_KINDS = {
    'start': BootKind.START, 'start_on': BootKind.START,
    'clean_reboot': BootKind.REBOOT, 'hard_reboot': BootKind.REBOOT,
    'resume': BootKind.RESUME, 'resume_on': BootKind.RESUME,
    'checkpoint': BootKind.RESUME,
    'pool_migrate': BootKind.MIGRATION, 'migrate_send': BootKind.MIGRATION,
}
_REBOOTS = frozenset(['clean_reboot', 'hard_reboot'])


def is_understood(boot: Any) -> bool:
    """Whether a boot in the journal is of a known kind, and has a known verdict or none."""
    return boot.kind in _KNOWN_KINDS and (boot.verdict is None or boot.verdict in _KNOWN_VERDICTS)


class Sign(enum.Enum):
    """What a record says about a boot."""
    NOTHING = 'nothing'
    UNDER_WAY = 'under_way'
    """An operation that ends in a new QEMU began."""
    ARRIVED = 'arrived'
    """A QEMU runs that we had not seen."""
    GIVEN_UP = 'given_up'
    """The operation is over and no new QEMU came of it."""


class Track(NamedTuple):
    """What is remembered of one VM between two records."""
    power_state: Optional[PowerState] = None
    domain: Optional[Tuple[str, int]] = None
    """The last (host, domid) that was seen running."""
    under_way: Optional[BootKind] = None
    """How the boot under way comes up; None while none is."""
    task: Optional[str] = None
    """The operation under way; after it the one that brought the domain, which goes on a while."""
    is_certain: bool = True
    """False after an interruption: how the next new domain came up was not watched."""
    is_awaited: bool = False
    """What comes next is a domain of another resource pool, unless an operation says otherwise."""


class BootFinding(NamedTuple):
    """What the host that runs the domain shows."""
    found: Optional[str] = None
    """Our spans in the arguments of the domain's QEMU."""
    delivered: Optional[str] = None
    """Our spans in what xenstore holds for the domain."""
    is_readable: bool = True
    problem: str = ''
    is_withheld: bool = False
    """The consumer left word that it gave this domain none: the number is another VM's (P26)."""


def follow(track: Track, vm: VmRecord) -> Tuple[Track, Sign, BootKind]:
    """Take the next record of a VM: the track from now on, and what the record means."""
    kind, task = _kind_under_way(vm)
    was_idle = track.under_way is None
    if was_idle and task is not None and task == track.task:
        # The operation that brought the domain outlives its arrival by many records.
        kind = None
    track = track._replace(under_way=kind or track.under_way, task=task or track.task)
    domain = vm.domain
    if domain is None:
        return _follow_without_domain(track, vm, is_new=was_idle and kind is not None)
    if domain == track.domain:
        return _follow_same_domain(track, vm, is_new=was_idle and kind is not None)
    if vm.operation_names & MIGRATIONS and not _is_on_same_host(track, domain):
        # The host changes before the domid does: wait for the end of the operation.
        track = track._replace(power_state=vm.power_state, under_way=BootKind.MIGRATION)
        return track, Sign.UNDER_WAY, BootKind.MIGRATION
    # While the disks of a migration are copied, for hours, the guest may restart as ever.
    arrived = (BootKind.REBOOT if vm.operation_names & _REBOOTS else
               _kind_of_arrival(track, domain))
    return Track(vm.power_state, domain, None, track.task), Sign.ARRIVED, arrived


def judge(kind: BootKind, desired: Optional[str], staged: FrozenSet[str],
          finding: BootFinding) -> Verdict:
    """Compare what a QEMU runs with what was desired when it came up.

    `staged` is what was in place when the VM last rested: '' for nothing of ours. It may be one
    of two when a write is not proven, and is empty when it is not known.
    """
    if not finding.is_readable:
        return Verdict.UNVERIFIED
    if finding.found is None and finding.is_withheld:
        return Verdict.WITHHELD
    if finding.found == desired:
        return Verdict.AS_DESIRED
    if finding.found is None and finding.delivered is not None:
        return Verdict.NOT_CONSUMED
    if kind in (BootKind.RESUME, BootKind.MIGRATION):
        return Verdict.FROZEN
    if (finding.found or '') in staged:
        return Verdict.PENDING
    return Verdict.MISSING if finding.found is None else Verdict.STALE


def resume_track(domain: Optional[Tuple[str, int]], under_way: Optional[BootKind] = None,
                 task: Optional[str] = None) -> Track:
    """The track of a VM whose past we know from the journal only."""
    return Track(None, domain, under_way, task, is_certain=False)


def _kind_under_way(vm: VmRecord) -> Tuple[Optional[BootKind], Optional[str]]:
    for task, name in vm.operations:
        if name in _KINDS:
            return _KINDS[name], task
    return None, None


def _follow_same_domain(track: Track, vm: VmRecord, is_new: bool) -> Tuple[Track, Sign, BootKind]:
    track = track._replace(power_state=vm.power_state, is_certain=True)
    if vm.operations:
        sign = Sign.UNDER_WAY if is_new else Sign.NOTHING
        return track, sign, track.under_way or BootKind.UNKNOWN
    sign = Sign.NOTHING if track.under_way is None else Sign.GIVEN_UP
    return track._replace(under_way=None, task=None), sign, BootKind.UNKNOWN


def _follow_without_domain(track: Track, vm: VmRecord, is_new: bool) \
        -> Tuple[Track, Sign, BootKind]:
    is_resting = not vm.operations and vm.power_state in (PowerState.HALTED,
                                                          PowerState.SUSPENDED)
    if is_resting:
        was_under_way = track.under_way is not None
        # XAPI shows the host that has it now before the power state.
        is_awaited = vm.is_awaited or (track.is_awaited and vm.resident_on is not None)
        rested = Track(vm.power_state, is_awaited=is_awaited)
        return rested, Sign.GIVEN_UP if was_under_way else Sign.NOTHING, BootKind.UNKNOWN
    # Running is published before the domid: what the VM was before tells how it came up.
    moved = track if vm.is_up else track._replace(power_state=vm.power_state)
    return (moved, Sign.UNDER_WAY, track.under_way or BootKind.UNKNOWN) if is_new else \
        (moved, Sign.NOTHING, BootKind.UNKNOWN)


def _is_on_same_host(track: Track, domain: Tuple[str, int]) -> bool:
    return track.domain is not None and track.domain[0] == domain[0]


def _kind_of_arrival(track: Track, domain: Tuple[str, int]) -> BootKind:
    if track.under_way is not None:
        return track.under_way
    if track.power_state is PowerState.SUSPENDED:
        return BootKind.RESUME
    if track.power_state is PowerState.HALTED:
        return BootKind.MIGRATION if track.is_awaited else BootKind.START
    if track.domain is None or not track.is_certain:
        return BootKind.UNKNOWN
    return BootKind.REBOOT if _is_on_same_host(track, domain) else BootKind.MIGRATION
