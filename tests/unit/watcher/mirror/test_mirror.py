"""When the master takes the mirror for one that somebody has put back, and when it does not."""

from typing import Any, Dict, Iterator, List

import pytest

from registry.store import Registry
from tests.unit.watcher.builders import HOST, UUID
from tests.unit.watcher.steps import AtOnce
from tests.unit.watcher.test_quarrels import POOL, REF, STEP_SECONDS, Quarrel
from watcher.errors import XapiUnreachable
from watcher.loop.steps import run
from watcher.mirror.mirror import PUSHING
from watcher.vm.record import Batch
from watcher.xapi.role import Role

MASTER = Role(True, True, HOST, '26.1.4', master=HOST)
MEMBER = MASTER._replace(is_writer=False, is_member=True)


@pytest.fixture
def master(tmp_path: Any) -> Iterator[Quarrel]:
    master = Quarrel(str(tmp_path / 'vgpu_config.db'))
    yield master
    master.close()


def edit(master: Quarrel, pool_id: str) -> None:
    """Somebody moves the VM to a vGPU pool."""
    with Registry(master.view.path, timeout_seconds=1.0).edit(who='me', command='x') as edit:
        edit.change_vm(UUID, pool_id=pool_id)


class Cut:
    """An XAPI that goes away: it does what it is told to do before that, and answers nothing."""

    handle = 'OpaqueRef:session'

    def __init__(self, xapi: Any) -> None:
        self._xapi = xapi

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> None:
            if self._xapi is not None:
                getattr(self._xapi, name)(*arguments)
            raise XapiUnreachable('cut')
        return call


def begin(master: Quarrel, is_written: bool) -> None:
    """The daemon has begun to write a new generation when XAPI goes away, with or without having
    done what it was told to do."""
    master.watcher.poll_registry()
    for _turn in range(8):
        master.now += STEP_SECONDS
        master.watcher.pump()
        jobs, master.callers.jobs = master.callers.jobs, []
        for job in jobs:
            master.watcher.handle(run(job(AtOnce(Cut(master.xapi if is_written else None)))))


def begin_session(master: Quarrel, role: Role) -> None:
    """The stream tells of all VMs."""
    master.watcher.begin_session(role)
    master._handle(Batch('0', master._read(), is_first=True, pools=(master._read_pool(),)))
    for _step in range(10):
        master.go_on(STEP_SECONDS)


def come_back(master: Quarrel) -> None:
    """XAPI is there again."""
    begin_session(master, MASTER)
    assert master.watcher.mirroring.push.is_mirrored


def list_older(log_output: List[Dict[str, Any]]) -> List[Any]:
    return [(line['generation'], line['found']) for line in log_output
            if line['event'] == 'mirror.older']


@pytest.mark.parametrize('edits', [('B',), ('B', 'A'), ('B', 'A', 'B')])
@pytest.mark.parametrize('is_written', [False, True], ids=['request-lost', 'answer-lost'])
def test_a_generation_that_xapi_has_cut_short_was_put_back_by_nobody(
        master: Quarrel, log_output: List[Dict[str, Any]], edits: Any, is_written: bool) -> None:
    for _session in range(2):
        for place, pool_id in enumerate(edits):
            edit(master, pool_id)
            begin(master, is_written and not place)
        assert master.watcher.mirroring.state == PUSHING
        come_back(master)
        edit(master, 'A')
        come_back(master)
    assert list_older(log_output) == []


def test_a_mirror_that_was_put_back_while_xapi_was_away_is_told_once(
        master: Quarrel, log_output: List[Dict[str, Any]]) -> None:
    before = {ref: dict(keys) for ref, keys in master.xapi.other_config.items()}
    edit(master, 'B')
    come_back(master)
    assert list_older(log_output) == []
    for ref in (REF, POOL):
        master.xapi.other_config[ref].clear()
        master.xapi.other_config[ref].update(before[ref])
    come_back(master)
    come_back(master)
    assert len(list_older(log_output)) == 1


def test_a_host_that_was_a_member_meanwhile_does_not_know_where_the_mirror_stood(
        master: Quarrel, log_output: List[Dict[str, Any]]) -> None:
    edit(master, 'B')
    begin(master, is_written=False)
    begin_session(master, MEMBER)
    told = list_older(log_output)
    come_back(master)
    assert list_older(log_output)[len(told):]
