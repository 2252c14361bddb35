"""The installed programs against the simulator, with Pythons that have only their own library."""

import contextlib
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import xmlrpc.client

import pytest

from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from tests.integration.second_xapi.serving import Served
from tests.integration.second_xapi.xapi import Manner, Xapi
from tests.packaging.package.host import CONFIGURATION, REGISTRY, Host, build_python, run
from tests.support.waiting import wait_until
from watcher.xapi.plugin_protocol import Call, render_call

WANTED = ('3.6', '3.11', '3.12', '3.13')
SPAN = '-device vgpu-stub,pool_id=B,priority=high,vm_id=1'


def find_interpreters():
    """The Python that runs the tests, and those of dom0 that are on this machine."""
    found = {'%d.%d' % sys.version_info[:2]: sys.executable}
    for version in WANTED:
        pattern = '~/.pyenv/versions/%s.*/bin/python3' % version
        places = sorted(glob.glob(os.path.expanduser(pattern)))
        if places:
            found.setdefault(version, places[-1])
    return sorted(found.items())


@pytest.fixture(scope='module', params=find_interpreters(), ids=lambda item: item[0])
def installed(request, rpm_file):
    """A host with the RPM and one of the Pythons, and a pool with one halted VM."""
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        python = build_python(directory + '/python', request.param[1])
        host = Host(directory + '/root', python)
        assert host.install(rpm_file) == (0, '')
        simulator = Simulator(SimulatorSettings(socket_path=directory + '/xapi'))
        simulator.start()
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(simulator.stop)
            config = host.write('/etc/test.conf', (
                '[xapi]\nurl = unix:%s/xapi\n[registry]\npath = %s\n[host]\nxenstore_read =\n'
                '[consumer]\nrun_directory = %s/run\n'
                % (directory, host.path + REGISTRY, directory)))
            yield host, simulator, config


def test_this_python_has_none_of_the_packages_itself(installed):
    host, _simulator, _config = installed
    for name in ('structlog', 'apscheduler', 'XenAPI'):
        done = run([host.python, '-EsB', '-c', 'import ' + name], cwd='/')
        assert done.status == 1 and 'ModuleNotFoundError' in done.said


def test_installed_service_stages_what_the_installed_command_line_registers(installed):
    host, simulator, config = installed
    ref = simulator.create_vm('web', '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c')
    log = open(host.path + '/log', 'wb')
    daemon = subprocess.Popen(host.command('vgpu-watcher', 'run', '--config', config), stderr=log,
                              cwd='/')
    with log, contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(daemon.kill)
        # From here on it takes signals, and holds the lock: the commands leave staging to it.
        wait_until(lambda: 'service.started' in host.read('/log'))
        for words in (['init'],
                      ['register-vm', '--vm-name=web', '--pool=B', '--priority=high']):
            done = host.launch('vgpu-admin', '--config', config, *words)
            assert done.status == 0, done.said
        wait_until(lambda: simulator.vm(ref)['platform'].get('device-model-args') == SPAN)
        simulator.call('VM.start', ref, False, False)
        done = host.launch('vgpu-admin', 'list-vms', '--json', '--config', config)
        assert done.status == 0 and '"priority": "high"' in done.said
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0, host.read('/log')
    assert [boot.args for boot in simulator.boots] == [SPAN]


def list_byte_code(host):
    return {path: os.stat(host.path + path).st_mtime_ns
            for path in host.files() if path.endswith('.pyc')}


def test_running_leaves_no_byte_code_and_no_changed_file(installed):
    """But for what the installation has compiled: each of our modules, and nothing else."""
    host, _simulator, config = installed
    before = list_byte_code(host)
    modules = {path for path in host.files() if path.startswith('/opt/vgpu-watcher/lib/')
               and path.endswith('.py')}
    assert {re.sub(r'__pycache__/(\w+)\.cpython-\d+\.pyc', r'\1.py', path)
            for path in before} == modules
    for words in (['vgpu-watcher', 'check-config', '--config', config],
                  ['vgpu-watcher', 'clear-fences', '--config', config],
                  ['vgpu-admin', 'help'], ['vgpu-admin', 'completion']):
        done = host.launch(*words)
        assert done.status == 0, done.said
    assert list_byte_code(host) == before
    assert host.rpm('-V', 'vgpu-watcher') == (0, '')


def test_launchers_name_the_python_of_dom0_and_import_nothing_beside_themselves(installed):
    host, _simulator, _config = installed
    assert host.read('/usr/bin/vgpu-admin').startswith('#!/usr/bin/python3 -EsB\n')
    host.write('/usr/bin/argparse.py', 'raise SystemExit("imported what is none of ours")\n')
    done = host.launch('vgpu-watcher', '--version')
    os.unlink(host.path + '/usr/bin/argparse.py')
    assert done.status == 0 and re.match(r'vgpu-watcher [0-9.]+\n\Z', done.said)


@pytest.mark.parametrize('function, arguments, answer', [
    ('version', {}, '"version": "'),
    # Here is no XAPI that could say who calls: it was asked, with all that this takes.
    ('admin', {'words': '["list-vms"]'}, 'XapiUnreachable')])
def test_installed_plugin_answers_in_xapis_way(installed, function, arguments, answer):
    host, _simulator, _config = installed
    plugin = host.path + '/etc/xapi.d/plugins/vgpu-watcher'
    assert host.read('/etc/xapi.d/plugins/vgpu-watcher').startswith('#!/usr/bin/python3 -EsB\n')
    call = render_call(Call(function, 'OpaqueRef:1', arguments))
    done = run([host.python, '-EsB', plugin, call], cwd='/')
    assert done.status == 0 and answer in str(xmlrpc.client.loads(done.said)[0][0]), done.said


def test_xenapi_of_dom0_is_used_where_it_is_there(host, rpm_file):
    assert host.rpm('-i', rpm_file).status == 0
    packages = run([host.python, '-c', 'import site; print(site.getsitepackages()[0])']).said
    # It is needed where XAPI does not speak JSON-RPC.
    with tempfile.TemporaryDirectory(prefix='vgpu') as directory:
        served = Served(Xapi(Manner(speaks=('xml',))), directory + '/xapi').start()
        config = host.write('/etc/test.conf', '[xapi]\nurl = unix:%s/xapi\n' % directory)
        words = ('vgpu-watcher', 'clear-fences', '--config', config)
        try:
            assert host.launch(*words).status == 0
            with open(packages.strip() + '/XenAPI.py', 'w') as stream:
                stream.write('raise SystemExit("theirs")\n')
            done = host.launch(*words)
        finally:
            os.unlink(packages.strip() + '/XenAPI.py')
            served.stop()
    assert done.status == 1 and done.said.endswith('theirs\n'), done.said


def test_installed_configuration_is_accepted(host, rpm_file):
    assert host.rpm('-i', rpm_file).status == 0
    done = host.launch('vgpu-watcher', 'check-config', '--config', host.path + CONFIGURATION)
    assert done.status == 0 and 'path = %s\n' % REGISTRY in done.said
