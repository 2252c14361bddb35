"""P28: whatever comes, each reader gives a value or an error of its own, and at linear cost.

What was found once stands as an example. HTTP is in test_http_line.py, files of people in
tests/unit/cli/test_hostile_files.py.
"""

import json
import sys
import time

import pytest
from hypothesis import example, given, settings, strategies as st

from cli.forwarding import protocol
from cli.queries import daemon_status, mirror_status
from registry.journal import clock_steps
from registry.values import MAX_VM_ID
from watcher.config import settings as config
from watcher.consumer import numbers_file
from watcher.consumer.numbers_file import NumberFileInvalid
from watcher.errors import ConfigError, MalformedRecord, XapiNonsense
from watcher.loop.steps import run
from watcher.metrics.http_endpoint import _judge
from watcher.mirror import entries, slots, trust as mirror_trust
from watcher.mirror.codes import derive_key
from watcher.mirror.entries import MirrorInvalid
from watcher.mirror.trust import TrustMemory
from watcher.vm import device_args, mirror_keys
from watcher.xapi import json_stream, plugin_protocol, record_parser as records, role
from watcher.xapi.plugin_protocol import AnswerInvalid, CallInvalid

from .builders import NAMES, TEMPLATE, build_raw
from .steps import answer

PARTS = json_stream.list_parts('events', records.reduce_event)
TRUST = mirror_trust.build_trust(TrustMemory(), derive_key(b'secret'), 'pool')


class Notes:
    """A journal of which only the notes are asked for."""

    def __init__(self, text):
        self.read_note = lambda _key: text


def read_args(text):
    reading = device_args.parse_args(text, NAMES)
    number = device_args.parse_number(reading, TEMPLATE)
    span = device_args.render_span(reading, '-device vgpu-stub,vm_id=1', TEMPLATE)
    assert number is None or 1 <= number <= MAX_VM_ID
    assert len(span) <= device_args.MAX_SPAN and reading.value == text
    device_args.merge(reading, span)
    device_args.mentions(text, NAMES)


def read_slots(text):
    for key in sorted(mirror_keys.ENTRY_KEYS):
        slots.find_current(((key, text),), trust=TRUST, record='vm')
        slots.read_mirror(((key, text),), TRUST, 'pool')


def read_json(text, size=64):
    pieces = iter([text[at:at + size] for at in range(0, len(text), size)])
    decoded = run(json_stream.decode(lambda: answer(next(pieces, '')), PARTS))
    records.parse_batch(decoded.get('result'), is_first=True)


def call_plugin(text):
    plugin_protocol.parse_inspection({'domid': text, 'vm_uuid': text, 'names': text})


def forward(text):
    protocol.parse_request({'words': text, 'answer': text, 'request': text})


ARGS = [' ', '"', "'", '\\', '-device ', '-device', 'vgpu-stub', 'vgpu-stub,vm_id=7', ',', '=',
        ',,', 'a', '\0', 'ä', '-device vgpu-stub,a=b ', "'' "]
ENTRY = ['vgpu-watcher', '1', '2', ' ', ';', ',', ':', '-', '{', '}', '"', '99999999999999999999',
         'a' * 64, '\n', 'ä', 'format=', 'vm_id=', '/', '[', ']', 'null', '0-0']
JSON = ['{', '}', '[', ']', '"', ':', ',', '"result"', '{"result": {"events": [', '"token"', 'null',
        '1e999', 'NaN', '-', '9' * 400, '\\u', '{"class": "vm", "ref": "r", "snapshot": {}}, ', ' ']
CALL = ['<', '>', '&', '<!DOCTYPE x>', '<methodCall>', '</methodCall>', '<value>', '<string>', 'a',
        '&lt;', '<!--', ']]>', '\0', 'ä', '<struct>', '<member>', '<name>']
CONFIG = ['[xapi]\n', '[mirror]\n', '[', ']', 'url', '=', ':', 'unix:', '\n', ' ', '%', '%(x)s',
          '#', ';', '\0', 'ä', 'interval_seconds = 5\n', '[DEFAULT]\n']
NUMBERS = ['vgpu-watcher numbers 1 ', 'vgpu-watcher withheld 1', '\n', ' ', '7', '-', 'a' * 36,
           'é', 'number 7\n', 'domid 3\n', 'at 1.5\n', '99999999999999999999\n']
REQUEST = ['GET ', '/metrics', ' HTTP/1.1', '\r\n', '\n', ' ', '\t', '?', 'é', 'x']
LOOK = ['7', '-', 'a' * 8, ' ', '\n', 'vgpu-stub', 'ä', '9' * 30] + JSON

READERS = {
    'args': (read_args, ARGS, ()),
    'vm entry': (entries.parse_vm_entry, ENTRY, MirrorInvalid),
    'pool entry': (entries.parse_pool_entry, ENTRY, MirrorInvalid),
    'slots': (read_slots, ENTRY, ()),
    'generation': (entries.parse_generation, ENTRY, MirrorInvalid),
    # What comes of these is translated where the answer is read (client.py, connection.py).
    'answer': (read_json, JSON, (ValueError, AttributeError, RecursionError, XapiNonsense)),
    'call of the plugin': (plugin_protocol.parse_call, CALL, CallInvalid),
    'look': (call_plugin, LOOK, CallInvalid),
    'finding': (plugin_protocol.parse_finding, LOOK, AnswerInvalid),
    'document': (plugin_protocol.parse_document, LOOK, AnswerInvalid),
    'forwarded command': (forward, LOOK, CallInvalid),
    'forwarded answer': (protocol.parse_answer, LOOK, AnswerInvalid),
    'configuration': (lambda text: config.parse(text, 'file'), CONFIG, ConfigError),
    'numbers': (lambda text: numbers_file.parse_numbers(text.encode('utf-8', 'replace')), NUMBERS,
                NumberFileInvalid),
    'marker': (lambda text: numbers_file.parse_marker(text.encode('utf-8', 'replace')), NUMBERS,
               NumberFileInvalid),
    'request for metrics': (lambda text: _judge(text.encode('utf-8', 'replace')), REQUEST, ()),
    'version': (lambda text: role.read_version({'xapi': text}), ['2', '.', '9' * 9, 'x'], ()),
    'note of the daemon': (lambda text: daemon_status.parse_note('pid 7', text, 1e9, 60), JSON, ()),
    'note of the mirror': (lambda text: mirror_status.parse_note(text, True), JSON, ()),
    'note of the keys': (lambda text: mirror_trust.read_memory(Notes(text)), JSON, ()),
    'note of the clock': (clock_steps._parse_list, JSON, ()),
}
SIZE = 24000


def feed(name, text):
    """Have it read; an error that is not the reader's own comes through."""
    reader, _words, own = READERS[name]
    try:
        reader(text)
    except own:
        pass


def some_text(words):
    return st.lists(st.sampled_from(words) | st.text(max_size=3), max_size=40).map(''.join)


@pytest.mark.parametrize('name', sorted(READERS))
def test_whatever_comes_is_read_or_refused(name):
    @settings(deadline=None)
    @given(some_text(READERS[name][1]))
    @example('')
    @example('[' * 100000)
    @example('{"a":' * 100000)
    @example('9' * 5000)
    @example('\ud800')
    def check(text):
        feed(name, text)
    check()


def count_steps(name, text):
    """Lines of Python that are gone through, and seconds of this thread."""
    return count_steps_of(lambda given: feed(name, given), text)


def count_steps_of(read, text):
    """The same of any reader."""
    steps = [0]

    def trace(_frame, event, _arg):
        steps[0] += event == 'line'
        return trace
    clock = getattr(time, 'thread_time', time.process_time)
    began_at = clock()
    read(text)
    seconds = clock() - began_at
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        device_args.parse_args.cache_clear()
        read(text)
    finally:
        sys.settrace(before)
    return steps[0], seconds


@pytest.mark.parametrize('name', sorted(READERS))
def test_twice_as_much_costs_twice_as_much_at_most(name):
    """Counted in steps; what the C library does in one step may take a second of this thread."""
    for word in READERS[name][1]:
        once, twice = [word * (size // len(word)) for size in (SIZE, 2 * SIZE)]
        few, _seconds = count_steps(name, once)
        many, seconds = count_steps(name, twice)
        assert many <= 2.2 * few + 200, (word, few, many)
        assert seconds < 2.0, word


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3), max_leaves=6)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(build_raw())), VALUES, max_size=4))
@example({'domid': float('inf')})
@example({'domid': True})
@example({'power_state': []})
def test_record_with_odd_fields_is_read_or_malformed(fields):
    try:
        records.parse_vm('ref', dict(build_raw(), **fields))
    except MalformedRecord:
        pass


@settings(deadline=None)
@given(VALUES)
@example({'events': [{'class': 'vm', 'ref': 'r', 'id': float('inf')}], 'token': ''})
@example({'events': [{'class': [], 'ref': {}}], 'token': '', 'valid_ref_counts': {'vm': 1e999}})
def test_answer_of_any_shape_is_read_or_nonsense(answer):
    try:
        records.parse_batch(answer, is_first=True)
    except XapiNonsense:
        pass
    records.parse_pool('ref', answer)


def test_long_value_is_not_read_beyond_its_beginning():
    """Nor kept: the same words, sixteen times, cost the same."""
    value = "'' " * 1365 + 'x'
    assert len(value) == device_args.MAX_READ
    assert device_args.parse_args(value, NAMES).problem is None
    longer = value + ' -device vgpu-stub,vm_id=7' * 2400
    reading = device_args.parse_args(longer, NAMES)
    assert (reading.problem, reading.spans) == (device_args.Problem.TOO_LONG, ())
    few, many = (count_steps('args', text)[0] for text in (value, longer))
    assert many <= 1.2 * few + 200
    kept = records.parse_vm('ref', build_raw(platform={'device-model-args': longer})).args
    assert len(kept) == device_args.MAX_READ + 1
    assert device_args.parse_args(kept, NAMES).problem is device_args.Problem.TOO_LONG


def test_number_in_the_beginning_of_a_long_value_counts():
    """QEMU may get it: two VMs with one number are shown."""
    reading = device_args.parse_args('-device vgpu-stub,vm_id=7 ' + 'x ' * 40000, NAMES)
    assert device_args.parse_number(reading, TEMPLATE) == 7


def test_value_is_read_once_for_each_change():
    device_args.parse_args.cache_clear()
    values = ['"\'\' " -device vgpu-stub,vm_id=%d' % number for number in range(900)]
    for _look in range(5):
        for value in values:
            device_args.parse_args(value, NAMES)
    assert device_args.parse_args.cache_info().misses == 900


def test_large_part_of_an_answer_is_not_decoded_again_for_each_chunk(monkeypatch):
    class Counting:
        tried = 0

        def __init__(self, decoder):
            self._decoder = decoder
            self.decode = decoder.decode

        def raw_decode(self, *where):
            Counting.tried += 1
            return self._decoder.raw_decode(*where)
    monkeypatch.setattr(json_stream, '_DECODER', Counting(json_stream._DECODER))
    event = {'class': 'vm', 'ref': 'r', 'snapshot': dict(build_raw(), name_label='x' * 500000)}
    read_json(json.dumps({'result': {'events': [event], 'token': ''}}))
    assert Counting.tried < 60


@pytest.mark.parametrize('parse', [entries.parse_vm_entry, entries.parse_pool_entry])
def test_number_of_many_digits_is_not_read(parse):
    """Before Python 3.11 that is quadratic: numbers in the pool's parts held the daemon up 0.7 s."""
    with pytest.raises(MirrorInvalid) as caught:
        parse('{"format": %s}' % ('9' * 30))
    assert 'JSON' in str(caught.value)
