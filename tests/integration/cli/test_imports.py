"""What a command imports: no more than it needs, since in dom0 each import takes processor time."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from typing import Any, List, Set

import pytest

from cli.commandline import tab_completion
from registry.quick_read import list_names
from tests.integration.cli.program import Place, span
from tests.support.documents import ROOT
from watcher.config import settings
from watcher.consumer.run_directory import RunDirectory

# Each took milliseconds, and nothing that a command here says depends on it.
NEVER = {'XenAPI', 'xmlrpc', 'http', 'email', 'ssl', 'structlog', 'apscheduler', 'urllib',
         'logging', 'subprocess', 'tempfile', 'asyncio', 'difflib', 'ipaddress', 'concurrent',
         'hashlib', 'registry.commit', 'registry.edit', 'registry.kept_copies',
         'cli.output.repair_hints', 'cli.queries.arrivals',
         'watcher.mirror.entries', 'watcher.xapi.event_stream', 'watcher.daemon'}
# That of Python 3.8 is brought by its argparse, whatever we do.
if sys.version_info[:2] != (3, 8):
    NEVER.add('shutil')
# The registry's file alone is asked: nothing that XAPI is spoken with.
NEVER_FROM_THE_FILE = NEVER | {'socket', 'watcher.xapi.client', 'watcher.vm.record',
                               'watcher.vm.plan'}
# Where somebody waits with a finger on TAB.
NEVER_FOR_WORDS = NEVER_FROM_THE_FILE | {'watcher', 'json', 'configparser', 'registry.store'}
NEVER_FOR_TAB = NEVER_FOR_WORDS | {'typing', 're', 'enum', 'registry.sqlite.connection',
                                   'cli.commandline.commands', 'cli.output.printer', 'shutil'}
CODE = '''
import sys
before = set(sys.modules)
from cli.__main__ import main
status = main(%r)
imported = sorted(set(sys.modules) - before)
import json
sys.stderr.write('\\n' + json.dumps([status, imported]))
'''


def run(words: List[str], line: str = '') -> Any:
    """Run a command in a process of its own: (exit status, its output, what it imported)."""
    ended = subprocess.run(
        [sys.executable, '-c', CODE % words], cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, VGPU_ADMIN_LINE=line))
    said = ended.stderr.decode('utf-8').splitlines()
    status, imported = json.loads(said[-1])
    return status, ended.stdout.decode('utf-8').splitlines(), set(imported)


def find_heavy(imported: Set[str], never: Set[str]) -> Set[str]:
    """What was imported and should not have been, be it a module or all of a package."""
    return {name for name in imported if name in never or name.split('.')[0] in never}


def register(place: Place, name: str) -> str:
    """A VM with a row, as it should be; its UUID."""
    vm_uuid = place.uuid(place.create_vm(name, args=span(1)))
    with place.registry.edit(who='the test', command='register-vm') as edit:
        edit.add_vm(vm_uuid, vm_name=name)
    return vm_uuid


def test_show_vm_with_an_xapi_imports_no_xml_and_nothing_that_writes(pool: Place) -> None:
    vm_uuid = register(pool, 'web')
    status, lines, imported = run(['--config', pool.config, 'show-vm', '--vm-uuid', vm_uuid])
    assert status == 0 and any('as_desired' in line for line in lines)
    assert 'watcher.xapi.client' in imported
    assert find_heavy(imported, NEVER) == set()


@pytest.mark.parametrize('words', [
    pytest.param(['show-vm', '--vm-uuid', '{uuid}'], id='show-vm-without-an-xapi'),
    pytest.param(['list-vms'], id='list-vms'), pytest.param(['list-pools'], id='list-pools')])
def test_what_the_registry_alone_can_answer_imports_no_xapi(pool: Place, words: Any) -> None:
    vm_uuid = register(pool, 'web')
    pool.close()
    status, lines, imported = run(['--config', pool.config]
                                  + [word.format(uuid=vm_uuid) for word in words])
    assert status == 0 and lines
    assert find_heavy(imported, NEVER_FROM_THE_FILE) == set()


@pytest.mark.parametrize('flag', ['--vm-uuid', '--vm-name'])
@pytest.mark.parametrize('end', ['=', ' '])
def test_completion_of_a_vm_imports_sqlite_and_nothing_else(pool: Place, flag: str,
                                                            end: str) -> None:
    vm_uuid = register(pool, 'web')
    status, lines, imported = run(['complete', '--config', pool.config],
                                  'vgpu-admin show-vm ' + flag + end)
    assert (status, lines) == (0, [vm_uuid if flag == '--vm-uuid' else 'web'])
    assert find_heavy(imported, NEVER_FOR_TAB) == set()


def test_completion_of_other_words_imports_no_watcher(place: Place) -> None:
    status, lines, imported = run(['complete'], 'vgpu-admin show-vm ')
    assert status == 0 and '--vm-uuid=' in lines
    assert find_heavy(imported, NEVER_FOR_WORDS | {'argparse', 'cli.output.printer', 'cli.context'}
                      ) == set()


def test_completion_with_json_takes_the_whole_program(pool: Place) -> None:
    vm_uuid = register(pool, 'web')
    status, lines, _imported = run(['--json', 'complete', '--config', pool.config],
                                   'vgpu-admin show-vm --vm-uuid=')
    assert status == 0 and json.loads('\n'.join(lines))['words'] == [vm_uuid]


# What TAB goes by is what the configuration says, and what the file holds.

def test_paths_of_the_completion_are_those_of_the_configuration() -> None:
    assert tab_completion.CONFIG_PATH == settings.DEFAULT_PATH
    assert tab_completion.REGISTRY_PATH == settings.Settings().registry.path
    assert tab_completion.find_run_directory('') == settings.Settings().run_directory


@pytest.mark.parametrize('text', [
    '[host]\nproc = /a/proc/\n', '[consumer]\nrun_directory = /a/b c\n[host]\nproc = /x/proc\n',
    settings.render(settings.Settings())])
def test_run_directory_is_found_where_the_configuration_says(tmp_path: Any, text: str) -> None:
    path = tmp_path / 'watcher.conf'
    path.write_text(text)
    assert tab_completion.find_run_directory(text) == settings.load(str(path)).run_directory


@pytest.mark.parametrize('text', [
    '[registry]\npath = /a/b c.db\n', '[registry]\npath=/a=b.db\n',
    '# [registry]\n[xapi]\nusername = path\n\n[registry]\n; path = /no\npath =  /a.db  \n[log]\n',
    '[log]\nlevel = info\n', '', settings.render(settings.Settings())])
def test_registry_is_found_where_the_configuration_says(tmp_path: Any, text: str) -> None:
    path = tmp_path / 'watcher.conf'
    path.write_text(text)
    assert tab_completion.find_registry_path(text) == settings.load(str(path)).registry.path


@pytest.mark.parametrize('content', [b'\xff\xfe', None])
def test_configuration_that_cannot_be_read_offers_nothing(tmp_path: Any, content: Any) -> None:
    path = tmp_path / 'odd'
    if content is not None:
        path.write_bytes(content)
    db = str(tmp_path / 'missing.db')
    assert tab_completion.list_values('--vm-uuid', 'vgpu-admin show-vm uuid=', db, str(path)) == []


@pytest.mark.parametrize('command, is_offered', [
    ('register-vm', True), ('show-vm', True), ('set-pool', False), ('remove-vm', False)])
def test_names_that_the_daemon_keeps_are_offered(pool: Place, command: str,
                                                 is_offered: bool) -> None:
    """D2: also those of VMs without a row, where that makes sense; hostile ones never."""
    register(pool, 'web')
    directory = settings.load(pool.config).run_directory
    RunDirectory(directory).write_names('new_1\nweb\nrm -rf\n$(id)\n-x\n\x1b[0m\n'.encode())
    status, lines, imported = run(['complete', '--config', pool.config],
                                  f'vgpu-admin {command} --vm-name=')
    assert (status, lines) == (0, ['new_1', 'web'] if is_offered else ['web'])
    assert find_heavy(imported, NEVER_FOR_TAB) == set()


def test_rows_that_name_no_vm_are_not_offered(pool: Place) -> None:
    vm_uuid = register(pool, 'Web-1.x')
    with contextlib.closing(sqlite3.connect(pool.db)) as connection, connection:
        for number, odd in enumerate(('no uuid', '\x1b' * 36, '-' * 35), 900):
            connection.execute(
                "INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (?, ?, 'a b')", (number, odd))
        connection.execute('UPDATE vms SET vm_uuid = upper(vm_uuid)')
    assert list_names(pool.db) == [(vm_uuid, 'Web-1.x')]


@pytest.mark.parametrize('content', [b'', b'x' * 100, b'x' * 4096])
def test_what_is_no_registry_offers_nothing(tmp_path: Any, content: bytes) -> None:
    path = tmp_path / 'a?b#c%d.db'
    path.write_bytes(content)
    assert list_names(str(path)) == [] == list_names(str(tmp_path / 'missing'))
    assert path.read_bytes() == content and os.listdir(str(tmp_path)) == [path.name]
