"""P1, P2, P3, P7, P14, P16, P19, P20: a bounded part of what `make assurance` does.

Seeds can be repeated: STORM_SEED=N in the environment.
"""

import os
import signal
import tempfile
from typing import Any, Iterator

import pytest

from simulator.hypervisor.hardware import Boot
from tests.integration.daemon.world import KEY, wait_until
from tests.verification.assurance import fleet, storm
from tests.verification.assurance.storm import Storm, weather

BOOTS = 600
VMS = 20
# A limit for a storm that hangs: how long 600 boots take is the machine's affair.
SECONDS = 900.0


def test_no_boot_of_a_storm_is_wrong_and_each_is_told() -> None:
    seed = int(os.environ.get('STORM_SEED', '7'))
    figures = weather(BOOTS, SECONDS, seed, VMS)
    assert not figures.wrong and not figures.unreported, '\n'.join(
        ["seed %d" % seed, repr(figures)])
    assert sum(figures.boots.values()) >= BOOTS and figures.faults


@pytest.fixture
def small(monkeypatch: Any) -> Iterator[Storm]:
    """A storm of four VMs that are staged, whose starts have 1 ms."""
    monkeypatch.setattr(storm, 'WINDOWS_MS', (1,))
    monkeypatch.setattr(storm, 'GAPS_SECONDS', (0.0,))
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        found = Storm(directory, 4, 1)
        try:
            found.begin()
            yield found
        finally:
            found.close()


def test_restarts_that_were_quicker_than_the_staging_are_counted_and_told(small: Storm) -> None:
    small.fleet.each('VM.start', False, False)
    wait_until(lambda: small.start_again_at_once() or small.fleet.outrun,
               'a VM that took the old arguments')
    assert not small.fleet.wrong and not small.fleet.unreported


def test_starts_without_the_key_are_counted_and_told(small: Storm) -> None:
    wait_until(lambda: small.start_without_key() or small.fleet.bare,
               'a VM that booted without arguments')
    assert not small.fleet.wrong and not small.fleet.unreported


@pytest.mark.parametrize('kind, verdict', [
    (fleet.RESTART, 'stale'), (fleet.KEYLESS, 'pending')])
def test_a_count_of_boots_that_are_told_otherwise_is_a_failure(
        kind: str, verdict: str, small: Storm) -> None:
    member = small.fleet.members[0]
    took = None if kind == fleet.KEYLESS else '-device vgpu-stub,vm_id=99'
    boot = Boot('uuid', member.ref, 'name', 'start', 1, 'host', took, (took or '').split(), 0.0,
                None)
    said = {'found': took, 'desired': member.span, 'verdict': verdict}
    small.fleet._judge(kind, boot, said, {member.ref: member})
    assert len(small.fleet.unreported) == 1


def test_a_storm_sees_a_wrong_boot_and_one_that_nobody_was_told_of(
        small: Storm, monkeypatch: Any) -> None:
    monkeypatch.setattr(fleet, 'PATIENCE_SECONDS', 1.0)
    small.world.daemon.stop(signal.SIGKILL)
    small.world.xapi.call('VM.remove_from_platform', small.fleet.members[0].ref, KEY)
    small.fleet.begin_wave()
    small.fleet.each('VM.start', False, False)
    small.fleet.end_wave('start', {item.ref: item.value for item in small.fleet.members})
    assert [wrong.took for wrong in small.fleet.wrong] == [None]
    assert [item.said for item in small.fleet.unreported] == ['nothing'] * 4
