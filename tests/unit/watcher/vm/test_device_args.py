"""The managed span: found, merged and rendered; foreign text keeps every byte."""

import shlex

import pytest
from hypothesis import given, settings, strategies as st

from registry.values import MAX_VM_ID
from tests.unit.watcher.builders import NAMES, TEMPLATE
from watcher.vm.device_args import (MAX_SPAN, InvalidTemplate, Problem, mentions, merge, parse_args,
                                    parse_number, parse_template, render_span)

OURS = '-device vgpu-stub,pool_id=A,priority=high,vm_id=10'


def desired(value, rendered=OURS, template=TEMPLATE):
    reading = parse_args(value, NAMES)
    return merge(reading, render_span(reading, rendered, template))


# Finding our spans.

@pytest.mark.parametrize('value, managed', [
    pytest.param(None, None, id='key-absent'),
    pytest.param('', None, id='empty'),
    pytest.param('   ', None, id='blanks-only'),
    pytest.param(OURS, OURS, id='nothing-but-ours'),
    pytest.param('-device vgpu-stub,pool_id=B,priority=high,vm_id=10',
                 '-device vgpu-stub,pool_id=B,priority=high,vm_id=10', id='field-stub'),
    pytest.param('-device vgpu-cuda,pool_id=B,priority=high,vm_id=10',
                 '-device vgpu-cuda,pool_id=B,priority=high,vm_id=10', id='field-cuda'),
    pytest.param('-device vgpu-cuda,addr=5,pool_id=B,vm_id=10',
                 '-device vgpu-cuda,addr=5,pool_id=B,vm_id=10', id='field-fixed-slot'),
    pytest.param('-device vgpu-stub,pool_id=A,priority=2,vm_id=3',
                 '-device vgpu-stub,pool_id=A,priority=2,vm_id=3', id='field-numeric-priority'),
    pytest.param('-device virtio-rng-pci -device vgpu-stub,vm_id=1',
                 '-device vgpu-stub,vm_id=1', id='behind-a-foreign-device'),
    pytest.param('-device  vgpu-stub,vm_id=1', '-device  vgpu-stub,vm_id=1', id='two-blanks'),
    pytest.param('-device vgpu-stub', '-device vgpu-stub', id='without-properties'),
    pytest.param('-device vgpu-stub,vm_id=1 -device vgpu-cuda,vm_id=2',
                 '-device vgpu-stub,vm_id=1 -device vgpu-cuda,vm_id=2', id='doubled'),
    pytest.param('-device vgpu-stub2,vm_id=1', None, id='name-begins-like-ours'),
    pytest.param('-device vgpu-stub-x,vm_id=1', None, id='name-begins-like-ours-with-a-dash'),
    pytest.param('-device VGPU-STUB,vm_id=1', None, id='name-in-other-case'),
    pytest.param('-device vgpu-stub,,x=1', None, id='doubled-comma-belongs-to-the-name'),
    pytest.param('-foo vgpu-stub,vm_id=1', None, id='not-a-device-option'),
    pytest.param('--device vgpu-stub,vm_id=1', None, id='other-spelling-of-the-option'),
    pytest.param('vgpu-stub,vm_id=1', None, id='without-an-option'),
    pytest.param('-name "a b" ' + OURS, OURS, id='behind-a-balanced-quote'),
    pytest.param('-name a\\ b ' + OURS, OURS, id='behind-an-escaped-blank'),
    pytest.param('-device -device -device vgpu-stub,vm_id=1', '-device vgpu-stub,vm_id=1',
                 id='an-option-taken-as-a-device'),
])
def test_our_spans_are_found(value, managed):
    reading = parse_args(value, NAMES)
    assert (reading.managed, reading.problem) == (managed, None)


@pytest.mark.parametrize('value, problem', [
    pytest.param('-name "a ' + OURS, Problem.UNBALANCED, id='open-double-quote'),
    pytest.param("-name 'a " + OURS, Problem.UNBALANCED, id='open-single-quote'),
    pytest.param(OURS + ' \\', Problem.UNBALANCED, id='trailing-backslash'),
    pytest.param('-name "a\\', Problem.UNBALANCED, id='trailing-backslash-in-a-quote'),
    pytest.param(OURS + '\n', Problem.NOT_PRINTABLE, id='newline'),
    pytest.param('-name\tx', Problem.NOT_PRINTABLE, id='tab'),
    pytest.param('-name \u00e9 ' + OURS, Problem.NOT_PRINTABLE, id='beyond-ascii'),
    pytest.param('-name x\0y', Problem.NOT_PRINTABLE, id='nul'),
    pytest.param('-device "vgpu-stub,vm_id=1"', Problem.QUOTED_DEVICE, id='quoted-device'),
    pytest.param('"-device" vgpu-stub,vm_id=1', Problem.QUOTED_DEVICE, id='quoted-option'),
    pytest.param('-device vgpu-stub,vm_id=1\\ ', Problem.QUOTED_DEVICE, id='escaped-in-device'),
    pytest.param('-name "x -device vgpu-stub,vm_id=1"', Problem.QUOTED_DEVICE,
                 id='device-inside-quoted-text'),
    pytest.param('-name x\\ -device vgpu-stub,vm_id=1', Problem.QUOTED_DEVICE,
                 id='option-behind-an-escaped-blank'),
    pytest.param('x\\ -device -device vgpu-stub,vm_id=1', Problem.QUOTED_DEVICE,
                 id='one-consumer-takes-the-option-as-a-device'),
    pytest.param('-device', Problem.DANGLING, id='option-at-the-end'),
    pytest.param(OURS + ' -device ', Problem.DANGLING, id='option-and-a-blank-at-the-end'),
    pytest.param('x\\ -device', Problem.DANGLING, id='option-at-the-end-for-one-consumer'),
])
def test_what_consumers_could_read_differently_is_not_touched(value, problem):
    reading = parse_args(value, NAMES)
    assert (reading.spans, reading.problem, reading.value) == ((), problem, value)


# Merging.

@pytest.mark.parametrize('before, after', [
    pytest.param(None, OURS, id='key-absent'),
    pytest.param('', OURS, id='empty'),
    pytest.param('-foo', '-foo ' + OURS, id='appended-behind-foreign-text'),
    pytest.param('-foo  ', '-foo   ' + OURS, id='trailing-blanks-are-kept'),
    pytest.param('-foo\\ ', '-foo\\  ' + OURS, id='an-escaped-blank-is-no-separator'),
    pytest.param(OURS, OURS, id='already-there'),
    pytest.param('-device vgpu-cuda,pool_id=B,priority=low,vm_id=9', OURS,
                 id='other-name-and-values'),
    pytest.param('-device  vgpu-stub,vm_id=10', OURS, id='odd-blanks-inside-are-ours'),
    pytest.param('-a  -device vgpu-stub,vm_id=1  -b', '-a  ' + OURS + '  -b',
                 id='in-place-between-foreign-text'),
    pytest.param('-device vgpu-stub,vm_id=1 -a -device vgpu-cuda,vm_id=2 -b', OURS + ' -a -b',
                 id='doubled-leaves-one-in-the-place-of-the-first'),
    pytest.param('-device vgpu-stub,vm_id=1 -device vgpu-stub,vm_id=1', OURS, id='twice-the-same'),
    pytest.param('-device vgpu-stub2,vm_id=1', '-device vgpu-stub2,vm_id=1 ' + OURS,
                 id='a-device-that-begins-like-ours-is-foreign'),
    pytest.param('-device vgpu-cuda,addr=5,pool_id=B,vm_id=10', OURS + ',addr=5',
                 id='a-property-by-hand-is-kept-behind-ours'),
    pytest.param('-device vgpu-stub,prefer_bar1_htod=on,vm_id=1,probe_fresh_shmem_libload=on',
                 OURS + ',prefer_bar1_htod=on,probe_fresh_shmem_libload=on',
                 id='properties-by-hand-keep-their-order'),
    pytest.param('-device vgpu-stub,vm_id=1,priority=2', OURS, id='numeric-priority-is-mended'),
    pytest.param('-device vgpu-stub,vm_id=1,X=1,y,z=a/b,w=', OURS,
                 id='properties-outside-the-grammar-go'),
    pytest.param('-device vgpu-stub,vm_id=1,path=a,,b', OURS, id='a-literal-comma-goes'),
    pytest.param('-device vgpu-stub,addr=5 -device vgpu-cuda,addr=6,slot=7', OURS +
                 ',addr=5,slot=7', id='of-two-devices-the-first-property-counts'),
])
def test_desired_value_holds_our_span_once_and_all_foreign_text(before, after):
    assert desired(before) == after


@pytest.mark.parametrize('before, after', [
    pytest.param(None, None, id='key-absent'),
    pytest.param('', '', id='empty'),
    pytest.param('-foo', '-foo', id='foreign-only'),
    pytest.param(OURS, None, id='nothing-but-ours'),
    pytest.param(' ' + OURS + '  ', None, id='ours-and-blanks'),
    pytest.param('-a ' + OURS + ' -b', '-a -b', id='one-blank-goes-with-it'),
    pytest.param('-a  ' + OURS, '-a ', id='other-blanks-stay'),
    pytest.param(OURS + ' -b', '-b', id='at-the-beginning'),
    pytest.param('-a\\  ' + OURS + ' -b', '-a\\  -b', id='behind-an-escaped-blank'),
    pytest.param(OURS + ' ' + OURS, None, id='doubled'),
])
def test_nothing_of_ours_leaves_foreign_text_as_it_is(before, after):
    assert merge(parse_args(before, NAMES), None) == after


def test_properties_by_hand_never_make_the_span_longer_than_allowed():
    value = '-device vgpu-stub,vm_id=1,long=%s,addr=5' % ('x' * 250)
    assert desired(value) == OURS + ',addr=5'


# Numbers and names.

@pytest.mark.parametrize('value, number', [
    pytest.param('-device vgpu-stub,vm_id=10', 10, id='ours'),
    pytest.param('-device vgpu-cuda,addr=5,vm_id=7', 7, id='other-name'),
    pytest.param('-device vgpu-stub,vm_id=1,vm_id=2', 2, id='the-last-of-two-counts'),
    pytest.param('-device vgpu-stub,vm_id=1 -device vgpu-stub,vm_id=2', 1, id='first-of-two'),
    pytest.param('-device vgpu-stub,vm_id=%d' % MAX_VM_ID, MAX_VM_ID, id='largest'),
    pytest.param('-device vgpu-stub,vm_id=%d' % (MAX_VM_ID + 1), None, id='too-large'),
    pytest.param('-device vgpu-stub,vm_id=0', None, id='zero'),
    pytest.param('-device vgpu-stub,vm_id=-5', None, id='negative'),
    pytest.param('-device vgpu-stub,vm_id=0x1F', 31, id='hexadecimal'),
    pytest.param('-device vgpu-stub,vm_id=010', 8, id='octal'),
    pytest.param('-device vgpu-stub,vm_id=000000000007', 7, id='many-zeros'),
    pytest.param('-device vgpu-stub,vm_id=09', 9, id='not-octal'),
    pytest.param('-device vgpu-stub,vm_id=+7', 7, id='with-a-sign'),
    pytest.param('-device vgpu-stub,vm_id=-18446744073709551609', 7, id='wrapped-at-64-bits'),
    pytest.param('-device vgpu-stub,vm_id=' + '9' * 4000, None, id='more-than-64-bits'),
    pytest.param('-device vgpu-stub,vm_id=abc', None, id='no-number'),
    pytest.param('-device vgpu-stub,vm_id=7k', None, id='with-a-unit'),
    pytest.param('-device vgpu-stub,vm_id=0x', None, id='no-digits'),
    pytest.param('-device vgpu-stub,vm_id=' + '1' * 5000, None, id='a-very-long-number'),
    pytest.param('-device vgpu-stub', None, id='without-one'),
    pytest.param('-device other,vm_id=3', None, id='a-foreign-device'),
    pytest.param('-name "x -device vgpu-stub,vm_id=3"', None, id='unreadable'),
    pytest.param(None, None, id='key-absent'),
])
def test_carried_number_is_read(value, number):
    assert parse_number(parse_args(value, NAMES), TEMPLATE) == number


@pytest.mark.parametrize('value, is_mentioned', [
    pytest.param('-device "vgpu-stub,vm_id=1"', True, id='quoted'),
    pytest.param('"vgpu-cuda', True, id='cut-short'),
    pytest.param('vgpu-stub2 my-vgpu-stub', False, id='longer-names'),
    pytest.param('', False, id='empty'),
    pytest.param(None, False, id='key-absent'),
])
def test_mention_of_our_device_is_noticed_however_it_is_written(value, is_mentioned):
    assert mentions(value, NAMES) is is_mentioned


# Templates.

@pytest.mark.parametrize('text, span', [
    pytest.param('-device vgpu-stub,pool_id={pool_id},priority={priority},vm_id={vm_id}',
                 '-device vgpu-stub,pool_id=B,priority=low,vm_id=7', id='default'),
    pytest.param('-device X-1_a,n={vm_id},p={priority_level}', '-device X-1_a,n=7,p=0',
                 id='priority-as-a-number'),
    pytest.param('-device v,slot=a.b:c_-,vm_id={vm_id}', '-device v,slot=a.b:c_-,vm_id=7',
                 id='fixed-properties'),
    pytest.param('-device v,tag=x{pool_id}{priority},vm_id={vm_id}',
                 '-device v,tag=xBlow,vm_id=7', id='placeholders-inside-a-value'),
])
def test_template_renders_an_assignment(text, span):
    assert parse_template(text).render('B', 0, 7) == span


@pytest.mark.parametrize('text', [
    pytest.param('', id='empty'),
    pytest.param('vgpu-stub,vm_id={vm_id}', id='without-the-option'),
    pytest.param('--device v,vm_id={vm_id}', id='other-option'),
    pytest.param('-device  v,vm_id={vm_id}', id='two-blanks'),
    pytest.param('-device v, vm_id={vm_id}', id='blank-inside'),
    pytest.param('-device 1v,vm_id={vm_id}', id='name-begins-with-a-digit'),
    pytest.param('-device v', id='without-properties'),
    pytest.param('-device v,vm_id=7', id='without-the-number'),
    pytest.param('-device v,vm_id=1{vm_id}', id='number-with-other-digits'),
    pytest.param('-device v,Vm={vm_id}', id='key-in-capitals'),
    pytest.param('-device v,vm_id={vm_id},vm_id={vm_id}', id='a-key-twice'),
    pytest.param('-device v,vm_id={vm_id},x', id='property-without-a-value'),
    pytest.param('-device v,vm_id={vm_id},x=', id='empty-value'),
    pytest.param('-device v,vm_id={vm_id},x=a/b', id='slash'),
    pytest.param('-device v,vm_id={vm_id},x={host}', id='unknown-placeholder'),
    pytest.param('-device v,vm_id={vm_id!r}', id='conversion'),
    pytest.param('-device v,vm_id={vm_id:09}', id='format'),
    pytest.param('-device v,vm_id={vm_id.__class__}', id='attribute'),
    pytest.param('-device v,vm_id={{vm_id}}', id='doubled-braces'),
    pytest.param('-device v,vm_id={vm_id},x={', id='open-brace'),
    pytest.param('-device v,vm_id={vm_id}\n', id='trailing-newline'),
    pytest.param('-device v,vm_id={vm_id},x=\u00e9', id='beyond-ascii'),
    pytest.param('-device v,vm_id={vm_id} -priv', id='a-second-option'),
    pytest.param('-device v,vm_id={vm_id},x=' + 'y' * 250, id='too-long'),
])
def test_template_outside_the_grammar_is_refused(text):
    with pytest.raises(InvalidTemplate):
        parse_template(text)


@pytest.mark.parametrize('pool_id, priority, vm_id', [
    pytest.param('C', 1, 1, id='pool'),
    pytest.param('A,x=1', 1, 1, id='pool-with-more-behind'),
    pytest.param('A', 3, 1, id='priority'),
    pytest.param('A', -1, 1, id='negative-priority'),
    pytest.param('A', 1, 0, id='number-zero'),
    pytest.param('A', 1, MAX_VM_ID + 1, id='number-too-large'),
])
def test_nothing_but_an_assignment_is_rendered(pool_id, priority, vm_id):
    with pytest.raises(ValueError, match='not an assignment'):
        TEMPLATE.render(pool_id, priority, vm_id)


@pytest.mark.parametrize('length, is_allowed', [(255, True), (256, False)])
def test_longest_template_fills_the_limit_exactly(length, is_allowed):
    text = '-device v,vm_id={vm_id},x='
    text += 'y' * (length - len(text) + len('{vm_id}') - len(str(MAX_VM_ID)))
    if is_allowed:
        assert len(parse_template(text).render('A', 1, MAX_VM_ID)) == MAX_SPAN
    else:
        with pytest.raises(InvalidTemplate):
            parse_template(text)


# Properties that hold for every value.

PIECES = st.sampled_from([
    '-device', '-device', 'vgpu-stub', 'vgpu-cuda,addr=5', 'vgpu-stub,vm_id=3', 'vgpu-stubs',
    'vgpu-stub,vm_id=1,bad/=x', 'virtio-rng-pci,x=1', '-foo', '-name', '"', "'", '\\', '\\ ', ' ',
    '  ', ',', ',,', '"a b"', "'c d'", 'x\\ -device', '-device ', ' -device vgpu-stub,vm_id=9 '])
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
VALUES = st.one_of(
    PRINTABLE,
    st.lists(PIECES, max_size=9).map(''.join),
    st.lists(PIECES, max_size=9).map(' '.join))
# 20,000 of each were run once; these keep the time of a test run short.
EXAMPLES = settings(max_examples=300, deadline=None)


def part(words):
    """Part the words as QEMU does: the devices that are ours, and all other words in order."""
    words, ours, others = list(words), [], []
    while words:
        word = words.pop(0)
        device = words.pop(0) if word == '-device' and words else None
        if device is not None and device.replace(',,', '\0').split(',')[0] in NAMES:
            ours.append(device)
        else:
            others += [word] if device is None else [word, device]
    return ours, others


def shell_words(value):
    try:
        return shlex.split(value)
    except ValueError:
        return None


@EXAMPLES
@given(st.one_of(VALUES, st.text(max_size=60)))
def test_no_text_raises(value):
    reading = parse_args(value, NAMES)
    assert reading.value == value and (reading.problem is None or not reading.spans)
    parse_number(reading, TEMPLATE)
    mentions(value, NAMES)


@EXAMPLES
@given(VALUES)
def test_unbalanced_is_what_a_shell_cannot_split(value):
    assert (parse_args(value, NAMES).problem is Problem.UNBALANCED) == (
        shell_words(value) is None)


@EXAMPLES
@given(VALUES)
def test_all_consumers_see_our_device_once_in_what_is_written(value):
    if parse_args(value, NAMES).problem is None:
        for split in (str.split, shlex.split):
            ours, _others = part(split(desired(value)))
            assert len(ours) == 1 and ours[0].startswith('vgpu-stub,pool_id=A,priority=high,')


@EXAMPLES
@given(VALUES)
def test_all_consumers_see_the_same_foreign_words_before_and_after(value):
    reading = parse_args(value, NAMES)
    if reading.problem is None:
        for split in (str.split, shlex.split):
            foreign = part(split(value))[1]
            assert part(split(desired(value)))[1] == foreign
            assert part(split(merge(reading, None) or '')) == ([], foreign)


@EXAMPLES
@given(VALUES)
def test_foreign_bytes_survive_adding_and_removing_ours(value):
    reading = parse_args(value, NAMES)
    if reading.problem is None and not reading.spans:
        added = desired(value)
        assert added.startswith(value)
        removed = merge(parse_args(added, NAMES), None)
        # One blank goes with the span: the one that was added, or the last of several.
        assert (removed or '').rstrip(' ') == value.rstrip(' ')


@EXAMPLES
@given(VALUES)
def test_merging_twice_changes_nothing_more(value):
    if parse_args(value, NAMES).problem is None:
        assert desired(desired(value)) == desired(value)
        removed = merge(parse_args(value, NAMES), None)
        assert merge(parse_args(removed, NAMES), None) == removed


@EXAMPLES
@given(VALUES)
def test_what_is_written_can_be_read_again(value):
    if parse_args(value, NAMES).problem is None:
        reading = parse_args(desired(value), NAMES)
        assert reading.problem is None and len(reading.spans) == 1
        assert parse_number(reading, TEMPLATE) == 10


@EXAMPLES
@given(st.sampled_from('AB'), st.sampled_from([0, 1, 2]), st.integers(1, MAX_VM_ID), VALUES)
def test_what_is_written_fits_the_grammar(pool_id, priority, vm_id, value):
    reading = parse_args(value, NAMES)
    if reading.problem is None:
        span = render_span(reading, TEMPLATE.render(pool_id, priority, vm_id), TEMPLATE)
        option, device = span.split(' ')
        name, *properties = device.split(',')
        keys = [item.split('=')[0] for item in properties]
        assert (option, name, len(span) <= MAX_SPAN) == ('-device', 'vgpu-stub', True)
        assert keys[:3] == ['pool_id', 'priority', 'vm_id'] and len(set(keys)) == len(keys)
        for item in properties:
            key, item_value = item.split('=')
            assert set(key) <= set('abcdefghijklmnopqrstuvwxyz0123456789_')
            assert item_value and all(c.isalnum() or c in '._:-' for c in item_value)
