"""Every command and option, good and bad: exit status, the two streams, registry, XAPI, JSON.

The first test walks the grammar, so that no option can be added without a case.
"""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import time
from typing import Any, Iterator, List

import pytest

from cli.commandline.commands import COMMANDS
from cli.commandline.options import EVERYWHERE
from cli.commands.help import list_examples
from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from registry.values import Priority, Vm
from tests.integration.cli.cases import (BAD_VALUES, DOCUMENTS, GOOD, HAND, REFUSED, RUN, WEB, Case,
                                         Refusal)
from tests.integration.cli.mirror import mirror
from tests.integration.cli.program import Place, Run
from tests.support import programs
from tests.support.documents import ROOT

CASES = [case for cases in GOOD.values() for case in cases]


class Pool:
    """What the table speaks of."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.xapi = place.start_xapi()
        create = place.create_vm
        self.refs = {'web': create('web', WEB), 'run': create('run', RUN), 'new': create('new'),
                     'hand': create('hand', HAND), 'bare': create('bare')}
        self.refs['templ'] = create('templ', is_a_template=True)
        place.registry.create('test')
        with place.registry.edit(who='test', command='test') as edit:
            edit.add_vm(self.uuid(self.refs['web']), vm_id=1, vm_name='web')
            edit.add_vm(self.uuid(self.refs['run']), vm_id=2, vm_name='run', pool_id='B',
                        priority=Priority.HIGH)
        # The mirror knows one VM more than the registry.
        mirror(place, *place.registry.read().vms,
               Vm(9, self.uuid(self.refs['new']), None, 'A', Priority.LOW))
        place.start_vm(self.refs['run'])
        place.start_vm(self.refs['bare'])
        self.boots = len(self.xapi.boots)
        with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
            journal.open_boot(Boot(0, self.uuid(self.refs['run']), 'run', 'start', None, 1, RUN,
                                   RUN, '')._replace(found=RUN, verdict='as_desired',
                                                     closed_at='2026-11-28 00:00:00'))
        self._write_files()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    def path(self, name: str) -> str:
        """Where a file of the case lies."""
        return os.path.join(self.place.directory, name)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return os.path.exists(self.path(name))

    def row(self, name: str, **fields: Any) -> bool:
        """Whether the row of a VM says this."""
        heads = ('vm_id', 'vm_uuid', 'vm_name', 'pool_id', 'priority')
        rows = [dict(zip(heads, row)) for row in self.place.rows()
                if row[1] == self.uuid(self.refs[name])]
        return bool(rows) and all(rows[0][key] == value for key, value in fields.items())

    def pool_row(self, pool_id: str) -> Any:
        """The row of a vGPU pool."""
        return self._select('SELECT pool_id, pool_name, description, enabled FROM pools '
                            "WHERE pool_id = '%s'" % pool_id)[0]

    def version(self, name: str) -> int:
        """The version of the schema of another registry."""
        return self._select('PRAGMA user_version', self.path(name))[0][0]

    def words(self, text: str) -> List[str]:
        """The words of a case."""
        return shlex.split(self.fill(text))

    def fill(self, text: str) -> str:
        """Put UUIDs, the directory and the time into a text."""
        for name, ref in self.refs.items():
            text = text.replace('{%s}' % name, self.uuid(ref))
        text = text.replace('{now}', time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()))
        return text.replace('{dir}', self.place.directory)

    def state(self) -> Any:
        """All that a command could have changed."""
        records = {name: self.xapi.vm(ref) for name, ref in self.refs.items()}
        return (self.place.rows(), self._select('SELECT * FROM pools'), len(self.xapi.boots),
                {name: (record['platform'], record['power_state'], record['blocked_operations'])
                 for name, record in records.items()}, self.version('foreign.db'),
                self.exists('out.csv'), self.exists('out.json'))

    def _select(self, sql: str, path: str = '') -> List[Any]:
        connection = sqlite3.connect(path or self.place.db)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def _write_files(self) -> None:
        os.mkdir(self.path('dom0'))
        shutil.copy(os.path.join(ROOT, 'tests/fixtures/registry-later-form.db'),
                    self.path('foreign.db'))
        web = self.uuid(self.refs['web'])
        for name, text in (
                ('list.txt', '# one a line\nnew\n'), ('bad.txt', 'new\nnobody\n'),
                ('in.csv', 'vm_uuid\n%s\n' % self.uuid(self.refs['new'])),
                ('bad.csv', 'vm_uuid,priority\n%s,urgent\n' % web),
                ('less.json', json.dumps({'format': 1, 'pools': [], 'vms': [
                    {'vm_uuid': web, 'vm_name': 'web', 'vm_id': 1, 'pool_id': 'A',
                     'priority': 'medium'}]}))):
            with open(self.path(name), 'w', encoding='utf-8') as stream:
                stream.write(text)


@pytest.fixture
def table(place: Place) -> Iterator[Pool]:
    """The VMs, the registry and the files that the table knows."""
    yield Pool(place)


def _run(table: Pool, words: List[str]) -> Run:
    if words[0] != 'watch' or '--help' in words:
        return table.run(*words)
    # It ends when somebody presses Ctrl-C, which is its regular end.
    process = table.start(*words)
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Run(process.returncode, (line + out).decode('utf-8'), err.decode('utf-8'))


def test_no_command_and_no_option_is_without_a_case() -> None:
    assert sorted(GOOD) == sorted(command.name for command in COMMANDS) == sorted(DOCUMENTS)
    uncovered = [
        (command.name, option.flag) for command in COMMANDS for option in command.options
        if not any(_uses(case.words, command, option) for case in GOOD[command.name])]
    assert uncovered == []
    valued = {option.name for command in COMMANDS for option in command.options + EVERYWHERE
              if option.placeholder}
    # A description may be anything; that it needs to be there is tried as well.
    assert valued - set(BAD_VALUES) == {'description'}


def _uses(words: str, command: Any, option: Any) -> bool:
    spelled = shlex.split(words)[1:]
    return (option.flag in [word.partition('=')[0] for word in spelled]
            or command.operand is option and any(not word.startswith('-') for word in spelled))


@pytest.mark.parametrize('case', CASES, ids=[case.words for case in CASES])
def test_what_goes_well(table: Pool, case: Case) -> None:
    before = table.state()
    run = _run(table, table.words(case.words))
    assert (run.status, run.err.count('Traceback')) == (case.status, 0), (run.out, run.err)
    assert table.fill(case.shows) in run.out and run.out.endswith('\n'), run.out
    assert 'vgpu-admin: ' not in run.out
    if case.after is None:
        assert table.state() == before
    else:
        assert case.after(table), (run.out, run.err, table.state())


@pytest.mark.parametrize('command', COMMANDS, ids=[command.name for command in COMMANDS])
def test_the_options_that_every_command_has(table: Pool, command: Any, monkeypatch: Any) -> None:
    words = table.words(GOOD[command.name][0].words)
    status = GOOD[command.name][0].status
    helped = table.run(*words, '--help')
    assert helped.status == 0 and helped.err == ''
    assert command.name == 'help' or helped.out.rstrip().endswith(
        list_examples(command)[-1])
    with open(table.path('other.conf'), 'w', encoding='utf-8') as stream:
        stream.write('[xapi]\nurl = unix:%s\n[consumer]\nrun_directory = %s\n'
                     % (table.socket, table.path('run')))
    shutil.copy(table.db, table.path('copy.db'))
    run = table.run(*words, '--minimal', '--db=' + table.path('copy.db')) \
        if command.name != 'watch' else Run(0, '\n', '')
    assert run.status == status and run.out.count('\n') == 1, (run.out, run.err)
    # Once with an interpreter of its own, which knows only what this command imports.
    monkeypatch.setenv(programs.SWITCH, '1')
    document = _run(table, words + ['--json']).out
    parsed = json.loads(document.splitlines()[0] if command.name == 'watch' else document)
    assert parsed['format'] == 1
    assert set(DOCUMENTS[command.name].split()) <= set(parsed), sorted(parsed)


@pytest.mark.parametrize('command', COMMANDS, ids=[command.name for command in COMMANDS])
def test_a_bad_value_of_each_option_is_refused(table: Pool, command: Any) -> None:
    """Standard output stays empty, nothing changes, and the option is named."""
    before = table.state()
    base = table.words(GOOD[command.name][0].words)
    for option in command.options + EVERYWHERE:
        if option.name == 'help' and command.name == 'help':
            continue
        if option in EVERYWHERE and command.name == 'complete':
            continue  # words are completed without a look at them
        for words in _spoil(table, command, base, option):
            run = table.run(*words)
            assert (run.status, run.out) == (2, ''), (words, run)
            assert run.err.startswith('vgpu-admin: ') and 'Traceback' not in run.err, run.err
            # The operand is mostly a bare word: it is named by its command.
            named = (option.flag, f'{command.name}: ' if option == command.operand else option.flag)
            assert any(name in run.err for name in named) or option.name == 'config', (
                words, run.err)
    error = table.run(*base, '--json', '--nonsense').error
    assert error['kind'] == 'usage' and '--nonsense' in error['message']
    assert table.state() == before


def _spoil(table: Pool, command: Any, base: List[str], option: Any) -> Iterator[List[str]]:
    """Command lines with one option that is wrong: a value too many, a bad one, none."""
    kept = [word for word in base[1:] if word.partition('=')[0] != option.flag]
    if option is command.operand:
        kept = [word for word in kept if word.startswith('-')]
    if option.placeholder is None:
        yield base[:1] + kept + [option.flag + '=1']
        return
    yield base[:1] + kept + [option.flag]
    if option.name in BAD_VALUES:
        value = table.fill(BAD_VALUES[option.name])
        yield base[:1] + kept + ['%s=%s' % (option.flag, value)]


@pytest.mark.parametrize('case', REFUSED, ids=[case.words for case in REFUSED])
def test_what_cannot_be_done(table: Pool, case: Refusal) -> None:
    if 'twin' in case.words:
        table.create_vm('twin')
        table.create_vm('twin')
    before = table.state()
    words = table.words(case.words)
    run = table.run(*words)
    assert (run.status, run.out) == (case.status, ''), (run.out, run.err)
    assert 'Traceback' not in run.err and table.fill(case.says) in run.err, run.err
    # A question that nobody answers is shown before.
    assert '--json' in words or 'vgpu-admin: ' in run.err
    if '--minimal' not in words:
        run = table.run(*words, '--json')
        assert (run.status, run.out) == (case.status, '')
        document = json.loads(run.err)
        assert document['format'] == 1 and set(document['error']) >= {'kind', 'message'}
    assert table.state() == before
