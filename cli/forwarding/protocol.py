"""What a member sends the master of a command, and what comes back: texts, checked on both ends.

The reader of each takes it as input: root on the master the request, root's terminal on the member
the answer. Pure: no clock, no I/O, no logging.
"""

import base64
import binascii
import hashlib
import json
import re
import zlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from cli.output.text import Style
from watcher.xapi.plugin_protocol import FORMAT, AnswerInvalid, CallInvalid, parse_document

# A command may name many VMs.
MAX_WORDS = 1000
# Of a file that goes along; it must fit packed into one argument of a program as well.
MAX_TEXT_BYTES = 1 << 24
# What is longer is packed for those who can read that.
PLAIN_BYTES = 1 << 16
_MAX_NAME = 100
_IDENTIFIER = re.compile(r'[0-9a-f]{32}\Z')
_DIGEST = re.compile(r'([0-9a-f]{64})?\Z')
_PACKED = 'packed'


class Request(NamedTuple):
    """One command from another host."""

    words: Tuple[str, ...]
    answer: str = ''
    """The digest of the question that was answered with yes."""
    can_ask: bool = False
    """Whether a person is there to answer."""
    style: Style = Style()
    text: Optional[str] = None
    """The content of the file that the command names."""
    user: str = ''
    host: str = ''
    identifier: str = ''
    """By what the command can be cancelled."""
    is_packed: bool = False
    """Whether the answer may be packed."""


class Question(NamedTuple):
    """What has to be answered before the command is carried out."""

    block: Tuple[str, ...]
    text: str
    digest: str


class Answer(NamedTuple):
    """What a command printed and how it ended, or what it asks."""

    status: int = 0
    output: str = ''
    errors: str = ''
    question: Optional[Question] = None


def render_request(request: Request) -> Dict[str, str]:
    """The arguments of the plugin's function `admin`."""
    arguments = {'words': json.dumps(request.words), 'answer': request.answer,
                 'can_ask': 'yes' if request.can_ask else 'no',
                 'style': json.dumps(request.style), 'user': _named(request.user),
                 'host': _named(request.host), 'request': request.identifier,
                 'accepts': _PACKED if request.is_packed else ''}
    if request.text is not None:
        arguments['input'] = _pack(request.text)
    return arguments


def parse_request(arguments: Mapping[str, str]) -> Request:
    """Read and check the arguments of `admin`; only `words` must be there."""
    words = _load(arguments.get('words', ''), 'words')
    if (not isinstance(words, list) or not 1 <= len(words) <= MAX_WORDS
            or not all(isinstance(word, str) and '\0' not in word for word in words)):
        raise CallInvalid('words: a JSON list of texts is expected, such as ["list-vms", "--json"]')
    answer, identifier = arguments.get('answer', ''), arguments.get('request', '')
    if not _DIGEST.match(answer):
        raise CallInvalid('answer: the digest of a question is expected')
    if identifier and not _IDENTIFIER.match(identifier):
        raise CallInvalid('request: 32 hexadecimal digits are expected')
    packed = arguments.get('input')
    return Request(tuple(words), answer, arguments.get('can_ask') == 'yes',
                   _parse_style(arguments.get('style', '[]')),
                   None if packed is None else _unpack(packed),
                   _named(arguments.get('user', '')), _named(arguments.get('host', '')),
                   identifier, arguments.get('accepts') == _PACKED)


def build_question(words: Sequence[str], block: Sequence[str], text: str) -> Question:
    """A question whose digest binds an answer to this very command and what was shown."""
    bound = json.dumps([list(words), list(block), text]).encode('ascii')
    return Question(tuple(block), text, hashlib.sha256(bound).hexdigest())


def render_answer(answer: Answer, *, is_packed: bool) -> str:
    """The value that the plugin gives."""
    document: Dict[str, Any] = {
        'format': FORMAT, 'status': answer.status, 'output': answer.output,
        'errors': answer.errors}
    if answer.question is not None:
        document['question'] = answer.question._asdict()
    text = json.dumps(document)
    if is_packed and len(text) > PLAIN_BYTES:
        return json.dumps({'format': FORMAT, _PACKED: _pack(text)})
    return text


def parse_answer(text: Any) -> Answer:
    """Read and check what the master's plugin answered."""
    document = parse_document(text)
    if _PACKED in document:
        try:
            document = parse_document(_unpack(document[_PACKED]))
        except CallInvalid as error:
            raise AnswerInvalid('the answer cannot be unpacked') from error
    status, output = document.get('status'), document.get('output')
    errors, question = document.get('errors'), document.get('question')
    if (not isinstance(status, int) or not 0 <= status <= 255 or not isinstance(output, str)
            or not isinstance(errors, str)):
        raise AnswerInvalid('not the answer of a command')
    return Answer(status, output, errors, None if question is None else _parse_question(question))


def _parse_question(question: Any) -> Question:
    fields = question if isinstance(question, dict) else {}
    block, text, digest = fields.get('block'), fields.get('text'), fields.get('digest')
    if (not isinstance(block, list) or not all(isinstance(line, str) for line in block)
            or not isinstance(text, str) or not isinstance(digest, str)
            or len(digest) != 64 or not _DIGEST.match(digest)):
        raise AnswerInvalid('not a question')
    return Question(tuple(block), text, digest)


def _parse_style(text: str) -> Style:
    items = _load(text, 'style')
    if items == []:
        return Style()
    kinds = [type(item) for item in items] if isinstance(items, list) else []
    if kinds != [bool, bool, bool, int, int] or not all(0 <= item <= 10000 for item in items):
        raise CallInvalid('style: not what a terminal can do')
    return Style(*items)


def _load(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallInvalid(f'{name}: not JSON') from error


def _named(text: str) -> str:
    """A name for the history: short, and nothing that is not printed."""
    return ''.join(item for item in text if item.isprintable())[:_MAX_NAME]


def _pack(text: str) -> str:
    data = text.encode('utf-8', 'surrogatepass')
    return base64.b64encode(zlib.compress(data, 9)).decode('ascii')


def _unpack(packed: Any) -> str:
    """What was packed; never more than the bound, whatever it claims to be."""
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(packed, validate=True), MAX_TEXT_BYTES)
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise CallInvalid(f'input: torn, or more than {MAX_TEXT_BYTES} bytes')
        return data.decode('utf-8', 'surrogatepass')
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise CallInvalid(f'input: {error}') from error


def split_lines(text: str) -> List[str]:
    """Lines as they were printed, each without its end."""
    return text[:-1].split('\n') if text.endswith('\n') else text.split('\n') if text else []
