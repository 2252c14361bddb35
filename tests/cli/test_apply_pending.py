"""apply-pending with the real daemon and the real simulator: what the VMs booted with, in order."""

import json
import os
import signal
import threading
import time
from typing import Any, Dict, Iterator, List, Sequence

import pytest

from tests.cli.breaking import Daemon
from tests.cli.program import Place, span, wait_until


class Pool:
    """Registered VMs that run, with a daemon beside."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.refs: Dict[str, str] = {}
        self.daemon = Daemon(place)
        self.daemon.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    def add(self, *names: str, is_running: bool = True) -> None:
        """Register VMs, numbered in their order, and start them."""
        for name in names:
            self.refs[name] = self.create_vm(name)
            run = self.run('register-vm', '--vm-name=' + name)
            assert run.status == 0, run.err
        for number, name in enumerate(self.refs, 1):
            wait_until(lambda: self.carried(name) == span(number), 'staged')
        for name in names if is_running else ():
            self.start_vm(self.refs[name])
            wait_until(lambda: self.verdict(name) == 'as_desired', 'verified')

    def change(self, name: str, *words: str) -> None:
        """Change a row and leave the VM running."""
        run = self.run('update-vm', '--vm-name=' + name, '--no-restart', *words)
        assert run.status == 0, run.err

    def renumber(self, numbers: Dict[str, int]) -> None:
        """Give rows other numbers, all at once."""
        path = os.path.join(self.directory, 'numbers.csv')
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write('vm_uuid,vm_id\n')
            for name, number in numbers.items():
                stream.write('%s,%d\n' % (self.uuid(self.refs[name]), number))
        run = self.run('import', path, '--yes')
        assert run.status == 0, run.err

    def carried(self, name: str) -> Any:
        """What the record of a VM carries."""
        return self.args(self.refs[name])

    def verdict(self, name: str) -> Any:
        """The verdict on the VM's last boot."""
        vm = self.run('show-vm', '--vm-name=' + name, '--json').document['vm']
        return vm['last_boot']['verdict'] if vm['last_boot'] else None

    def state(self, name: str) -> Any:
        """The state of a VM."""
        return self.run('show-vm', '--vm-name=' + name, '--json').document['vm']['state']

    def boots(self) -> List[Any]:
        """(VM, arguments) of each boot so far."""
        names = {ref: name for name, ref in self.refs.items()}
        return [(names[boot.ref], boot.args) for boot in self.xapi.boots]

    def is_running(self, *names: str) -> bool:
        """Whether all these run."""
        return all(self.power(self.refs[name]) == 'Running' for name in names)


@pytest.fixture
def pool(place: Place) -> Iterator[Pool]:
    place.registry.create('test')
    place.start_xapi()
    pool = Pool(place)
    yield pool
    place.xapi.faults.clear()
    pool.daemon.close()


def test_pending_vms_are_restarted_one_after_the_other(pool: Pool) -> None:
    pool.add('web', 'db', 'app')
    pool.add('off', is_running=False)
    for name in ('web', 'db', 'app', 'off'):
        pool.change(name, '--pool=B')
    before = len(pool.xapi.boots)
    run = pool.run('apply-pending', '--yes')
    assert run.status == 0, run.err
    # By name, and each was up again before the next one was stopped.
    assert pool.boots()[before:] == [('app', span(3, 'B')), ('db', span(2, 'B')),
                                     ('web', span(1, 'B'))]
    assert pool.is_running('web', 'db', 'app') and pool.power(pool.refs['off']) == 'Halted'
    assert '3 VMs of 3 restarted, and verified.' in run.out
    assert [pool.state(name) for name in ('web', 'db', 'app')] == ['as_desired'] * 3
    again = pool.run('apply-pending', '--yes')
    assert again.status == 0 and 'Nothing is pending' in again.out
    assert len(pool.xapi.boots) == before + 3
