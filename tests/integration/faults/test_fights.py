"""P30, P7: what another program does again and again is told once, and damped."""

import threading
import time
from typing import Callable

import pytest

from simulator.faults import Fault
from tests.integration.daemon.world import KEY, World, span, wait_until
from tests.support import scenes
from tests.support.figures import leave


def _take_away(world: World, ref: str) -> None:
    if world.args(ref):
        world.xapi.call('VM.remove_from_platform', ref, KEY)


def _write_other(world: World, ref: str) -> None:
    if world.args(ref) != span(99):
        world.xapi.call('VM.remove_from_platform', ref, KEY)
        world.xapi.call('VM.add_to_platform', ref, KEY, span(99))


@pytest.mark.parametrize('undo', [_take_away, _write_other])
def test_a_fight_is_told_once_and_damped_and_an_edit_ends_the_pause(
        build_world: Callable[..., World], undo: Callable[[World, str], None]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world, foreign='')
    stop = threading.Event()

    def fight() -> None:
        while not stop.wait(0.002):
            undo(world, subject.ref)
    thread = threading.Thread(target=fight)
    world.xapi.clear_calls()
    thread.start()
    world.daemon.wait_for('vm.fought_over', vm_uuid=world.uuid(subject.ref))
    written, told = len(_list_ours(world)), len(world.daemon.lines)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 6.0, 'some rounds')
    leave(real_lines=len(world.daemon.lines) - told)
    assert len(_list_ours(world)) - written <= 4 and len(world.daemon.lines) - told <= 2
    assert len(world.daemon.events('vm.fought_over')) == 1
    stop.set()
    thread.join()
    scenes.prioritise(world, [subject])
    world.wait_args(subject.ref, subject.value('high'), timeout_seconds=5.0)


def _list_ours(world: World) -> list:
    return [call for call in world.xapi.calls if call.originator == 'vgpu-watcher'
            and call.method in ('VM.add_to_platform', 'VM.set_platform')]


def test_a_write_that_is_refused_for_ever_is_told_once_a_minute(
        build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world)
    world.xapi.faults.add(Fault('failure', 'VM.set_platform', subject.ref, parameters={
        'code': 'INVALID_VALUE', 'params': ['platform', KEY]}))
    scenes.prioritise(world, [subject])
    world.daemon.wait_for('vm.injection_failed', vm_uuid=world.uuid(subject.ref))
    began, lines = time.monotonic(), len(world.daemon.lines)
    wait_until(lambda: time.monotonic() - began > 5.0, 'some retries')
    assert len(world.daemon.lines) - lines <= 1
    assert world.args(subject.ref) == subject.value()
    assert not world.xapi.vm(subject.ref)['blocked_operations']
    assert scenes.start(world, subject) == subject.value()


def test_sighup_reads_again_what_no_event_has_shown(build_world: Callable[..., World]) -> None:
    world = build_world().start()
    subject, = scenes.stage(world, foreign='')
    world.xapi.faults.add(Fault('lost_wakeup', 'VM', subject.ref, count=1))
    world.xapi.call('VM.remove_from_platform', subject.ref, KEY)
    assert world.daemon.process is not None
    import signal
    world.daemon.process.send_signal(signal.SIGHUP)
    world.wait_args(subject.ref, subject.value(), timeout_seconds=5.0)
