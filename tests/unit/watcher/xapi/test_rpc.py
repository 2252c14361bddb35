"""Calls in both protocols, against the simulated XAPI, its faults, and one without JSON-RPC."""

import http.server

import pytest

from tests.support.serving import serving
from tests.unit.watcher.builders import SPAN
from watcher.errors import (NotTheMaster, SessionLost, StreamLost, XapiError, XapiFailure,
                            XapiNonsense, XapiUnreachable)


def build_speaker(client, wire):
    """Have a client speak one of the two."""
    client.steps.rpc.speaks_json = wire == 'json'
    client.steps.rpc._is_json_refused = wire == 'xml'
    return client


def count(simulator, method):
    return [call.method for call in simulator.calls].count(method)


@pytest.mark.parametrize('code, kind', [
    ('SESSION_INVALID', SessionLost), ('EVENTS_LOST', StreamLost),
    ('EVENT_FROM_TOKEN_PARSE_FAILURE', StreamLost), ('HOST_IS_SLAVE', NotTheMaster),
    ('INTERNAL_ERROR', XapiFailure), ('HOST_STILL_BOOTING', XapiFailure)])
@pytest.mark.parametrize('wire', ['json', 'xml'])
def test_failure_becomes_the_error_of_its_code(simulator, client, ref, code, kind, wire):
    simulator.add_fault('failure', method='VM.get_record',
                        parameters={'code': code, 'params': ['x']})
    with pytest.raises(XapiFailure) as caught:
        build_speaker(client, wire).read_vm(ref)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert caught.value.params == ('x',)


@pytest.mark.parametrize('code', ['HOST_STILL_BOOTING', 'UUID_INVALID', 'INTERNAL_ERROR'])
def test_emergency_is_a_failure_in_either_protocol(simulator, client, ref, code):
    simulator.set_emergency(code)
    for wire in ('json', 'xml'):
        with pytest.raises(XapiFailure) as caught:
            build_speaker(client, wire).read_vm(ref)
        assert caught.value.code == code


@pytest.mark.parametrize('kind, parameters, error', [
    ('http_500', {}, XapiUnreachable), ('http_500_before', {}, XapiUnreachable),
    ('drop_before', {}, XapiUnreachable), ('drop_after', {}, XapiUnreachable),
    ('reset_before', {}, XapiUnreachable), ('reset_after', {}, XapiUnreachable),
    ('truncate', {}, XapiError), ('garbage', {}, XapiNonsense)])
@pytest.mark.parametrize('wire', ['json', 'xml'])
@pytest.mark.parametrize('method', ['VM.get_record', 'VM.add_to_platform'])
def test_trouble_is_told_and_no_request_is_sent_twice(simulator, client, ref, kind, parameters,
                                                      error, method, wire):
    build_speaker(client, wire).read_vm(ref)
    simulator.clear_calls()
    simulator.add_fault(kind, method=method, count=1, parameters=parameters)
    with pytest.raises(error):
        client.read_vm(ref) if method == 'VM.get_record' else client.add_args(ref, SPAN)
    assert count(simulator, method) == 1
    assert client.read_vm(ref).ref == ref


# An XAPI without JSON-RPC.

class XmlOnly(http.server.BaseHTTPRequestHandler):
    """Answers a login, and any other XML-RPC call with one record; of JSON it has never heard."""

    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        is_login = b'session.login' in self.rfile.read(int(self.headers['Content-Length']))
        value = b'<string>OpaqueRef:s</string>' if is_login else b'<struct></struct>'
        self.server.paths.append(self.path)
        self.send_response(404 if self.path == '/jsonrpc' else 200)
        body = b'' if self.path == '/jsonrpc' else (
            b"<?xml version='1.0'?><methodResponse><params><param><value><struct><member>"
            b'<name>Status</name><value>Success</value></member><member><name>Value</name>'
            b'<value>' + value + b'</value></member></struct></value></param></params>'
            b'</methodResponse>')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Say nothing."""


@pytest.fixture
def xml_only():
    """An XAPI that knows no JSON-RPC."""
    server = http.server.HTTPServer(('127.0.0.1', 0), XmlOnly)
    server.paths = []
    server.url = 'http://127.0.0.1:%d' % server.server_address[1]
    with serving(server):
        yield server


def test_xapi_without_json_is_asked_by_xml_from_then_on(xml_only, build_client):
    client = build_client(xml_only.url, handle='x')
    assert client.read_vms() == {} == client.read_vms()
    client.close()
    assert [path == '/jsonrpc' for path in xml_only.paths] == [True, False, False]


def test_login_finds_out_that_xapi_speaks_no_json(xml_only, build_client):
    client = build_client(xml_only.url)
    client.login()
    assert client.read_vms() == {}
    client.close()
    assert [path == '/jsonrpc' for path in xml_only.paths] == [True, False, False]


@pytest.mark.parametrize('kind, error, logins', [
    pytest.param('http_500', None, 2, id='starts-up'),
    pytest.param('hang', XapiUnreachable, 1, id='does-not-answer'),
    pytest.param('drop_before', None, 2, id='closes'),
    pytest.param('garbage', None, 2, id='answers-nonsense')])
def test_login_that_fails_does_not_condemn_the_session_to_xml(simulator, build_client, url, kind,
                                                              error, logins):
    client = build_client(url, timeout_seconds=0.5)
    simulator.add_fault(kind, method='session.login_with_password', count=1)
    if error is not None:
        with pytest.raises(error):
            client.login()
        assert count(simulator, 'session.login_with_password') == logins
    client.login()
    client.read_vms()
    assert client.speaks_json
    assert count(simulator, 'session.login_with_password') == 2
