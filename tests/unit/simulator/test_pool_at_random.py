"""Mishaps in any order, with calls going on: in the end the records say what runs, everywhere."""

import random
import threading
from typing import Any, List

import pytest

from simulator.pool import PoolSimulator
from simulator.wire.failures import Failure, XapiGone

STEPS = 25


class Mishaps:
    """What may happen to a pool, drawn by chance, so that some host always is there."""

    def __init__(self, pool: PoolSimulator, chance: random.Random) -> None:
        self._pool = pool
        self._chance = chance

    def step(self) -> None:
        """Let one thing happen."""
        getattr(self, self._chance.choice((
            'sync', 'lose_and_return', 'lose_master', 'designate', 'split', 'restore', 'restart',
            'upgrade')))()

    def sync(self) -> None:
        self._pool.sync_database(self._chance.choice(self._pool.hosts))

    def lose_and_return(self) -> None:
        host = self._chance.choice(self._pool.hosts)
        self._pool.lose_host(host)
        if host != self._pool.master and self._chance.random() < 0.5:
            self._pool.declare_dead(host)
        self._pool.return_host(host)

    def lose_master(self) -> None:
        lost = self._pool.master
        self._pool.lose_host(lost, self._chance.choice((0, 3)))
        self._pool.fail_over(self._another(lost))
        self._pool.return_host(lost)

    def designate(self) -> None:
        self._pool.designate_new_master(self._another(self._pool.master))

    def split(self) -> None:
        master = self._pool.master
        others = [host for host in self._pool.hosts if host != master]
        self._pool.split([master], others)
        if self._chance.random() < 0.7:
            self._pool.fail_over(self._chance.choice(others))
        self._pool.heal()

    def restore(self) -> None:
        self._pool.restore_database(self._pool.dump_database())

    def restart(self) -> None:
        self._pool.restart(self._chance.choice(('clean', 'crash')), 0.0, 2)

    def upgrade(self) -> None:
        for host in self._pool.hosts:
            self._pool.upgrade_host(host)

    def _another(self, host: str) -> str:
        return self._chance.choice([other for other in self._pool.hosts if other != host])


def live_on(pool: PoolSimulator, refs: List[str], chance: random.Random,
            stop: threading.Event, oddities: List[Exception]) -> None:
    """Start, stop and move VMs all the time; whatever XAPI refuses is its right."""
    while not stop.is_set():
        ref = chance.choice(refs)
        method, arguments = chance.choice((
            ('VM.start', (False, False)), ('VM.hard_shutdown', ()), ('VM.hard_reboot', ()),
            ('VM.pool_migrate', (chance.choice(pool.hosts), {}))))
        try:
            pool.call(method, ref, *arguments)
        except (Failure, XapiGone):
            stop.wait(0.002)
        except Exception as error:
            oddities.append(error)
            return


def judge(pool: PoolSimulator, refs: List[str]) -> List[Any]:
    """What the records say otherwise than it is."""
    wrong: List[Any] = []
    with pool.hardware.lock:
        for ref in refs:
            record, running = pool.vm(ref), pool.hardware.domains.get(ref, [])
            domain = running[0] if running else None
            found = (record['power_state'], record['resident_on'], record['domid'])
            expected = ('Halted', 'OpaqueRef:NULL', -1) if domain is None else (
                'Running', domain.host, domain.domid)
            if len(running) > 1 or found != expected or record['current_operations']:
                wrong.append((found, running, record['current_operations']))
    return wrong


@pytest.mark.parametrize('seed', range(4))
def test_after_any_mishaps_the_records_say_what_runs(build_pool, clients, seed):
    pool = build_pool(member_patience_seconds=0.05, seed=seed)
    chance = random.Random(seed)
    refs = [pool.create_vm('vm-%d' % number) for number in range(4)]
    pool.sync_database()
    stop, oddities = threading.Event(), []
    workers = [threading.Thread(target=live_on, daemon=True, args=(
        pool, refs, random.Random(seed * 10 + number), stop, oddities)) for number in range(3)]
    for worker in workers:
        worker.start()
    mishaps = Mishaps(pool, chance)
    for _ in range(STEPS):
        mishaps.step()
        booted = len(pool.boots)
        pool.wait_for(lambda: len(pool.boots) > booted, 0.1)
    pool.wait_for(lambda: len(pool.boots) > 10, 20.0)
    stop.set()
    for worker in workers:
        worker.join(10.0)
    assert not any(worker.is_alive() for worker in workers) and oddities == []
    assert len(pool.boots) > 10
    # What two xapis began with one VM at the same time is settled when xapi comes up again.
    pool.restart('clean')
    pool.wait_for(lambda: not judge(pool, refs), 5.0)
    assert judge(pool, refs) == []
    for host in pool.hosts:
        session = clients.local(pool, host)
        assert session.xenapi.pool.get_master(pool.pool) == pool.master
        assert session.xenapi.session.get_this_host(session.handle) == host
