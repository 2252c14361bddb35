"""watch as a program: plain lines, documents, and the view on a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
from typing import Any, List

import pytest

from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from tests.integration.cli.program import Place, wait_until
from tests.support import programs

UUID = '0a0b0c0d-1111-2222-3333-444455556666'
OTHER = '0a0b0c0d-1111-2222-3333-444455557777'


class Watched:
    """A `watch` that runs, and what it has printed so far."""

    def __init__(self, place: Place, *words: str, **options: Any) -> None:
        self.text = ''
        self.process = place.start('watch', *words, **options)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.text += line.decode('utf-8')

    def end(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        self._reader.join(20)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def wait(self, words: str) -> None:
        """Wait until it has printed something."""
        wait_until(lambda: words in self.text, words)


def _boot(place: Place, **fields: Any) -> int:
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        return journal.open_boot(Boot(0, UUID, 'web', 'start', None, 1, None, None, '')
                                 ._replace(**fields))


def _close(place: Place, number: int, verdict: str) -> None:
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.write_boot(number, journal.last_boot(UUID)._replace(
            verdict=verdict, closed_at='2099-01-01 00:00:00'))


@pytest.fixture
def filled(place: Place) -> Place:
    """A registry with one VM, and no XAPI."""
    place.registry.create('test')
    assert place.run('register-vm', '--vm-uuid=' + UUID).status == 0
    return place


def test_changes_and_boots_come_as_lines_and_ctrl_c_is_success(filled: Place) -> None:
    watched = Watched(filled)
    watched.wait('vm_added VM ' + UUID)
    assert filled.run('set-pool', '--vm-uuid=' + UUID, '--pool=B').status == 0
    watched.wait('pool A → B')
    number = _boot(filled)
    watched.wait('boot %d  start of web (%s) began' % (number, UUID))
    _close(filled, number, 'missing')
    watched.wait('boot %d  start of web (%s): missing' % (number, UUID))
    assert watched.end() == 0
    assert watched.text.count('vm_added VM') == 1 and '\x1b' not in watched.text


def test_what_was_seen_is_told_also_before_a_daemon_closes_it(filled: Place) -> None:
    seen = _boot(filled, verdict='stale', found='x')
    unasked = _boot(filled, kind='unknown', verdict='as_desired', found='y', quiet=True)
    watched = Watched(filled)
    watched.wait(f'boot {seen}  start of web ({UUID}): stale, found x')
    watched.wait(f'boot {unasked}  web ({UUID}) found running: had no row then, found y')
    assert watched.end() == 0


def test_with_json_each_thing_is_one_document_on_a_line(filled: Place) -> None:
    watched = Watched(filled, '--json')
    number = _boot(filled)
    wait_until(lambda: '"boot"' in watched.text, 'the boot')
    assert watched.end() == 0
    documents = [json.loads(line) for line in watched.text.splitlines()]
    assert all(document['format'] == 1 for document in documents)
    assert documents[-1]['boot']['boot'] == number
    assert documents[-1]['boot']['vm_uuid'] == UUID
    assert documents[-2]['change']['what'] == 'vm_added'


def test_hosts_are_called_by_their_names(filled: Place) -> None:
    filled.start_xapi()
    host = filled.xapi.call('host.get_all')[0]
    name = filled.xapi.call('host.get_name_label', host)
    number = _boot(filled, host=host)
    _close(filled, number, 'missing')
    watched = Watched(filled)
    watched.wait(f'start of web ({UUID}) on {name}: missing')
    assert watched.end() == 0
    watched = Watched(filled, '--json')
    watched.wait(f'"host_name": "{name}"')
    assert watched.end() == 0
    run = filled.run('status')
    assert f'start on {name}: missing' in run.out and host not in run.out
    boot, = filled.run('status', '--json').document['boots']
    assert (boot['host'], boot['host_name']) == (host, name)
    filled.xapi.stop()
    assert filled.run('status', '--json').document['boots'][0]['host_name'] is None


def test_one_vm_is_watched_without_the_others(filled: Place) -> None:
    watched = Watched(filled, 'uuid=' + UUID)
    watched.wait(UUID)
    assert filled.run('register-vm', '--vm-uuid=' + OTHER).status == 0
    assert filled.run('set-pool', '--vm-uuid=' + UUID, '--pool=B').status == 0
    watched.wait('pool A → B')
    assert watched.end() == 0 and OTHER not in watched.text


def test_a_reader_that_goes_away_ends_it_quietly(filled: Place) -> None:
    process = filled.start('watch')
    process.stdout.readline()
    process.stdout.close()
    assert filled.run('set-pool', '--vm-uuid=' + UUID, '--pool=B').status == 0
    assert process.wait(20) == 0
    assert process.stderr.read() == b''
    process.stderr.close()


def test_identifiers_only_are_refused(filled: Place) -> None:
    assert filled.run('watch', '--minimal').status == 2


def _read_terminal(place: Place, number: int, seen: List[str], **environment: str) -> int:
    """Run watch on a terminal until the words of a boot are drawn; the exit status."""
    ours, theirs = pty.openpty()
    process = programs.start('cli', place.command('watch')[3:], stdin=theirs, stdout=theirs,
                             stderr=subprocess.STDOUT, **place.surroundings(environment))
    os.close(theirs)
    try:
        while 'boot %d' % number not in ''.join(seen):
            seen.append(os.read(ours, 65536).decode('utf-8', 'replace'))
        process.send_signal(signal.SIGINT)
        return process.wait(20)
    finally:
        os.close(ours)


@pytest.mark.parametrize('no_color', [False, True], ids=['in-colours', 'no-color'])
def test_on_a_terminal_the_view_is_drawn_and_fits(filled: Place, no_color: bool) -> None:
    number = _boot(filled, vm_name='\x1b[31m\u6570\u636e')
    _close(filled, number, 'as_desired')
    environment = {'COLUMNS': '40', 'LINES': '10', 'TERM': 'xterm'}
    seen: List[str] = []
    if no_color:
        environment['NO_COLOR'] = '1'
    assert _read_terminal(filled, number, seen, **environment) == 0
    text = ''.join(seen)
    assert '\x1b[H\x1b[2J=' in text.replace('\x1b[1m', '') and 'no daemon is running' in text
    assert ('\x1b[32m' in text) is not no_color
    plain = re.sub('\x1b\\[[0-9;]*[mHJ]', '', text)
    assert '\x1b' not in plain
    assert max(len(line) for line in plain.replace('\r', '').split('\n')) <= 40
