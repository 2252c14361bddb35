"""The mirror's writes: what comes of one change of slots when XAPI does not play along."""

import pytest

from tests.unit.watcher.builders import build_vm, uuid_of
from tests.unit.watcher.steps import AtOnce
from watcher.mirror.complaints import Complaints
from watcher.errors import VmVanished, XapiFailure, XapiUnreachable
from watcher.loop.steps import run
from watcher.mirror.slots import SlotChange
from watcher.mirror.writes import POOL, VM, write_entry
from watcher.vm.record import PoolRecord

CHANGE = SlotChange((), 'vgpu-watcher-1', 'text', ())
POOL_RECORD = PoolRecord('ref', uuid_of(1), 'host')


class Client:
    """One record, whose slot is taken already."""

    handle = 'OpaqueRef:session'

    def __init__(self, record):
        self.record = record

    def add_to_other_config(self, *_words):
        raise XapiFailure('MAP_DUPLICATE_KEY')

    def read_vm(self, _ref):
        if isinstance(self.record, Exception):
            raise self.record
        return self.record

    read_pool = read_vm


def write(client, table):
    return run(write_entry(AtOnce(client), table, 'ref', CHANGE))


@pytest.mark.parametrize('table, record', [(VM, build_vm()), (POOL, POOL_RECORD)])
def test_slot_that_is_taken_has_the_record_read_again(table, record):
    written = write(Client(record), table)
    assert (written.is_done, written.record, written.error) == (False, record, '')


def test_pool_whose_record_is_odd_is_an_error_and_so_is_waited_for():
    written = write(Client(None), POOL)
    assert written.record is None and 'cannot be understood' in written.error


def test_record_that_cannot_be_read_again_is_told():
    gone = write(Client(VmVanished('HANDLE_INVALID')), VM)
    lost = write(Client(XapiUnreachable('cut')), VM)
    assert gone.is_gone and not lost.is_gone and lost.error == 'cut'


def test_failures_are_told_once_a_minute_for_each_kind_whatever_xapi_says_of_them(log_output):
    complaints = Complaints()
    for second in range(61):
        complaints.failed('VM', 'ref', f'INTERNAL_ERROR: Unix_error({second})', 1.0, 100.0 + second)
        complaints.failed('VM', 'ref', 'VM.add_to_other_config: timed out', 1.0, 100.0 + second)
    assert [line['held_back'] for line in log_output] == [0, 0, 59, 59]
