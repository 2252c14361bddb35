"""What becomes of rows and vGPU pools, as it is shown."""

import pytest

from cli.effects.proposals import describe_difference, list_row, invert
from registry.difference import (ADDED, CHANGED, MENDED, MOVED, REMOVED, Difference, PoolChange,
                                 RowChange)
from registry.values import Pool, Priority, Vm

WEB = Vm(1, 'd8f33418-0000-4000-8000-000000000001', 'web01', 'A', Priority.MEDIUM)
COPY = WEB._replace(vm_uuid='d8f33418-0000-4000-8000-000000000002', vm_name='copy')
B = WEB._replace(pool_id='B', vm_id=7)


@pytest.mark.parametrize('row,said', [
    (RowChange(ADDED, None, WEB), f'added    web01 ({WEB.vm_uuid}): pool A, priority medium, vm_id 1'),
    (RowChange(REMOVED, WEB, None),
     f'removed  web01 ({WEB.vm_uuid}): pool A, priority medium, vm_id 1'),
    (RowChange(CHANGED, WEB, B), f'changed  web01 ({WEB.vm_uuid}): pool A → B, vm_id 1 → 7'),
    (RowChange(MOVED, WEB, COPY), f'moved    web01 ({WEB.vm_uuid}) → copy ({COPY.vm_uuid}): '
     'pool A, priority medium, vm_id 1'),
    (RowChange(MENDED, WEB, WEB, 'no pool'), f'mended   web01 ({WEB.vm_uuid}): a row that is '
     'not valid (no pool) → pool A, priority medium, vm_id 1'),
    (RowChange(CHANGED, WEB._replace(vm_name=None), WEB._replace(vm_name='a\x1b')),
     f'changed  a\\x1b ({WEB.vm_uuid}): name - → a\\x1b'),
    (RowChange(ADDED, None, WEB._replace(vm_name='\x1b[31m')),
     f'added    \\x1b[31m ({WEB.vm_uuid}): pool A, priority medium, vm_id 1')])
def test_a_row_is_told_by_name_with_what_was_and_what_is(row: RowChange, said: str) -> None:
    assert list_row(row) == said


def test_a_difference_is_turned_round() -> None:
    there = Difference((RowChange(ADDED, None, WEB), RowChange(CHANGED, WEB, B),
                        RowChange(REMOVED, COPY, None)),
                       (PoolChange(Pool('A', 'Pool A'), Pool('A', 'Fast')),))
    assert [line.split(' (')[0] for line in describe_difference(invert(there))] == [
        'removed  web01', 'changed  web01', 'added    copy',
        'changed  vGPU pool A: name Fast → Pool A']
    assert invert(invert(there)) == there
