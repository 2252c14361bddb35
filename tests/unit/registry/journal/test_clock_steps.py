"""Times that a clock wrote which was wrong, and what they were really."""

import sqlite3

import pytest

from registry.errors import NotFound
from registry.journal.clock_steps import (KEPT, ClockStep, build_step, correct, describe_span,
                                          render_corrected)
from registry.journal.journal import Journal
from registry.journal.receipts import Boot
from registry.sqlite.timestamps import render_timestamp
from registry.store import Registry
from tests.unit.registry.helpers import uuid_of

# A host that booted in 2000, and was stepped after ten minutes.
STEP = ClockStep('2000-01-01 00:00:00', '2000-01-01 00:10:00', '2026-11-29 08:00:00')
# Somebody sets the clock to another year by mistake, and back.
MISTAKE = (ClockStep('2026-11-01 00:00:00', '2026-11-29 08:00:00', '2027-11-29 08:00:00'),
           ClockStep('2027-11-01 00:00:00', '2027-11-29 08:30:00', '2026-11-29 08:30:00'))
TIMES = [
    ('2000-01-01 00:04:00', (STEP,), '2026-11-29 07:54:00'),
    ('2000-01-01 00:10:00', (STEP,), '2026-11-29 08:00:00'),
    ('2026-11-28 07:00:00', (STEP,), '2026-11-28 07:00:00'),
    ('2026-11-29 08:00:01', (STEP,), '2026-11-29 08:00:01'),
    ('1999-12-31 23:59:59', (STEP,), '1999-12-31 23:59:59'),
    ('2026-11-20 00:00:00', MISTAKE, '2026-11-20 00:00:00'),
    ('2027-11-29 08:10:00', MISTAKE, '2026-11-29 08:10:00'),
    ('2026-11-29 09:00:00', MISTAKE, '2026-11-29 09:00:00')]


@pytest.mark.parametrize('at, steps, right', TIMES)
def test_time_counts_for_when_it_was_written(at, steps, right):
    assert correct(at, steps) == right


@pytest.mark.parametrize('at, steps, right', TIMES)
def test_statement_says_the_same(at, steps, right):
    connection = sqlite3.connect(':memory:')
    connection.execute('CREATE TABLE t (at TEXT)')
    connection.execute('INSERT INTO t VALUES (?)', (at,))
    rows = connection.execute('SELECT %s FROM t' % render_corrected('at', steps)).fetchall()
    connection.close()
    assert rows == [(right,)]


def test_step_reaches_back_to_the_boot_of_the_host():
    step = build_step(1000.0, 1000.0 + 40 * 86400, 600.0)
    assert step == ClockStep('1970-01-01 00:06:40', '1970-01-01 00:16:40', '1970-02-10 00:16:40')
    assert step.seconds == 40 * 86400


@pytest.mark.parametrize('seconds, words', [
    (26.9 * 365.25 * 86400, '26 years'), (366 * 86400, '1 year'), (40 * 86400, '40 days'),
    (7200, '2 hours'), (61, '1 minute'), (5, '5 seconds'), (0.3, 'less than a second')])
def test_length_of_time_in_words(seconds, words):
    assert describe_span(seconds) == words


def test_step_in_words():
    assert STEP.describe() == ('the clock was stepped forward by 26 years at '
                               '2026-11-29 08:00:00Z')
    assert MISTAKE[1].describe() == ('the clock was stepped back by 365 days at '
                                     '2026-11-29 08:30:00Z')


def boot_at(journal, at):
    journal.open_boot(Boot(id=0, vm_uuid=uuid_of(1), vm_name='a', kind='start', host=None,
                           domid=None, boot_id=None, task=None, opened_at=at, closed_at=at,
                           verdict='as_desired'))


def test_history_receipts_and_past_go_by_the_right_times(registry, journal, clock):
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    before = clock.now
    # The host boots with a dead battery; a minute later an edit, and then its clock is set.
    clock.now = 946684860.0
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(2))
    boot_at(journal, '2000-01-01 00:01:00')
    asked_for = render_timestamp(before + 86400)
    journal.note_clock_step(build_step(clock.now + 60, before + 2 * 86400, 120.0))
    assert [entry.what for entry in journal.list_history(since=asked_for)] == [
        'clock_stepped', 'vm_added']
    assert [entry.vm_uuid for entry in journal.list_history(until=asked_for)
            if entry.what == 'vm_added'] == [uuid_of(1)]
    assert journal.count_verdicts(asked_for) == {'as_desired': 1}
    assert [vm.vm_uuid for vm in journal.past('vgpu_config.db', asked_for).vms] == [uuid_of(1)]


@pytest.mark.parametrize('wrong', [100.0, 2587500000.0], ids=['1970', '2051'])
def test_history_that_began_by_a_wrong_clock_begins_when_it_really_did(tmp_path, clock, wrong):
    right, clock.now = clock.now, wrong
    registry = Registry(str(tmp_path / 'new.db'), timeout_seconds=1.0, clock=clock)
    registry.create('me')
    with registry.edit(who='me', command='x') as edit:
        edit.add_vm(uuid_of(1))
    clock.now += 60
    with Journal(registry.journal_path, timeout_seconds=1.0, clock=clock) as journal:
        journal.note_clock_step(build_step(clock.now, right, 90.0))
        past = journal.past('new.db', render_timestamp(right - 30))
        assert [vm.vm_uuid for vm in past.vms] == [uuid_of(1)]
        with pytest.raises(NotFound, match='it begins at ' + render_timestamp(right - 60)):
            journal.past('new.db', render_timestamp(right - 90))


def test_small_step_stands_in_the_history_and_changes_no_time(journal):
    journal.note_clock_step(build_step(1000.0, 4600.0, 600.0))
    assert journal.list_history()[0].what == 'clock_stepped'
    assert journal.clock_steps() == ()


def test_steps_are_bounded(journal):
    for number in range(KEPT + 5):
        journal.note_clock_step(build_step(1e6 * number, 1e6 * (number + 1), 600.0))
    assert len(journal.clock_steps()) == KEPT


@pytest.mark.parametrize('text', [
    'nonsense', '1', '[1]', '[["a", "b"]]', '[["", "", ""]]', '[[1, 2, 3]]',
    '[["2000-01-01 00:00:00", "2000-01-01 00:10:00", "x\'); drop table notes; --"]]',
    '[["2000-1-1 00:00:00", "2000-01-01 00:10:00", "2026-11-29 08:00:00"]]'])
def test_note_that_is_none_says_nothing(journal, text):
    journal.write_note('clock_steps', text)
    assert journal.clock_steps() == ()
    assert [entry.what for entry in journal.list_history(since='2000-01-01 00:00:00')] == [
        'registry_created']
