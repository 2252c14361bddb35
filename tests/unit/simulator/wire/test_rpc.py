"""The byte shapes of both protocols."""

import pytest

from simulator.wire import rpc


@pytest.mark.parametrize('value, text', [
    pytest.param('a<b&c', '<value>a&lt;b&amp;c</value>', id='string-untyped'),
    pytest.param(-1, '<value>-1</value>', id='integer-untyped'),
    pytest.param(rpc.Int32(7), '<value><i4>7</i4></value>', id='count'),
    pytest.param(True, '<value><boolean>1</boolean></value>', id='boolean'),
    pytest.param(1.0, '<value><double>1</double></value>', id='float-16g'),
    pytest.param(0.1, '<value><double>0.1</double></value>', id='float'),
    pytest.param(None, '<value></value>', id='void'),
    pytest.param([], '<value><array><data></data></array></value>', id='empty-set'),
    pytest.param({'k': 'v'}, '<value><struct><member><name>k</name><value>v</value></member>'
                 '</struct></value>', id='map'),
    pytest.param(rpc.Date('20260101T10:00:00Z'),
                 '<value><dateTime.iso8601>20260101T10:00:00Z</dateTime.iso8601></value>',
                 id='date'),
    pytest.param('a\x01b', '<value>ab</value>', id='control-characters-stripped'),
])
def test_a_value_has_its_shape_in_xml(value: object, text: str) -> None:
    assert rpc.render_xml(value) == text


@pytest.mark.parametrize('value, text', [
    pytest.param(-1, '-1', id='integer-is-a-number'),
    pytest.param(None, '""', id='void'),
    pytest.param({'a': [True, 'x']}, '{"a":[true,"x"]}', id='compact'),
    pytest.param(rpc.Snapshot({'domid': 3}, {}), '{"domid":3}', id='snapshot'),
])
def test_a_value_has_its_shape_in_json(value: object, text: str) -> None:
    assert rpc.render_json(value) == text


def test_a_failure_has_its_shape_in_each_protocol() -> None:
    description = ['HANDLE_INVALID', 'VM', 'x']
    old = rpc.JsonCall('m', [], 3, 1)
    new = rpc.JsonCall('m', [], 'id', 2)
    assert rpc.render_json_failure(old, description) == (
        b'{"result":null,"error":["HANDLE_INVALID","VM","x"],"id":3}')
    assert rpc.render_json_failure(new, description) == (
        b'{"jsonrpc":"2.0","error":{"code":1,"message":"HANDLE_INVALID","data":["VM","x"]},'
        b'"id":"id"}')
    assert rpc.render_json_untranslated(new, ['HOST_STILL_BOOTING']) == (
        b'{"jsonrpc":"2.0","error":["HOST_STILL_BOOTING"],"id":"id"}')
    assert rpc.render_xml_failure(['E']).endswith(
        b'<member><name>ErrorDescription</name><value><array><data><value>E</value></data></array>'
        b'</value></member></struct></value></param></params></methodResponse>')


@pytest.mark.parametrize('body', [
    pytest.param(b'', id='empty'),
    pytest.param(b'<methodCall>', id='cut'),
    pytest.param(b'\x00\xff', id='no-text'),
    pytest.param(b'<methodCall><params></params></methodCall>', id='no-name'),
    pytest.param(b'<methodCall><methodName>a</methodName><params><param><value><int>x</int>'
                 b'</value></param></params></methodCall>', id='bad-integer'),
])
def test_xml_that_is_no_call_is_malformed(body: bytes) -> None:
    with pytest.raises(rpc.Malformed):
        rpc.parse_xml_call(body)


@pytest.mark.parametrize('body', [
    pytest.param(b'{', id='cut'),
    pytest.param(b'{"method":"a","params":[]}', id='notification'),
    pytest.param(b'{"method":"a","params":[],"id":1.5}', id='odd-id'),
    pytest.param(b'{"method":"a","params":{},"id":1}', id='named-params'),
    pytest.param(b'[]', id='no-object'),
])
def test_json_that_is_no_call_is_malformed(body: bytes) -> None:
    with pytest.raises(rpc.Malformed):
        rpc.parse_json_call(body)
