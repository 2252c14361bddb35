"""Fences: put up, recognised by their text alone, lifted; entries of others are never touched."""

import os

import pytest

from tests.unit.watcher.builders import REF, UUID, FakeXapi, build_vm
from watcher.errors import XapiFailure, XapiUnreachable
from watcher.fence import (MARK, OPERATIONS, Owner, block, lift, list_fences, read_owner,
                           read_value, render_fence, without_fences)

OWNER = Owner('dom0', 4711)
OURS, THEIRS = MARK + ' whoever put it up', 'ask Anna'


def test_fence_blocks_both_ways_to_start():
    xapi, raised, doubtful = FakeXapi(), [], []
    block(xapi, build_vm(), OWNER, raised, doubtful)
    assert set(xapi.blocks) == {'start', 'start_on'} == set(raised) == set(OPERATIONS)
    assert doubtful == []


def test_text_names_the_owner_and_the_command_that_lifts_it():
    assert render_fence(UUID, 'start_on', OWNER) == (
        'vgpu-watcher: replacing device-model-args, gone in a moment; owner dom0 pid 4711; '
        'lift with: xe vm-param-remove uuid=%s param-name=blocked-operations '
        'param-key=start_on' % UUID)


@pytest.mark.parametrize('value', [
    '-device vgpu-stub,vm_id=1', '-foo "a  b" -device vgpu-stub,vm_id=1', '-a value: -b', 'é'])
def test_value_that_is_being_written_stands_at_the_end_of_the_text(value):
    text = render_fence(UUID, 'start', OWNER, value)
    assert text.startswith(render_fence(UUID, 'start', OWNER)) and text.endswith(value)
    assert read_value(build_vm(start_blocks=(('start', text),))) == value
    assert list_fences(build_vm(start_blocks=(('start', text),)), 'dom0') == ('start',)


@pytest.mark.parametrize('text', [
    render_fence(UUID, 'start', OWNER), THEIRS + ' value: -foo', MARK + ' value: ',
    MARK + ' value: ' + 'x' * 5000, MARK + ' value: a\nb'])
def test_text_that_tells_no_value_is_as_none(text):
    assert read_value(build_vm(start_blocks=(('start', text),))) is None


def test_owner_is_this_process():
    assert read_owner().pid == os.getpid() and read_owner().host


@pytest.mark.parametrize('blocks, fences', [
    pytest.param((), (), id='nothing'),
    pytest.param((('start', OURS), ('start_on', OURS)), ('start', 'start_on'), id='both'),
    pytest.param((('start', THEIRS), ('start_on', OURS)), ('start_on',), id='one-is-foreign'),
    pytest.param((('start', 'see ' + OURS),), (), id='our-mark-further-back'),
    pytest.param((('start', 'vgpu-watcher'),), (), id='our-name-without-the-colon')])
def test_fence_is_recognised_by_the_beginning_of_its_text(blocks, fences):
    assert list_fences(build_vm(start_blocks=blocks)) == fences


def test_record_without_fences_keeps_what_is_foreign_and_what_is_left():
    vm = build_vm(start_blocks=(('start', OURS), ('start_on', THEIRS)))
    assert without_fences(vm).start_blocks == (('start_on', THEIRS),)
    assert without_fences(vm, ['start']) == vm


def test_entry_that_is_there_already_is_not_ours_to_lift():
    xapi, raised, doubtful = FakeXapi(blocked_operations={'start': THEIRS}), [], []
    block(xapi, build_vm(), OWNER, raised, doubtful)
    assert (raised, doubtful, xapi.blocks['start']) == (['start_on'], [], THEIRS)


@pytest.mark.parametrize('error, doubtful_after', [
    pytest.param(XapiUnreachable('cut'), ['start_on'], id='answer-lost'),
    pytest.param(XapiFailure('RBAC_PERMISSION_DENIED'), [], id='refused')])
def test_fence_that_fails_half_way_tells_what_may_stand(error, doubtful_after):
    xapi, raised, doubtful = FakeXapi(), [], []
    xapi.fail_at, xapi.error = 2, error
    with pytest.raises(type(error)):
        block(xapi, build_vm(), OWNER, raised, doubtful)
    assert (raised, doubtful) == (['start'], doubtful_after)


def test_only_the_named_operations_are_lifted():
    xapi = FakeXapi(blocked_operations={'start': OURS, 'start_on': THEIRS, 'destroy': THEIRS})
    lift(xapi, REF, ['start'])
    assert xapi.blocks == {'start_on': THEIRS, 'destroy': THEIRS}


def test_fence_of_a_vm_that_is_gone_is_gone_with_it():
    xapi = FakeXapi(blocked_operations={'start': OURS})
    xapi.is_gone = True
    lift(xapi, REF, ['start', 'start_on'])
    assert xapi.names == ['remove_block']
