"""Broken systems, mended as an administrator would who has only what the terminal says.

The transcripts stand in docs/troubleshooting.md, in console blocks marked `played NAME`. For each
the system is broken in that way first; then the commands are run and compared with what the
document shows, where `…` is any text. At the end every VM has its assignment and its arguments
again.
"""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from registry.schema import MIRROR_NOTE
from tests.integration.cli.program import wait_until
from tests.meta.test_docs_commands import Dom0, matches
from tests.support import programs
from tests.support.documents import read

DOCUMENT = 'docs/troubleshooting.md'
VMS = {'db01': '7d1c3b52-6a90-4f3e-8e21-0c9a4b5d6e7f', 'web01':
       '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c', 'web02': '5a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d',
       'web03': '6b2c3d4e-5f60-4b7c-9d8e-0f1a2b3c4d5e'}
KEY = 'device-model-args'


class Place(Dom0):
    """A dom0 with a daemon and four VMs that are registered, staged and mirrored."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.etc = directory + '/etc/vgpu'
        self.db = self.etc + '/vgpu_config.db'
        self.simulator = self._simulator
        for name in ('web02', 'web03'):
            self.simulator.create_vm(name, VMS[name])
        self.daemon: Any = None
        self.start()
        assert self.run('vgpu-admin init')[0] == 0
        for name in sorted(VMS):
            status, said = self.run('vgpu-admin register-vm --vm-name=%s' % name)
            assert status == 0, said
        self.wait_whole()

    def start(self) -> None:
        self.daemon = programs.start(
            'watcher', ['run', '--config', self.etc + '/vgpu-watcher.conf'],
            stderr=subprocess.DEVNULL, **programs.surroundings({}))

    def stop(self) -> None:
        self.daemon.terminate()
        self.daemon.wait()

    def close(self) -> None:
        self.stop()
        super().close()

    def play(self, command: str) -> Tuple[int, str]:
        """Run a command of the document, on the files here."""
        return self.run(command.replace('/etc/vgpu/', self.etc + '/'))

    def state(self) -> Any:
        _status, said = self.run('vgpu-admin status --json')
        try:
            document = json.loads(said)
            return (document['mirror'] or {}).get('state'), document
        except (KeyError, ValueError):
            return None, {}

    def wait_whole(self) -> None:
        wait_until(lambda: self.state()[0] == 'mirrored'
                   and not self.state()[1]['mirror']['edits_waiting'], 'a whole mirror')

    def forget_state(self) -> None:
        """The daemon that is gone noted how far the mirror was: the next shall say so itself."""
        execute(self.etc + '/vgpu_journal.db', f"DELETE FROM notes WHERE key = '{MIRROR_NOTE}'")

    def carried(self) -> Dict[str, Any]:
        return {name: self.simulator.vm(self.simulator.find(uuid))['platform'].get(KEY)
                for name, uuid in VMS.items()}

    def rows(self) -> List[Any]:
        connection = sqlite3.connect(self.db)
        try:
            return sorted(connection.execute('SELECT vm_uuid, vm_id, pool_id, priority FROM vms'))
        finally:
            connection.close()

    def slots(self) -> Dict[str, Dict[str, str]]:
        """What the mirror has written, by the kind and ref of the record."""
        pool = self.simulator.call('pool.get_all')[0]
        found = {pool: self.simulator.call('pool.get_other_config', pool)}
        for uuid in VMS.values():
            ref = self.simulator.find(uuid)
            found[ref] = self.simulator.call('VM.get_other_config', ref)
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory, \
            contextlib.closing(Place(directory)) as place:
        yield place


def execute(path: str, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


def damage(path: str) -> None:
    with open(path, 'r+b') as stream:
        stream.write(b'x' * 4096)


def put_an_old_mirror_back(place: Place) -> None:
    """As a restore of the pool's database does."""
    old = place.slots()
    assert place.run('vgpu-admin set-pool --vm-name=web01 --pool=B')[0] == 0
    place.wait_whole()
    place.stop()
    for ref, slots in old.items():
        kind = 'pool' if ref == place.simulator.call('pool.get_all')[0] else 'VM'
        place.simulator.call(kind + '.set_other_config', ref, slots)
    place.forget_state()
    place.start()
    place.wait_whole()


def put_an_old_host_back(place: Place) -> None:
    """Registry and journal of yesterday, as a restored disk has them."""
    place.stop()
    kept = tempfile.mkdtemp(dir=place.directory)
    for name in ('vgpu_config.db', 'vgpu_journal.db'):
        shutil.copy(place.etc + '/' + name, kept)
    place.start()
    assert place.run('vgpu-admin set-pool --vm-name=web01 --pool=B')[0] == 0
    place.wait_whole()
    place.stop()
    for name in ('vgpu_config.db', 'vgpu_journal.db'):
        shutil.copy(kept + '/' + name, place.etc)
    place.forget_state()
    place.start()
    place.wait_whole()


def hold_the_lock(place: Place) -> Callable[[], None]:
    holder = sqlite3.connect(place.db, isolation_level=None, check_same_thread=False)
    holder.execute('BEGIN EXCLUSIVE')
    return holder.close


def fill_the_disk(place: Place) -> Callable[[], None]:
    """No file may grow any more, for the commands and for the daemon."""
    run = place.run
    place.run = lambda command: run('ulimit -f 0; ' + command)  # type: ignore
    return lambda: setattr(place, 'run', run)


BREAKING = {
    'file-deleted': lambda place: os.unlink(place.db),
    'file-emptied': lambda place: os.truncate(place.db, 0),
    'file-damaged': lambda place: damage(place.db),
    'journal-damaged': lambda place: damage(place.etc + '/vgpu_journal.db'),
    'rows-lost': lambda place: execute(place.db, 'DELETE FROM vms'),
    'mirror-older': put_an_old_mirror_back,
    'mirror-newer': put_an_old_host_back,
    'lock-held': hold_the_lock,
    'disk-full': fill_the_disk,
}  # type: Dict[str, Callable[[Place], Any]]
TRANSCRIPTS = dict(re.findall(r'^```console played (\S+)\n(.*?)^```$', read(DOCUMENT),
                              re.MULTILINE | re.DOTALL))
# What somebody outside ends, between the first command and the second.
ENDING = ('lock-held', 'disk-full')


def test_each_broken_system_has_its_transcript() -> None:
    assert set(TRANSCRIPTS) == set(BREAKING)


@pytest.mark.parametrize('name', sorted(BREAKING))
def test_the_document_leads_to_the_cure(place: Place, name: str) -> None:
    rows, carried = place.rows(), place.carried()
    mend = BREAKING[name](place)
    if name.startswith('mirror'):
        rows = [row[:2] + ('B',) + row[3:] if row[0] == VMS['web01'] else row for row in rows]
        carried['web01'] = carried['web01'].replace('pool_id=A', 'pool_id=B')
    steps = re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', TRANSCRIPTS[name], re.MULTILINE)
    assert steps
    for number, (command, expected) in enumerate(steps):
        _status, printed = place.play(command)
        assert matches(expected, printed), '$ %s\n%s' % (command, printed)
        if not number and name in ENDING:
            mend()
    assert place.rows() == rows
    place.wait_whole()
    assert place.carried() == carried
