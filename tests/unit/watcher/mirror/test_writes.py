"""The mirror's writes: what comes of one change of slots when XAPI does not play along."""

import pytest

from tests.unit.watcher.builders import build_vm, uuid_of
from watcher.errors import VmVanished, XapiFailure, XapiUnreachable
from watcher.mirror.slots import Change
from watcher.mirror.writes import POOL, VM, write_entry
from watcher.vm.record import PoolRecord

CHANGE = Change((), 'vgpu-watcher-1', 'text', ())
POOL_RECORD = PoolRecord('ref', uuid_of(1), 'host')


class Client:
    """One record, whose slot is taken already."""

    handle = 'OpaqueRef:session'

    def __init__(self, record):
        self.record = record

    def current(self):
        return self

    def add_to_other_config(self, *_words):
        raise XapiFailure('MAP_DUPLICATE_KEY')

    def read_vm(self, _ref):
        if isinstance(self.record, Exception):
            raise self.record
        return self.record

    read_pool = read_vm


@pytest.mark.parametrize('table, record', [(VM, build_vm()), (POOL, POOL_RECORD)])
def test_slot_that_is_taken_has_the_record_read_again(table, record):
    written = write_entry(Client(record), table, 'ref', CHANGE, lambda: True)
    assert (written.is_done, written.record, written.error) == (False, record, '')


def test_pool_whose_record_is_odd_is_an_error_and_so_is_waited_for():
    written = write_entry(Client(None), POOL, 'ref', CHANGE, lambda: True)
    assert written.record is None and 'cannot be understood' in written.error


def test_record_that_cannot_be_read_again_is_told():
    gone = write_entry(Client(VmVanished('HANDLE_INVALID')), VM, 'ref', CHANGE, lambda: True)
    lost = write_entry(Client(XapiUnreachable('cut')), VM, 'ref', CHANGE, lambda: True)
    assert gone.is_gone and not lost.is_gone and lost.error == 'cut'
