"""The byte shapes of XML-RPC and JSON-RPC as ocaml-rpc makes them.

XML-RPC is compact, strings and integers are both untyped, void is the empty string; JSON-RPC
has numbers for integers. A Snapshot is rendered once per generation of its row.
"""

import json
import re
import xmlrpc.client
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple
from xml.parsers.expat import ExpatError

SPECIAL = re.compile('[&<>"\x00-\x08\x0b\x0c\x0e-\x1f]')
ESCAPES = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}
XML_HEAD = '<?xml version="1.0"?><methodResponse><params><param>'
XML_TAIL = '</param></params></methodResponse>'


class Malformed(Exception):
    """A request that is no call: XAPI answers it with HTTP 500 and a page of HTML."""


class Date(str):
    """An instant as XAPI writes it, 20260101T10:00:00Z."""


class Int32(int):
    """An integer with a type on the wire: valid_ref_counts has them."""


class Snapshot(NamedTuple):
    """The fields of one row at one generation, with a place for their renderings."""
    fields: Dict[str, Any]
    cache: Dict[str, Any]


class JsonCall(NamedTuple):
    """A JSON-RPC request."""
    method: str
    params: List[Any]
    identity: Any
    version: int


def render_xml(value: Any) -> str:
    """Render one value with its <value> tag."""
    return '<value>' + _render_xml_inner(value) + '</value>'


def render_xml_answer(value: Any) -> bytes:
    """Render the envelope of a success."""
    return _envelope(f'<value><struct>{_member("Status", "Success")}'
                     f'<member><name>Value</name>{render_xml(value)}</member></struct></value>')


def render_xml_failure(description: Sequence[str]) -> bytes:
    """Render the envelope of a failure."""
    return _envelope(f'<value><struct>{_member("Status", "Failure")}'
                     f'{_member("ErrorDescription", list(description))}</struct></value>')


def render_xml_bare(value: Any) -> bytes:
    """Render an answer without an envelope: system.listMethods alone has this shape."""
    return _envelope(render_xml(value))


def render_json(value: Any) -> str:
    """Render one value as JSON."""
    if isinstance(value, Snapshot):
        if 'json' not in value.cache:
            value.cache['json'] = render_json(value.fields)
        return value.cache['json']
    if isinstance(value, dict):
        return '{' + ','.join(f'{_json_leaf(str(key))}:{render_json(item)}'
                              for key, item in value.items()) + '}'
    if isinstance(value, (list, tuple)):
        return '[' + ','.join(map(render_json, value)) + ']'
    return '""' if value is None else _json_leaf(value)


def render_json_answer(call: JsonCall, value: Any) -> bytes:
    """Render a success in the version in which the call came."""
    identity = _json_leaf(call.identity)
    if call.version == 1:
        return _utf8(f'{{"result":{render_json(value)},"error":null,"id":{identity}}}')
    return _utf8(f'{{"jsonrpc":"2.0","result":{render_json(value)},"id":{identity}}}')


def render_json_failure(call: JsonCall, description: Sequence[str]) -> bytes:
    """Render a failure in the version in which the call came."""
    identity = _json_leaf(call.identity)
    if call.version == 1:
        return _utf8(f'{{"result":null,"error":{render_json(description)},"id":{identity}}}')
    error = {'code': 1, 'message': description[0], 'data': list(description[1:])}
    return _utf8(f'{{"jsonrpc":"2.0","error":{render_json(error)},"id":{identity}}}')


def render_json_untranslated(call: JsonCall, description: Sequence[str]) -> bytes:
    """Render a failure that is not made into an object of version 2: a member's forwarding and
    emergency mode answer so."""
    if call.version == 1:
        return render_json_failure(call, description)
    return _utf8(f'{{"jsonrpc":"2.0","error":{render_json(description)},'
                 f'"id":{_json_leaf(call.identity)}}}')


def parse_xml_call(body: bytes) -> Tuple[str, List[Any]]:
    """Read an XML-RPC request."""
    try:
        params, method = xmlrpc.client.loads(body, use_builtin_types=False)
    except (ExpatError, xmlrpc.client.Error, ValueError, KeyError, TypeError, IndexError,
            AttributeError) as error:
        raise Malformed(str(error)) from error
    if not method:
        raise Malformed('no methodName')
    return method, [_plain(param) for param in params]


def parse_json_call(body: bytes) -> JsonCall:
    """Read a JSON-RPC request of version 1.0 or 2.0; notifications are not accepted."""
    try:
        call = json.loads(body.decode('utf-8'))
        identity, method = call['id'], call['method']
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(str(error)) from error
    params = call.get('params', [])
    if isinstance(identity, bool) or not isinstance(identity, (int, str)):
        raise Malformed('id must be an integer or a string')
    if not isinstance(method, str) or not isinstance(params, list):
        raise Malformed('method must be a string and params an array')
    return JsonCall(method, params, identity, 2 if 'jsonrpc' in call else 1)




def _render_xml_inner(value: Any) -> str:
    if isinstance(value, Snapshot):
        return _render_snapshot(value)
    if isinstance(value, Date):
        return f'<dateTime.iso8601>{value}</dateTime.iso8601>'
    if isinstance(value, str):
        return _escape(value)
    if isinstance(value, bool):
        return f'<boolean>{int(value)}</boolean>'
    if isinstance(value, Int32):
        return f'<i4>{int(value)}</i4>'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f'<double>{value:.16g}</double>'
    if isinstance(value, dict):
        return _struct(value)
    if isinstance(value, (list, tuple)):
        return '<array><data>' + ''.join(map(render_xml, value)) + '</data></array>'
    return ''


def _render_snapshot(snapshot: Snapshot) -> str:
    # Of 91 fields one has changed since the last time: the others are kept as they were rendered.
    members = snapshot.cache.setdefault('members', {})
    for name, value in snapshot.fields.items():
        if name not in members:
            members[name] = _member(name, value)
    return '<struct>' + ''.join([members[name] for name in snapshot.fields]) + '</struct>'


def _struct(fields: Dict[str, Any]) -> str:
    return '<struct>' + ''.join(_member(key, item) for key, item in fields.items()) + '</struct>'


def _member(name: str, value: Any) -> str:
    return f'<member><name>{_escape(str(name))}</name>{render_xml(value)}</member>'


def _escape(text: str) -> str:
    if SPECIAL.search(text) is None:
        return text
    return SPECIAL.sub(lambda found: ESCAPES.get(found.group(), ''), text)


def _json_leaf(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _envelope(value: str) -> bytes:
    return _utf8(XML_HEAD + value + XML_TAIL)


def _utf8(text: str) -> bytes:
    # A fault may put bytes into a record that are no UTF-8: they travel as surrogates.
    return text.encode('utf-8', 'surrogateescape')


def _plain(value: Optional[Any]) -> Any:
    if isinstance(value, xmlrpc.client.DateTime):
        return Date(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
