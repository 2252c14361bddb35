"""The XAPI plugin as a program, called as XAPI calls it."""

import json
import os
import subprocess
import sys
import xmlrpc.client
from typing import Any, Dict, List, Tuple

import pytest

from simulator.hypervisor.host_files import HostFiles
from tests.integration.cli.program import Place
from tests.integration.pool.plugin import ROOT
from watcher.version import VERSION
from watcher.xapi.plugin_protocol import Call, parse_finding, render_call

UUID = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
SPAN = '-device vgpu-stub,pool_id=A,priority=medium,vm_id=1'
LOOK = {'domid': '7', 'vm_uuid': UUID, 'names': 'vgpu-stub'}


def find_pythons() -> List[str]:
    """This Python, and the oldest and the newest that pyenv has here."""
    found = [sys.executable]
    for version in ('3.6.15', '3.13.0'):
        path = os.path.expanduser('~/.pyenv/versions/%s/bin/python' % version)
        found += [path] if os.path.exists(path) else []
    return found


def run_plugin(place: Place, *words: str) -> Tuple[int, Dict[str, Any]]:
    """Run the plugin with these words: the exit status and the answer."""
    program = [sys.executable, '-c', 'import sys; from cli.plugin.__main__ import main; '
               'sys.exit(main(config_path=%r))' % place.config]
    done = subprocess.run(program + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **place.surroundings({}))
    return done.returncode, xmlrpc.client.loads(done.stdout.decode('utf-8'))[0][0]


def ask(place: Place, function: str, arguments: Dict[str, str]) -> Any:
    """Call a function: the value of a success, the description of a failure."""
    status, answer = run_plugin(place, render_call(Call(function, 'OpaqueRef:1', arguments)))
    assert status == 0
    return answer['Value'] if answer['Status'] == 'Success' else answer['ErrorDescription']


@pytest.fixture
def domain(place: Place) -> HostFiles:
    """A host with one domain, whose QEMU took our span."""
    host = HostFiles(place.host, 'boot-1')
    host.add_domain(7, UUID, {'device-model-args': SPAN})
    host.add_qemu(7, 700, ['qemu-dm-7', '-xen-domid', '7', '-device', 'VGA'] + SPAN.split(' '))
    return host


def test_look_tells_what_the_domain_runs_with(place: Place, domain: HostFiles) -> None:
    assert parse_finding(ask(place, 'look', LOOK)).found == SPAN


def test_look_tells_of_the_devices_of_this_hosts_configuration_only(
        place: Place, domain: HostFiles) -> None:
    finding = parse_finding(ask(place, 'look', dict(LOOK, names='VGA vgpu-cuda')))
    assert finding.is_readable and finding.found == SPAN
    with open(place.config, 'a', encoding='utf-8') as stream:
        stream.write('[device]\ntemplate = -device vgpu-other,vm_id={vm_id}\nnames = vgpu-cuda\n')
    finding = parse_finding(ask(place, 'look', LOOK))
    assert finding.is_readable and finding.found is None


def test_domain_of_another_vm_is_not_taken_for_the_one_that_was_meant(
        place: Place, domain: HostFiles) -> None:
    finding = parse_finding(ask(place, 'look', dict(LOOK, vm_uuid=UUID.replace('2', '3'))))
    assert (finding.is_readable, finding.found) == (False, None)
    assert 'not a domain of this VM' in finding.problem


def test_host_that_cannot_look_says_so(place: Place) -> None:
    finding = parse_finding(ask(place, 'look', LOOK))
    assert not finding.is_readable and finding.problem


@pytest.mark.parametrize('arguments', [
    {}, dict(LOOK, domid='7; id'), dict(LOOK, vm_uuid='../' + UUID), dict(LOOK, names='$(id)')])
def test_odd_arguments_are_refused_in_xapis_way(place: Place, arguments: Dict[str, str]) -> None:
    assert ask(place, 'look', arguments)[:3] == ['XENAPI_PLUGIN_FAILURE', 'look', 'CallInvalid']


def test_version_says_what_the_plugin_can_do(place: Place) -> None:
    document = json.loads(ask(place, 'version', {}))
    assert (document['format'], document['version']) == (1, VERSION)
    assert 'look' in document['functions']


@pytest.mark.parametrize('session', ['OpaqueRef:1', 'OpaqueRef:' + 'f\u00fcr' * 20000])
def test_nobody_reads_the_session_in_the_arguments(place: Place, session: str) -> None:
    """As deploy/xapi-plugin does it, on this Python, the oldest and the newest that are here."""
    program = ('import sys; sys.path.insert(0, %r); from cli.commandline.argv import take_arguments; '
               'words = take_arguments(); '
               'print(open("/proc/self/cmdline", "rb").read(), flush=True); '
               'sys.stdout.buffer.write(__import__("os").fsencode(words[0]))' % ROOT)
    call = render_call(Call('look', session, LOOK))
    for python in find_pythons():
        done = subprocess.run([python, '-EsB', '-c', program, call], stdout=subprocess.PIPE,
                              check=True, env={'LC_ALL': 'C'})
        shown, told = done.stdout.split(b'\n', 1)
        assert b'OpaqueRef' not in shown and b'take_arguments' in shown, python
        assert told.decode('utf-8') == call, python


def test_call_is_understood_without_a_locale(place: Place) -> None:
    program = [sys.executable, '-c', 'import sys; from cli.plugin.__main__ import main; '
               'sys.exit(main(config_path=%r))' % place.config]
    call = render_call(Call('f\u00fcr', 'OpaqueRef:1', {'user': 'J\u00f6rg'}))
    surroundings = place.surroundings({'LC_ALL': 'C', 'PYTHONIOENCODING': ''})
    done = subprocess.run(program + [call.encode('utf-8')], stdout=subprocess.PIPE,
                          **surroundings)
    answer = xmlrpc.client.loads(done.stdout.decode('utf-8'))[0][0]
    assert answer['ErrorDescription'] == ['UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'f\u00fcr']


def test_unknown_function_is_answered_as_xapis_own_plugins_do(place: Place) -> None:
    assert ask(place, 'rm', {}) == ['UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'rm']


@pytest.mark.parametrize('words', [[], ['one', 'two'], ['rubbish'], ['<a>']])
def test_whatever_it_is_called_with_the_answer_is_one_that_xapi_understands(
        place: Place, words: List[str]) -> None:
    status, answer = run_plugin(place, *words)
    assert status == 0 and answer['Status'] == 'Failure'
    assert answer['ErrorDescription'][0] == 'XENAPI_PLUGIN_FAILURE'


def test_configuration_that_does_not_pass_is_told(place: Place) -> None:
    with open(place.config, 'a', encoding='utf-8') as stream:
        stream.write('[nonsense]\n')
    assert ask(place, 'look', LOOK)[2] == 'ConfigError'
    assert os.path.exists(place.config)
