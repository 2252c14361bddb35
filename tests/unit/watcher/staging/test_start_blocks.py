"""Start blocks of 0.1: known by the text that stands there now, lifted; others are never touched."""

import pytest

from tests.support.left_by_0_1 import BLOCK
from tests.unit.watcher.builders import OTHER_SPAN, REF, SPAN, FakeXapi, build_raw, build_vm
from tests.unit.watcher.steps import AtOnce
from watcher.errors import XapiFailure, XapiUnreachable
from watcher.loop.steps import run
from watcher.staging.start_blocks import lift, list_blocks, read_value
from watcher.vm.record import BLOCK_MARK
from watcher.xapi.record_parser import parse_vm

OURS, THEIRS = BLOCK_MARK + ' replacing device-model-args; owner dom0 pid 1', 'ask Anna'
TELLING = OURS + ' value: -a ' + SPAN
BOTH = {'start': OURS, 'start_on': OURS}
RUNNING = {'power_state': 'Running'}


def test_record_of_a_vm_tells_our_blocks_from_others():
    assert list_blocks(build_vm(start_blocks=(('start', OURS), ('start_on', THEIRS)))) == (
        'start',)
    assert list_blocks(build_vm(start_blocks=(('start', 'see ' + OURS),))) == ()
    assert list_blocks(build_vm(start_blocks=(('start', 'vgpu-watcher'),))) == ()


@pytest.mark.parametrize('value', ['-device vgpu-stub,vm_id=1', '-foo "a  b" value: -b', 'é'])
def test_text_of_0_1_ends_with_the_value_that_was_being_written(value):
    vm = build_vm(start_blocks=(('start', '%s value: %s' % (OURS, value)),))
    assert read_value(vm) == value


@pytest.mark.parametrize('text', [
    OURS, THEIRS + ' value: -foo', BLOCK_MARK + ' value: ', BLOCK_MARK + ' value: ' + 'x' * 5000,
    BLOCK_MARK + ' value: a\nb'])
def test_text_that_tells_no_value_is_as_none(text):
    assert read_value(build_vm(start_blocks=(('start', text),))) is None


@pytest.mark.parametrize('operation', ['start', 'start_on'])
def test_the_longest_value_of_0_1_is_read_whole(operation):
    value = 'v' * 4096
    text = BLOCK % ('u' * 36, operation, value)
    vm = parse_vm('vm', build_raw(blocked_operations={operation: text}))
    assert read_value(vm) == value and list_blocks(vm) == (operation,)


def test_a_text_without_end_is_kept_in_part_and_tells_no_value():
    text = BLOCK_MARK + ' ' * 4500 + ' value: ' + 'v' * 1000000
    vm = parse_vm('vm', build_raw(blocked_operations={'start': text, 'start_on': 'x' * 1000000}))
    assert read_value(vm) is None and list_blocks(vm) == ('start',)
    assert max(len(kept) for _operation, kept in vm.start_blocks) < 10000


def test_ours_are_lifted_and_others_stay():
    xapi = FakeXapi(SPAN, blocked_operations=dict(BOTH, destroy=OURS, start_on=THEIRS))
    vm, operations = run(lift(AtOnce(xapi), REF))
    assert operations == ('start',) and vm.start_blocks == (('start_on', THEIRS),)
    assert xapi.blocks == {'destroy': OURS, 'start_on': THEIRS}


def test_vm_without_one_costs_one_reading():
    xapi = FakeXapi(SPAN, blocked_operations={'start': THEIRS})
    assert run(lift(AtOnce(xapi), REF))[1] == () and xapi.names == ['read_vm']


@pytest.mark.parametrize('at', [2, 3, 4])
def test_block_that_somebody_put_in_the_place_of_ours_is_not_touched(at):
    xapi = FakeXapi(SPAN, blocked_operations=dict(BOTH))

    def replace(number, xapi):
        if number == at:
            xapi.blocks.update((key, THEIRS) for key in xapi.blocks)
    xapi.meddle = replace
    run(lift(AtOnce(xapi), REF))
    # Between the reading and the removal (call 3) is the one moment that XAPI does not let us see.
    assert set(xapi.blocks.values()) <= {THEIRS}
    assert len(xapi.blocks) == (1 if at in (3, 4) else 2)


def test_value_comes_back_before_the_block_goes():
    xapi = FakeXapi(None, blocked_operations=dict.fromkeys(BOTH, TELLING))
    run(lift(AtOnce(xapi), REF))
    assert xapi.args == '-a ' + SPAN and xapi.blocks == {}
    assert xapi.names.index('add_args') < xapi.names.index('remove_block')


@pytest.mark.parametrize('args, fields', [(OTHER_SPAN, {}), (None, RUNNING)])
def test_value_comes_back_only_where_the_key_is_absent_and_the_vm_rests(args, fields):
    xapi = FakeXapi(args, blocked_operations=dict.fromkeys(BOTH, TELLING), **fields)
    run(lift(AtOnce(xapi), REF))
    assert xapi.args == args and xapi.blocks == {} and 'add_args' not in xapi.names


def test_key_that_somebody_else_added_first_is_no_error():
    xapi = FakeXapi(None, blocked_operations={'start': TELLING})
    xapi.meddle = lambda number, xapi: setattr(xapi, 'args', SPAN) if number == 2 else None
    run(lift(AtOnce(xapi), REF))
    assert (xapi.args, xapi.blocks) == (SPAN, {})


@pytest.mark.parametrize('error', [XapiFailure('INTERNAL_ERROR'), XapiUnreachable('cut')])
def test_block_stays_while_the_value_cannot_be_put_back(error):
    xapi = FakeXapi(None, blocked_operations={'start': TELLING})
    xapi.fail_at, xapi.error = 2, error
    with pytest.raises(type(error)):
        run(lift(AtOnce(xapi), REF))
    assert xapi.blocks == {'start': TELLING}
