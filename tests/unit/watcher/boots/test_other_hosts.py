"""Asking another host's plugin what a boot took, and leaving it in peace when it does not say."""

import contextlib

import pytest

from tests.unit.watcher.steps import AtOnce
from watcher.boots.other_hosts import LACKING_SECONDS, SILENT_SECONDS, OtherHosts
from watcher.errors import SessionLost, XapiFailure, XapiUnreachable
from watcher.loop.loop import Loop
from watcher.loop.steps import run
from watcher.vm.boot import BootFinding
from watcher.xapi.plugin_protocol import InspectionRequest, render_finding

UUID = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
REQUEST = InspectionRequest(7, UUID, frozenset(['vgpu-stub']))
FOUND = BootFinding('-device vgpu-stub,vm_id=1')


class Xapi:
    """Answers calls of the plugin as told."""

    def __init__(self):
        self.calls = []
        self.answer = render_finding(FOUND)
        self.seconds = 0.0
        self.now = 1000.0
        self.hosts = OtherHosts(Loop(), lambda message: None, lambda: self.now)

    @contextlib.contextmanager
    def limited(self, seconds):
        yield

    def call(self, *words):
        self.calls.append(words)
        self.now += self.seconds
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def look(self, host='OpaqueRef:b'):
        return run(self.hosts.inspect(AtOnce(self), host, REQUEST))


@pytest.fixture
def xapi():
    return Xapi()


def test_one_call_asks_the_plugin_of_the_host_that_runs_the_vm(xapi):
    assert xapi.look() == FOUND
    assert xapi.calls == [('host.call_plugin', 'OpaqueRef:b', 'vgpu-watcher', 'look',
                           {'domid': '7', 'vm_uuid': UUID, 'names': 'vgpu-stub'})]


@pytest.mark.parametrize('answer, seconds', [
    pytest.param(XapiFailure('XENAPI_MISSING_PLUGIN', ['vgpu-watcher']), LACKING_SECONDS,
                 id='no-plugin'),
    pytest.param(XapiFailure('MESSAGE_METHOD_UNKNOWN', ['host.call_plugin']), LACKING_SECONDS,
                 id='no-such-method'),
    pytest.param(XapiFailure('HOST_OFFLINE', ['OpaqueRef:b']), SILENT_SECONDS, id='offline'),
    pytest.param('rubbish', SILENT_SECONDS, id='rubbish'),
])
def test_host_that_does_not_answer_is_left_in_peace_for_a_while(xapi, answer, seconds):
    xapi.answer = answer
    assert not xapi.look().is_readable
    xapi.answer = render_finding(FOUND)
    xapi.now += seconds - 1
    silent = xapi.look()
    assert not silent.is_readable and silent.problem and len(xapi.calls) == 1
    assert xapi.look('OpaqueRef:c') == FOUND, 'another host is asked all the same'
    xapi.now += 2
    assert xapi.look() == FOUND


def test_host_that_hangs_is_left_in_peace(xapi):
    xapi.answer, xapi.seconds = XapiUnreachable('no answer in 10 s'), 10.0
    assert not xapi.look().is_readable
    xapi.answer = render_finding(FOUND)
    assert not xapi.look().is_readable and len(xapi.calls) == 1


@pytest.mark.parametrize('error', [SessionLost('SESSION_INVALID'), XapiUnreachable('refused')])
def test_our_own_xapi_that_fails_says_nothing_about_the_host(xapi, error):
    xapi.answer = error
    assert not xapi.look().is_readable
    xapi.answer = render_finding(FOUND)
    assert xapi.look() == FOUND
