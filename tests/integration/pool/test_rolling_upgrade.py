"""Hosts are installed anew one after the other while VMs boot all the time: no boot is wrong."""

import random
import threading
from typing import Any, Dict, List

from simulator.wire.failures import Failure, XapiGone
from tests.integration.daemon.world import span
from tests.integration.pool.world import PoolWorld

VMS = 6


class Boots:
    """VMs that start and stop all the time; what XAPI refuses is its right."""

    def __init__(self, pool: PoolWorld, refs: List[str]) -> None:
        self._pool = pool
        self._refs = refs
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(number,), daemon=True)
                         for number in range(2)]

    def __enter__(self) -> 'Boots':
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10.0)

    def _live(self, number: int) -> None:
        chance = random.Random(number)
        mine = self._refs[number::2]
        while not self._stop.is_set():
            ref = chance.choice(mine)
            try:
                self._pool.xapi.call('VM.start', ref, False, False)
            except (Failure, XapiGone):
                self._put_to_rest(ref)
            self._stop.wait(0.01)

    def _put_to_rest(self, ref: str) -> None:
        try:
            self._pool.xapi.call('VM.hard_shutdown', ref)
        except (Failure, XapiGone):
            self._stop.wait(0.02)


def test_no_boot_is_wrong(pool: PoolWorld) -> None:
    refs = [pool.create_vm('vm-%d' % number) for number in range(1, VMS + 1)]
    wanted: Dict[str, str] = {}
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        wanted[ref] = span(number)
        pool.wait_args(ref, wanted[ref])
    assignments = pool.wait_agreed()
    with Boots(pool, refs):
        for host in pool.hosts:
            booted = len(pool.xapi.boots)
            pool.upgrade(host)
            pool.wait_agreed(assignments)
            assert pool.xapi.wait_for(lambda: len(pool.xapi.boots) > booted + 5, 20.0)
    wrong = [boot for boot in pool.xapi.boots if boot.args != wanted[boot.ref]]
    assert wrong == []
    assert len({boot.host for boot in pool.xapi.boots}) > 1
    assert pool.wait_agreed() == assignments
