"""What XAPI and a plugin say to each other."""

import json
import xmlrpc.client

import pytest

from watcher.vm.boot import BootFinding
from watcher.xapi.plugin_protocol import (AnswerInvalid, Call, CallInvalid, InspectionRequest, parse_call,
                                          parse_document, parse_finding, parse_inspection, render_call,
                                          render_failure, render_finding, render_inspection,
                                          render_success)

UUID = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'
REQUEST = InspectionRequest(7, UUID, frozenset(['vgpu-stub', 'vgpu-cuda']))


def test_call_comes_back_as_it_was_written():
    call = Call('look', 'OpaqueRef:1', {'a': 'b', 'name': '<&>"\' \u2713'})
    assert parse_call(render_call(call)) == call


@pytest.mark.parametrize('text', [
    pytest.param('', id='nothing'),
    pytest.param('look', id='no-xml'),
    pytest.param('<methodCall><methodName>look</methodName>', id='torn'),
    # All of it is a call, but for the document type.
    pytest.param('<!DOCTYPE a [<!ENTITY b "c">]>' + xmlrpc.client.dumps(
        ('s', {'a': 'BBB'}), 'f').partition('?>')[2].replace('BBB', '&b;' * 3), id='doctype'),
    pytest.param(xmlrpc.client.dumps(('s',), 'f'), id='one-parameter'),
    pytest.param(xmlrpc.client.dumps(('s', {}, {}), 'f'), id='three-parameters'),
    pytest.param(xmlrpc.client.dumps((1, {}), 'f'), id='session-is-a-number'),
    pytest.param(xmlrpc.client.dumps(('s', []), 'f'), id='arguments-are-a-list'),
    pytest.param(xmlrpc.client.dumps(('s', {'a': 1}), 'f'), id='argument-is-a-number'),
    pytest.param(xmlrpc.client.dumps(('s', {'a': {}}), 'f'), id='argument-is-a-map'),
    pytest.param(xmlrpc.client.dumps(({},), methodresponse=True), id='a-response'),
])
def test_what_is_no_call_is_refused(text):
    with pytest.raises(CallInvalid):
        parse_call(text)


def test_responses_are_those_that_xapi_understands():
    assert xmlrpc.client.loads(render_success('{"a": 1}')) == (
        ({'Status': 'Success', 'Value': '{"a": 1}'},), None)
    assert xmlrpc.client.loads(render_failure('CODE', 'one\x00\x1b', 'two')) == (
        ({'Status': 'Failure', 'ErrorDescription': ['CODE', 'one??', 'two']},), None)


def test_request_for_a_look_comes_back():
    assert parse_inspection(render_inspection(REQUEST)) == REQUEST


@pytest.mark.parametrize('changes', [
    {'domid': ''}, {'domid': '-1'}, {'domid': '7 '}, {'domid': '7\n'}, {'domid': '../7'},
    {'domid': '12345678'}, {'domid': '\u0667'}, {'vm_uuid': ''}, {'vm_uuid': UUID + '/'},
    {'vm_uuid': UUID.upper()}, {'vm_uuid': '$(id)'}, {'names': ''}, {'names': 'a b;c'},
    {'names': 'vgpu-stub  vgpu-cuda'}, {'names': '../etc'}, {'names': 'a,b'},
    {'names': ' '.join('n%d' % number for number in range(17))}, {'names': 'x' * 65},
])
def test_odd_request_for_a_look_is_refused(changes):
    with pytest.raises(CallInvalid):
        parse_inspection(dict(render_inspection(REQUEST), **changes))


@pytest.mark.parametrize('finding', [
    BootFinding('-device vgpu-stub,vm_id=1'), BootFinding(None, '-device vgpu-stub,vm_id=1'), BootFinding(),
    BootFinding(is_readable=False, problem='the process is gone'), BootFinding(is_withheld=True),
    BootFinding('-device \udcff\u2713\n')])
def test_finding_comes_back_through_xml(finding):
    answer = xmlrpc.client.loads(render_success(render_finding(finding)))[0][0]['Value']
    assert parse_finding(answer) == finding


def test_finding_of_an_older_host_tells_of_nothing_withheld():
    document = json.loads(render_finding(BootFinding('x')))
    del document['is_withheld']
    assert parse_finding(json.dumps(document)) == BootFinding('x')


@pytest.mark.parametrize('changes', [
    {'format': 2}, {'found': 1}, {'found': 'x' * 20000}, {'delivered': []},
    {'is_readable': 'yes'}, {'problem': None}, {'is_withheld': 1}])
def test_odd_finding_is_refused(changes):
    with pytest.raises(AnswerInvalid):
        parse_finding(json.dumps(dict(json.loads(render_finding(BootFinding())), **changes)))


@pytest.mark.parametrize('text', ['', 'null', '[]', '{}', None, 7, '[' * 100000,
                                  '{"format": 1, "x": %s}' % ('9' * 30)])
def test_what_is_no_answer_is_refused(text):
    with pytest.raises(AnswerInvalid):
        parse_document(text)
