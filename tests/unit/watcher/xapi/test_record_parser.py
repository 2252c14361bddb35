"""Records and batches off the wire: every oddity costs its own VM, never the daemon."""

import pytest

from tests.unit.watcher.builders import HOST, SPAN, UUID, build_raw, uuid_of
from watcher.errors import MalformedRecord, XapiNonsense
from watcher.vm.record import PoolRecord, PowerState, VmKind
from watcher.xapi.record_parser import parse_batch, parse_records, parse_vm

REF = 'OpaqueRef:1'


def event(ref, event_id, operation='mod', **fields):
    answer = {'id': event_id, 'timestamp': '0.0', 'class': 'vm', 'operation': operation,
              'ref': ref}
    if operation != 'del':
        answer['snapshot'] = build_raw(**fields)
    return answer


def answer(*events, **fields):
    return dict({'events': list(events), 'token': '1,0', 'valid_ref_counts': {'vm': 3}}, **fields)


def test_fields_that_decisions_need_are_read():
    vm = parse_vm(REF, build_raw(
        uuid=UUID.upper(), power_state='Paused', domid=7, resident_on=HOST,
        platform={'device-model-args': SPAN, 'vga': 'std'},
        current_operations={'OpaqueRef:b': 'start', 'OpaqueRef:a': 'clone'},
        blocked_operations={'start_on': 'x', 'destroy': 'y', 'start': 'z'}))
    assert vm == (REF, UUID, 'web-01', VmKind.VM, PowerState.PAUSED,
                  (('OpaqueRef:a', 'clone'), ('OpaqueRef:b', 'start')), SPAN,
                  (('start', 'z'), ('start_on', 'x')), 7, HOST, (), True, True, False)


@pytest.mark.parametrize('platform, is_settled', [
    ({}, False), ({'timeoffset': '0'}, False), ({'device-model': 'qemu-upstream-uefi'}, True),
    ({'device-model': 'qemu-trad'}, False), ({'device-model': ''}, True),
    ({'device-model': 'qemu-upstream-compat', 'secureboot': 'auto'}, False),
    ({'device-model': 'qemu-upstream-compat', 'secureboot': 'true'}, True)])
def test_map_that_xapi_completes_at_the_next_start_is_known(platform, is_settled):
    assert parse_vm(REF, build_raw(platform=platform)).settles_platform is not is_settled


@pytest.mark.parametrize('domain_type, has_qemu', [
    ('hvm', True), ('unspecified', True), ('pv', False), ('pvh', False), ('pv_in_pvh', False),
    (None, True), (7, True), ([], True)])
def test_domain_type_tells_whether_there_is_a_qemu(domain_type, has_qemu):
    assert parse_vm(REF, build_raw(domain_type=domain_type)).has_qemu is has_qemu


def test_a_host_that_has_room_for_a_halted_vm_without_an_operation_awaits_it():
    scheduled = {'scheduled_to_be_resident_on': HOST}
    assert parse_vm(REF, build_raw(**scheduled)).is_awaited
    for other in ({'current_operations': {'OpaqueRef:task': 'start'}}, {'power_state': 'Running'},
                  {'scheduled_to_be_resident_on': 'OpaqueRef:NULL'}):
        assert not parse_vm(REF, build_raw(**dict(scheduled, **other))).is_awaited


@pytest.mark.parametrize('flag, kind', [
    pytest.param('is_a_template', VmKind.TEMPLATE, id='template'),
    pytest.param('is_default_template', VmKind.TEMPLATE, id='default-template'),
    pytest.param('is_a_snapshot', VmKind.SNAPSHOT, id='snapshot'),
    pytest.param('is_vmss_snapshot', VmKind.SNAPSHOT, id='scheduled-snapshot'),
    pytest.param('is_control_domain', VmKind.CONTROL_DOMAIN, id='control-domain')])
def test_each_flag_alone_makes_it_no_ordinary_vm(flag, kind):
    assert parse_vm(REF, build_raw(**{flag: True})).kind is kind


def test_snapshot_which_is_a_template_too_is_a_snapshot():
    assert parse_vm(REF, build_raw(is_a_template=True, is_a_snapshot=True)).kind is VmKind.SNAPSHOT


@pytest.mark.parametrize('field, value', [
    pytest.param('uuid', 'not-one', id='uuid'),
    pytest.param('uuid', '../' + UUID, id='uuid-with-a-path'),
    pytest.param('uuid', UUID + '\n', id='uuid-with-a-newline'),
    pytest.param('uuid', None, id='uuid-none'),
    pytest.param('name_label', ['x'], id='name-is-a-list'),
    pytest.param('power_state', 'running', id='power-state-in-lower-case'),
    pytest.param('power_state', [], id='power-state-is-a-list'),
    pytest.param('power_state', None, id='power-state-none'),
    pytest.param('is_a_template', 'false', id='flag-as-text'),
    pytest.param('is_a_snapshot', 0, id='flag-as-a-number'),
    pytest.param('platform', [], id='platform-is-a-list'),
    pytest.param('platform', '', id='platform-is-text'),
    pytest.param('platform', {'device-model-args': 5}, id='args-are-a-number'),
    pytest.param('current_operations', None, id='operations-none'),
    pytest.param('current_operations', {'OpaqueRef:a': {}}, id='operation-is-a-map'),
    pytest.param('blocked_operations', ['start'], id='blocks-are-a-list'),
    pytest.param('domid', '', id='domid-empty'),
    pytest.param('domid', '7x', id='domid-no-number'),
    pytest.param('domid', '9' * 5000, id='domid-endless'),
    pytest.param('domid', True, id='domid-is-a-flag'),
    pytest.param('domid', 7.5, id='domid-is-a-fraction'),
    pytest.param('resident_on', 7, id='host-is-a-number')])
def test_odd_field_is_named(field, value):
    with pytest.raises(MalformedRecord) as caught:
        parse_vm(REF, build_raw(**{field: value}))
    assert (caught.value.ref, caught.value.field) == (REF, field)


SAID_AGAIN = ('is_default_template', 'is_vmss_snapshot')


@pytest.mark.parametrize('field', SAID_AGAIN)
def test_flag_that_only_says_another_one_again_may_be_missing(field):
    raw = build_raw()
    del raw[field]
    assert parse_vm(REF, raw).kind is VmKind.VM


@pytest.mark.parametrize('field', sorted(set(build_raw()) - set(SAID_AGAIN)))
def test_missing_field_is_named(field):
    raw = build_raw()
    del raw[field]
    with pytest.raises(MalformedRecord) as caught:
        parse_vm(REF, raw)
    assert caught.value.field == field


@pytest.mark.parametrize('raw', [None, '', [], 7], ids=repr)
def test_record_that_is_no_map_is_malformed(raw):
    with pytest.raises(MalformedRecord, match='is not a map'):
        parse_vm(REF, raw)


def test_oversized_name_is_cut():
    assert len(parse_vm(REF, build_raw(name_label='x' * 200000)).name) == 1024


def test_odd_record_costs_only_itself():
    vms, malformed = parse_records({'OpaqueRef:1': build_raw(), 'OpaqueRef:2': build_raw(uuid=7),
                                    'OpaqueRef:3': build_raw(uuid=uuid_of(3))})
    assert [vm.ref for vm in vms] == ['OpaqueRef:1', 'OpaqueRef:3']
    assert [error.ref for error in malformed] == ['OpaqueRef:2']


# Batches.

def test_batch_holds_the_newest_of_each_vm_whatever_the_order():
    batch = parse_batch(answer(
        event('OpaqueRef:2', '30', uuid=uuid_of(2)), event('OpaqueRef:1', '20', name_label='new'),
        event('OpaqueRef:1', '10', name_label='old'), event('OpaqueRef:3', '40', 'del'),
        event('OpaqueRef:3', '5', uuid=uuid_of(3))), is_first=False)
    assert [(vm.ref, vm.name) for vm in batch.vms] == [('OpaqueRef:1', 'new'),
                                                       ('OpaqueRef:2', 'web-01')]
    assert (batch.gone, batch.token, batch.vm_count, batch.is_first) == (
        ('OpaqueRef:3',), '1,0', 3, False)


def test_ids_are_compared_as_numbers():
    batch = parse_batch(answer(event(REF, '10', name_label='new'),
                               event(REF, '9', name_label='old')), is_first=True)
    assert [vm.name for vm in batch.vms] == ['new'] and batch.is_first


@pytest.mark.parametrize('event_class', ['host', 'vm_metrics', None, 7])
def test_events_of_other_classes_are_ignored(event_class):
    batch = parse_batch(answer(dict(event(REF, '1'), **{'class': event_class})), is_first=False)
    assert batch.vms == batch.malformed == batch.gone == ()


@pytest.mark.parametrize('odd', [
    pytest.param('x', id='no-map'),
    pytest.param({'class': 'vm', 'id': '1', 'operation': 'mod', 'ref': ['x']}, id='ref-no-text'),
    pytest.param({}, id='empty')])
def test_event_that_names_no_vm_costs_nothing(odd):
    batch = parse_batch(answer(odd, event(REF, '1')), is_first=False)
    assert [vm.ref for vm in batch.vms] == [REF]


@pytest.mark.parametrize('event_id', ['', 'x', None, [], float('inf'), float('nan'), 7, '9' * 30],
                         ids=repr)
def test_odd_event_id_spoils_nothing(event_id):
    batch = parse_batch(answer(event(REF, event_id)), is_first=False)
    assert [vm.ref for vm in batch.vms] == [REF]


@pytest.mark.parametrize('counts, vm_count', [
    pytest.param({'vm': 7}, 7, id='number'), pytest.param({'vm': '7'}, 7, id='text'),
    pytest.param({}, None, id='without'), pytest.param(None, None, id='none'),
    pytest.param({'vm': 'x'}, None, id='no-number'),
    pytest.param({'vm': float('inf')}, None, id='infinite')])
def test_count_of_vms_is_read_when_it_is_one(counts, vm_count):
    assert parse_batch(answer(valid_ref_counts=counts), is_first=False).vm_count == vm_count


def test_event_without_a_snapshot_is_malformed_and_not_a_deletion():
    bare = event(REF, '1')
    del bare['snapshot']
    batch = parse_batch(answer(bare), is_first=False)
    assert batch.gone == () and [error.ref for error in batch.malformed] == [REF]


@pytest.mark.parametrize('odd', [
    pytest.param(None, id='none'), pytest.param('', id='text'), pytest.param([], id='list'),
    pytest.param({}, id='empty'), pytest.param({'events': []}, id='without-a-token'),
    pytest.param({'events': {}, 'token': ''}, id='events-are-a-map'),
    pytest.param({'events': [], 'token': 7}, id='token-is-a-number')])
def test_answer_that_is_no_batch_is_nonsense(odd):
    with pytest.raises(XapiNonsense):
        parse_batch(odd, is_first=True)


@pytest.mark.parametrize('other_config, mirror', [
    pytest.param({'vgpu-watcher-2': 'b', 'folder': '/x', 'vgpu-watcher-1': 'a'},
                 (('vgpu-watcher-1', 'a'), ('vgpu-watcher-2', 'b')), id='ours'),
    pytest.param({}, (), id='none'), pytest.param(None, (), id='null'),
    pytest.param('x', (), id='no-map'),
    pytest.param({'vgpu-watcher-1': 7, 'vgpu-watcher-2': 'b'}, (('vgpu-watcher-2', 'b'),),
                 id='no-text'),
    pytest.param({'vgpu-watcher-1': 'x' * 20000}, (('vgpu-watcher-1', 'x' * 9000),), id='long')])
def test_mirror_is_our_keys_in_other_config(other_config, mirror):
    """An odd map costs the mirror, and not the VM."""
    assert parse_vm(REF, build_raw(other_config=other_config)).mirror == mirror
    assert parse_vm(REF, build_raw()).mirror == ()


def pool_event(event_id, snapshot):
    return {'id': event_id, 'timestamp': '0.0', 'class': 'pool', 'operation': 'mod',
            'ref': 'OpaqueRef:pool', 'snapshot': snapshot}


def test_resource_pool_is_told_beside_the_vms():
    pool = {'uuid': UUID.upper(), 'master': HOST, 'other_config': {'vgpu-watcher-1': 'a'}}
    events = [pool_event(1, pool), pool_event(2, dict(pool, master='OpaqueRef:other')),
              event(REF, 3)]
    batch = parse_batch(answer(*events), is_first=True)
    assert batch.pools == (PoolRecord('OpaqueRef:pool', UUID, 'OpaqueRef:other',
                                      (('vgpu-watcher-1', 'a'),)),)
    assert [vm.ref for vm in batch.vms] == [REF] and not batch.gone and not batch.malformed


@pytest.mark.parametrize('snapshot', [
    None, 'x', {}, {'uuid': UUID}, {'uuid': 'x', 'master': HOST}, {'uuid': UUID, 'master': 1}])
def test_odd_record_of_a_resource_pool_is_as_none(snapshot):
    assert parse_batch(answer(pool_event(1, snapshot)), is_first=True).pools == ()
