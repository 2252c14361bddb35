"""P3, P6, P7: what happens to VMs that start before they are staged, or while they run."""

from typing import Callable, List

import pytest

from registry.values import Priority
from tests.simulated.world import KEY, World, span, wait_until

GAPS_MS = (0, 10, 30, 60, 100, 200, 1000)


def test_a_start_with_a_missing_span_is_rescued(build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=1.0).start()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.begin_start(ref)
    world.xapi.clear_calls()
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    starting.join()
    assert world.last_boot(ref).args == span(5)
    assert world.booted(ref, rescued=True)['verdict'] == 'as_desired'
    assert len([method for method, _ in world.writes() if method == 'VM.add_to_platform']) == 1


def test_a_start_with_a_wrong_span_is_replaced_once(build_world: Callable[..., World]) -> None:
    world = build_world(cutoff_seconds=0.5).start()
    ref = world.create_vm(args='-foo "a b"')
    world.register(ref, 5)
    world.wait_settled(ref, '-foo "a b" ' + span(5))
    world.start_vm(ref)
    world.booted(ref)
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    world.xapi.clear_calls()
    world.xapi.call('VM.hard_shutdown', ref)
    boot = world.start_vm(ref)
    assert boot.args == '-foo "a b" ' + span(6)
    assert [method for method, _ in world.writes()] == [
        'VM.remove_from_platform', 'VM.add_to_platform']
    line = world.booted(ref, rescued=True)
    assert (line['kind'], line['verdict']) == ('start', 'as_desired')


def test_a_span_that_xapi_overwrites_at_start_is_added_again(
        build_world: Callable[..., World]) -> None:
    # Without the key device-model XAPI writes the whole platform map back during the start.
    world = build_world(cutoff_seconds=1.0).start()
    ref = world.create_vm(platform={'timeoffset': '0'})
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    starting = world.begin_start(ref)
    world.xapi.call('VM.remove_from_platform', ref, KEY)
    starting.join()
    assert world.last_boot(ref).args == span(5)
    assert world.booted(ref)['verdict'] == 'as_desired'


@pytest.mark.parametrize('operation', ['VM.suspend', 'VM.pause'])
def test_nothing_is_written_to_a_vm_that_does_not_rest(world: World, operation: str) -> None:
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    world.start_vm(ref)
    world.booted(ref)
    world.xapi.call(operation, ref)
    world.xapi.clear_calls()
    world.change(ref, vm_id=6)
    world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    assert world.args(ref) == span(5) and not world.writes()


@pytest.mark.parametrize('call_delay_ms', [0, 20])
def test_a_pending_change_and_a_quick_restart_refuse_and_miss_nothing(
        build_world: Callable[..., World], call_delay_ms: int) -> None:
    world = build_world(cutoff_seconds=0.5, call_delay_seconds=call_delay_ms / 1000.0).start()
    refs = [world.create_vm('vm%d' % number) for number in range(20)]
    for number, ref in enumerate(refs):
        world.register(ref, number + 1)
    for number, ref in enumerate(refs):
        world.wait_args(ref, span(number + 1))
    starts = [world.xapi.spawn('VM.start', ref, False, False) for ref in refs]
    for start in starts:
        start.join()
    for ref in refs:
        world.booted(ref)
    with world.registry.edit(who='test', command='update-vm') as edit:
        for ref in refs:
            edit.change_vm(world.uuid(ref), priority=Priority.HIGH)
    for ref in refs:
        world.daemon.wait_for('vm.change_pending', vm_uuid=world.uuid(ref))
    errors = _restart_all(world, refs)
    assert errors == [None] * 20
    taken = [world.last_boot(ref).args for ref in refs]
    assert taken == [span(number + 1, priority='high') for number in range(20)]


def _restart_all(world: World, refs: List[str]) -> List[object]:
    """Stop each and start it again after its gap; what the starts raised."""
    import threading
    pause, starts = threading.Event(), []
    for index, ref in enumerate(refs):
        world.xapi.call('VM.hard_shutdown', ref)
        pause.wait(GAPS_MS[index % len(GAPS_MS)] / 1000.0)
        starts.append(world.xapi.spawn('VM.start', ref, False, False))
    for start in starts:
        start.join()
    return [start.error for start in starts]


def test_a_thousand_staged_vms_start_at_once_without_a_write(
        build_world: Callable[..., World]) -> None:
    world = build_world(step_seconds=0.0, cutoff_seconds=0.05).start(with_daemon=False)
    refs = [world.create_vm('vm%04d' % number) for number in range(1000)]
    with world.registry.edit(who='test', command='import') as edit:
        for number, ref in enumerate(refs):
            edit.add_vm(world.uuid(ref), vm_id=number + 1)
    world.start_daemon()
    wait_until(lambda: all(world.args(ref) for ref in refs), 'all staged', 60.0)
    wait_until(lambda: world.xapi.calls[-1].method == 'event.from', 'calm')
    world.xapi.clear_calls()
    starts = [world.xapi.spawn('VM.start', ref, False, False) for ref in refs]
    for start in starts:
        start.join()
    assert not world.writes()
    assert [world.last_boot(ref).args for ref in refs] == [
        span(number + 1) for number in range(1000)]
    wait_until(lambda: len(world.daemon.events('vm.booted', verdict='as_desired')) == 1000,
               'a receipt for each', 60.0)
