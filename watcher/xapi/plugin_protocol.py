"""What XAPI hands to a plugin and what it takes back, and what two of our hosts tell each other.

XAPI runs a plugin as a program: its one argument is the call as XML-RPC, `function(session,
arguments)`, and its standard output must be a response with a status (xapi_plugins.ml). Answers
of ours are JSON in that response, ASCII only: XML has no place for control characters.

XML-RPC is imported when it is spoken: the daemon only reads and writes the JSON.

Pure: no clock, no I/O, no logging.
"""

import json
import re
from typing import Any, Dict, FrozenSet, Mapping, NamedTuple, Optional

from registry.errors import InvalidValue
from registry.values import parse_json_integer
from watcher.errors import WatcherError
from watcher.vm.boot import BootFinding
from watcher.xapi.record_parser import UUID

# The file's name in /etc/xapi.d/plugins, by which XAPI calls it.
PLUGIN = 'vgpu-watcher'
FORMAT = 1
# The kernel takes 128 KiB as one argument of a program, and the request is one (MAX_ARG_STRLEN).
MAX_CALL_BYTES = 120000
# What XAPI keeps as the result of a task goes to every client that watches tasks.
MAX_ANSWER_BYTES = 1 << 20
# More than a QEMU has of our devices, less than what would burden a journal.
MAX_FOUND = 16384

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_-]{0,63}\Z')
_DOMID = re.compile(r'[0-9]{1,7}\Z')
_MAX_NAMES = 16


class CallInvalid(WatcherError):
    """A call, or what it carries, is not what a plugin of ours takes."""


class AnswerInvalid(WatcherError):
    """What a plugin answered is not an answer of ours."""


class Call(NamedTuple):
    """One call, as XAPI hands it over."""
    function: str
    session: str
    arguments: Mapping[str, str]


class InspectionRequest(NamedTuple):
    """Which domain to look at, whose it must be, and for which devices."""
    domid: int
    vm_uuid: str
    names: FrozenSet[str]


def render_call(call: Call) -> str:
    """Write a call as XAPI does."""
    import xmlrpc.client
    return xmlrpc.client.dumps((call.session, dict(call.arguments)), call.function)


def parse_call(text: str) -> Call:
    """Read a call; a document type, which could blow up while it is read, is refused."""
    if '<!' in text:
        raise CallInvalid('a document type, or a comment, is not part of a call')
    import xml.parsers.expat
    import xmlrpc.client
    try:
        params, function = xmlrpc.client.loads(text)
    except (xml.parsers.expat.ExpatError, xmlrpc.client.Error, ValueError, TypeError,
            KeyError, IndexError, AttributeError, AssertionError) as error:
        raise CallInvalid(f'not an XML-RPC call: {error}') from error
    if function is None or len(params) != 2 or not isinstance(params[0], str):
        raise CallInvalid('a call is function(session, arguments)')
    arguments = params[1]
    if not isinstance(arguments, dict) or not all(
            isinstance(item, str) for pair in arguments.items() for item in pair):
        raise CallInvalid('the arguments are not a map of texts')
    return Call(function, params[0], arguments)


def render_success(value: str) -> str:
    """The response that carries a value."""
    import xmlrpc.client
    return xmlrpc.client.dumps(({'Status': 'Success', 'Value': value},), methodresponse=True)


def render_failure(code: str, *params: str) -> str:
    """The response that XAPI turns into an error of its own."""
    # Characters that XML cannot carry would cost the whole answer.
    description = [_printable(text) for text in (code,) + params]
    import xmlrpc.client
    return xmlrpc.client.dumps(({'Status': 'Failure', 'ErrorDescription': description},),
                               methodresponse=True)


def render_inspection(request: InspectionRequest) -> Dict[str, str]:
    """The arguments of the function `look`."""
    return {'domid': str(request.domid), 'vm_uuid': request.vm_uuid,
            'names': ' '.join(sorted(request.names))}


def parse_inspection(arguments: Mapping[str, str]) -> InspectionRequest:
    """Read and check the arguments of the function `look`."""
    domid, vm_uuid = arguments.get('domid', ''), arguments.get('vm_uuid', '')
    names = arguments.get('names', '').split(' ')
    if not _DOMID.match(domid):
        raise CallInvalid(f'domid: {ascii(domid[:40])} is no domain number')
    if not UUID.match(vm_uuid):
        raise CallInvalid(f'vm_uuid: {ascii(vm_uuid[:40])} is no UUID')
    if len(names) > _MAX_NAMES or not all(_NAME.match(name) for name in names):
        raise CallInvalid('names: device names are expected, with blanks between them')
    return InspectionRequest(int(domid), vm_uuid, frozenset(names))


def render_finding(finding: BootFinding) -> str:
    """What was found, for the host that asked."""
    return json.dumps(dict(finding._asdict(), format=FORMAT), sort_keys=True)


def parse_finding(text: Any) -> BootFinding:
    """Read what another host found; it is checked like any other input."""
    document = parse_document(text)
    found, delivered = document.get('found'), document.get('delivered')
    is_readable, problem = document.get('is_readable'), document.get('problem', '')
    # A host with a version before 0.2 does not say it.
    is_withheld = document.get('is_withheld', False)
    if not (_is_short(found) and _is_short(delivered) and isinstance(is_readable, bool)
            and isinstance(is_withheld, bool) and isinstance(problem, str)):
        raise AnswerInvalid('not a finding')
    return BootFinding(found, delivered, is_readable, problem[:200], is_withheld)


def parse_document(text: Any) -> Dict[str, Any]:
    """Read an answer of ours: a JSON document of a format that we know."""
    try:
        document = json.loads(text, parse_int=parse_json_integer)
    except (ValueError, TypeError, RecursionError, InvalidValue) as error:
        raise AnswerInvalid('the answer is not JSON') from error
    if not isinstance(document, dict) or document.get('format') != FORMAT:
        raise AnswerInvalid(f'the answer is not in format {FORMAT}')
    return document


def _is_short(text: Optional[str]) -> bool:
    return text is None or (isinstance(text, str) and len(text) <= MAX_FOUND)


def _printable(text: str) -> str:
    return ''.join(item if item.isprintable() or item in '\n\t' else '?' for item in text)
