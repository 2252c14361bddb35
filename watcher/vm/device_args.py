"""The grammar of platform:device-model-args: find our span, merge it, render it.

In the value we own one span, `-device NAME,prop=value,...`. Everything else is foreign text and
is preserved byte for byte. Three forms of the consumer exist in the field (docs/consumer.md): one
splits the value at white space, two split it like a shell. A value that these would read
differently, or that could not be written back as it was read, is not touched: it has a `problem`.

Pure: no clock, no I/O, no logging.
"""

import enum
import functools
import re
from typing import FrozenSet, List, NamedTuple, Optional, Tuple

from registry.values import MAX_VM_ID, POOL_IDS, Priority

MAX_SPAN = 255
# XAPI accepts more, but xenstore and the consumers do not promise it (docs/reference/boot-path.md).
MAX_VALUE = 1023
# What stands behind this is not read: it could not be written back, and one who may write a VM's
# platform map could hold up all others with it.
MAX_READ = 4096

DEVICE_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_-]*\Z')
_KEY = re.compile(r'[a-z][a-z0-9_]*\Z')
_PROPERTY_VALUE = re.compile(r'[A-Za-z0-9._:-]+\Z')
_PRINTABLE = re.compile(r'[ -~]*\Z')
_QUOTING = re.compile(r'["\'\\]')
# Hexadecimal, octal and decimal, as C writes them; 09 is none to QEMU, and 9 to people.
_INTEGER = re.compile(r'([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([0-9]{1,20}))\Z')
_PLACEHOLDER = re.compile(r'\{([^{}]*)\}')
_OPTION = '-device'


class Problem(enum.Enum):
    """Why a value is left exactly as it is."""
    NOT_PRINTABLE = 'holds characters that are not printable ASCII'
    UNBALANCED = 'has an unbalanced quote or a trailing backslash'
    QUOTED_DEVICE = 'names our device inside quotes, which consumers read differently'
    DANGLING = 'ends in -device without a device'
    TOO_LONG = f'would be longer than {MAX_VALUE} bytes'


class InvalidTemplate(ValueError):
    """A template that does not fit the grammar; the text says why."""


class Span(NamedTuple):
    """One `-device NAME,...` of ours inside a value."""
    start: int
    end: int
    name: str
    properties: Tuple[Tuple[str, str], ...]


class Reading(NamedTuple):
    """A value as we understand it."""
    value: Optional[str]
    spans: Tuple[Span, ...] = ()
    problem: Optional[Problem] = None

    @property
    def managed(self) -> Optional[str]:
        """The text of our spans, one blank between; None when there is none."""
        value = self.value or ''
        return ' '.join(value[span.start:span.end] for span in self.spans) or None


class Template(NamedTuple):
    """The span as the configuration writes it, checked against the grammar."""
    text: str
    name: str
    keys: FrozenSet[str]
    number_key: str
    """The property that carries vm_id."""

    def render(self, pool_id: str, priority: int, vm_id: int) -> str:
        """The span for one assignment; built from validated enumerations and integers only."""
        if (pool_id not in POOL_IDS or priority not in tuple(Priority)
                or not 1 <= vm_id <= MAX_VM_ID):
            raise ValueError(f'not an assignment: {pool_id!r} {priority!r} {vm_id!r}')
        return self.text.format(pool_id=pool_id, priority=Priority(priority).word,
                                priority_level=int(priority), vm_id=int(vm_id))


class Word(NamedTuple):
    """One word of a value: where it stands, what a shell makes of it, whether it was quoted."""
    start: int
    end: int
    text: str
    is_quoted: bool


def parse_template(text: str) -> Template:
    """Check a template against the grammar; raise InvalidTemplate with the reason."""
    head, _space, device = text.partition(' ')
    name, *properties = device.split(',')
    if head != _OPTION or not DEVICE_NAME.match(name):
        raise InvalidTemplate('must begin with "-device NAME," and one blank between')
    keys: List[str] = []
    number_key = None
    for item in properties:
        key, equals, value = item.partition('=')
        if not equals or not _KEY.match(key) or key in keys:
            raise InvalidTemplate(f'property {item!r} must be key=value, each key once')
        if not _PROPERTY_VALUE.match(_fill(value)):
            raise InvalidTemplate(f'value of {key!r} may hold [A-Za-z0-9._:-] and placeholders')
        keys.append(key)
        number_key = key if value == '{vm_id}' else number_key
    if number_key is None:
        raise InvalidTemplate('needs a property whose value is {vm_id}')
    template = Template(text, name, frozenset(keys), number_key)
    if len(template.render('A', 1, MAX_VM_ID)) > MAX_SPAN:
        raise InvalidTemplate(f'is longer than {MAX_SPAN} bytes when filled in')
    return template


# A value is read once for each change, as long as there are not more VMs than this, and looked up
# after that.
@functools.lru_cache(maxsize=1024)
def parse_args(value: Optional[str], names: FrozenSet[str]) -> Reading:
    """Find our spans in a value of device-model-args; in a long one, in its beginning."""
    if value is None:
        return Reading(None)
    if len(value) > MAX_READ:
        # A word that is cut is none.
        beginning = value[:MAX_READ].rpartition(' ')[0]
        return Reading(value, parse_args(beginning, names).spans, Problem.TOO_LONG)
    if not _PRINTABLE.match(value):
        # add_to_platform cuts a value at such a character: it could not be written back.
        return Reading(value, (), Problem.NOT_PRINTABLE)
    if not _QUOTING.search(value):
        # All consumers read it alike, and there is nothing to go through letter by letter for.
        spans, problem = _find_spans(_split_plainly(value), names)
        return Reading(value, () if problem else spans, problem)
    words = _split(value)
    if words is None:
        return Reading(value, (), Problem.UNBALANCED)
    spans, problem = _find_spans(words, names)
    plain_spans, plain_problem = _find_spans(_split_plainly(value), names)
    problem = problem or plain_problem
    if problem is None and spans != plain_spans:
        problem = Problem.QUOTED_DEVICE
    return Reading(value, () if problem else spans, problem)


def parse_number(reading: Reading, template: Template) -> Optional[int]:
    """The vm_id that a value carries; None when it carries none that is valid."""
    # QEMU takes the last of two equal properties, and so does a dictionary.
    properties = dict(reading.spans[0].properties) if reading.spans else {}
    number = _read_like_qemu(properties.get(template.number_key, properties.get('vm_id', '')))
    return number if number is not None and 1 <= number <= MAX_VM_ID else None


def _read_like_qemu(text: str) -> Optional[int]:
    """A whole number as strtoull reads it: 0x10, 010 and -1 are numbers, and wrap at 64 bits."""
    match = _INTEGER.match(text)
    if match is None:
        return None
    sign, base_16, base_8, base_10 = match.groups()
    number = int(base_16, 16) if base_16 else int(base_8, 8) if base_8 else int(base_10)
    return (-number if sign == '-' else number) % (1 << 64)


def mentions(value: Optional[str], names: FrozenSet[str]) -> bool:
    """Whether one of the device names stands in the value at all, however it is written."""
    return value is not None and any(
        re.search(rf'(?<![A-Za-z0-9_-]){re.escape(name)}(?![A-Za-z0-9_-])', value)
        for name in names)


def render_span(reading: Reading, rendered: str, template: Template) -> str:
    """The desired span: what the template says, and behind it the properties set by hand."""
    span, seen = rendered, set(template.keys)
    for key, value in (pair for found in reading.spans for pair in found.properties):
        extended = f'{span},{key}={value}'
        if key not in seen and _fits(key, value) and len(extended) <= MAX_SPAN:
            span = extended
            seen.add(key)
    return span


def merge(reading: Reading, span: Optional[str]) -> Optional[str]:
    """The whole value with exactly `span` as ours (None: with nothing of ours).

    None means that the key goes away. Foreign text keeps every byte; with a span that vanishes
    goes one of the blanks beside it.
    """
    if not reading.spans:
        return reading.value if span is None else _append(reading.value, span)
    value = reading.value or ''
    for index in reversed(range(len(reading.spans))):
        found = reading.spans[index]
        if index == 0 and span is not None:
            value = value[:found.start] + span + value[found.end:]
        else:
            value = _cut(value, found.start, found.end)
    return value if value.strip(' ') else None


def _append(value: Optional[str], span: str) -> str:
    """With a blank of our own, that goes with the span: a blank at the end is foreign text."""
    return value + ' ' + span if value else span


def _cut(value: str, start: int, end: int) -> str:
    if start > 0:
        start -= 1
    elif value[end:end + 1] == ' ':
        end += 1
    return value[:start] + value[end:]


def _fits(key: str, value: str) -> bool:
    return bool(_KEY.match(key) and _PROPERTY_VALUE.match(value))


def _fill(text: str) -> str:
    """Replace known placeholders by sample text; an unknown one stays, and fails the grammar."""
    samples = {'pool_id': 'A', 'priority': 'low', 'priority_level': '0', 'vm_id': '1'}
    return _PLACEHOLDER.sub(lambda match: samples.get(match.group(1), match.group(0)), text)


def _find_spans(words: List[Word], names: FrozenSet[str]) \
        -> Tuple[Tuple[Span, ...], Optional[Problem]]:
    spans = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word.text != _OPTION:
            continue
        if index == len(words):
            # Whatever is appended would become this option's argument.
            return (), Problem.DANGLING
        device = words[index]
        index += 1
        name, *properties = _split_properties(device.text)
        if name not in names:
            continue
        if word.is_quoted or device.is_quoted:
            return (), Problem.QUOTED_DEVICE
        spans.append(Span(word.start, device.end, name, tuple(
            item.partition('=')[::2] for item in properties)))
    return tuple(spans), None


def _split_plainly(value: str) -> List[Word]:
    """Split like a consumer that knows nothing of quotes."""
    return [Word(match.start(), match.end(), match.group(), False)
            for match in re.finditer('[^ ]+', value)]


def _split_properties(text: str) -> List[str]:
    """Split at single commas: in QEMU's syntax a doubled one stands for itself."""
    return [item.replace('\0', ',') for item in text.replace(',,', '\0').split(',')]


def _split(value: str) -> Optional[List[Word]]:
    """Split like a POSIX shell, keeping positions; None when a quote does not close."""
    words = []
    position, length = 0, len(value)
    while position < length:
        if value[position] == ' ':
            position += 1
            continue
        scanned = _scan_word(value, position)
        if scanned is None:
            return None
        words.append(scanned)
        position = scanned.end
    return words


def _scan_word(value: str, start: int) -> Optional[Word]:
    text, quote, position, is_quoted = [], '', start, False
    while position < len(value) and (quote or value[position] != ' '):
        character = value[position]
        if character == '\\' and quote != "'":
            is_quoted = True
            position += 1
            if position == len(value):
                return None
            if quote and value[position] not in '"\\':
                text.append('\\')
            text.append(value[position])
        elif character == quote:
            quote = ''
        elif character in '"\'' and not quote:
            quote, is_quoted = character, True
        else:
            text.append(character)
        position += 1
    return None if quote else Word(start, position, ''.join(text), is_quoted)
