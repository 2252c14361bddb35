"""The lineage: which generations the registry has been at, bounded, and in old journals."""

import os

from registry.journal import generations
from registry.journal.journal import Journal
from registry.schema import JOURNAL_MIGRATIONS, JOURNAL_VERSION
from registry.values import Image
from tests.unit.registry.helpers import other_program, uuid_of


def test_empty_lineage_has_no_generation(journal):
    assert (journal.lineage(), journal.generation()) == ((), None)


def test_newest_generation_stands_last_with_its_digest(journal):
    journal.note_generation('1-aaaaaaaa', 'first')
    journal.note_generation('2-bbbbbbbb', 'second')
    assert journal.lineage() == ('1-aaaaaaaa', '2-bbbbbbbb')
    assert journal.generation() == ('2-bbbbbbbb', 'second')


def test_generation_noted_again_becomes_the_newest_once(journal):
    for generation, digest in (('1-a', 'x'), ('2-b', 'y'), ('1-a', 'z')):
        journal.note_generation(generation, digest)
    assert journal.lineage() == ('2-b', '1-a')
    assert journal.generation() == ('1-a', 'z')


def test_generation_made_here_is_told_from_one_that_was_taken_over(journal):
    assert not journal.has_own_generation()
    journal.note_generation('1-a', 'x')
    assert journal.has_own_generation()
    journal.note_generation('2-b', 'y', is_own=False)
    assert not journal.has_own_generation()


def test_generation_that_is_taken_over_brings_those_that_it_came_from(journal):
    journal.note_generation('1-a', 'x')
    journal.note_generation('4-d', 'y', is_own=False, line=('1-a', '2-b', '3-c'))
    assert journal.lineage() == ('1-a', '2-b', '3-c', '4-d')
    assert journal.generation() == ('4-d', 'y')


def test_lineage_is_bounded(journal, monkeypatch):
    monkeypatch.setattr(generations, 'LINEAGE_ROWS', 5)
    for number in range(12):
        journal.note_generation(f'{number}-x', 'd')
    assert journal.lineage() == tuple(f'{number}-x' for number in range(7, 12))


def test_lineage_is_undone_with_its_batch(journal):
    try:
        with journal.batch():
            journal.note_generation('1-a', 'x')
            raise KeyError
    except KeyError:
        pass
    assert journal.lineage() == ()


def test_journal_of_the_first_version_gets_a_lineage_and_loses_nothing(tmp_path):
    path = str(tmp_path / 'vgpu_journal.db')
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    with other_program(path) as connection:
        for statement in JOURNAL_MIGRATIONS[0][1]:
            connection.execute(statement)
        connection.execute("INSERT INTO notes (key, value) VALUES ('a', 'b')")
        connection.execute("INSERT INTO staged VALUES ('u', 4, 'span', 1, 'then')")
        connection.execute("INSERT INTO staged VALUES ('v', 5, 'span', 2, 'then')")
        for uuid, number in (('u', 4), ('v', 6)):
            connection.execute("INSERT INTO seen_vms VALUES ('f', ?, ?, '', 'A', 1)",
                               (uuid, number))
    with Journal(path, timeout_seconds=0.25) as journal:
        assert journal.lineage() == ()
        journal.note_generation('1-a', 'x')
        assert (journal.read_note('a'), journal.staged()['u'].vm_id) == ('b', 4)
        assert journal.claims() == {4: 1}  # 6 was never staged: who was first is not known
    with other_program(path) as connection:
        assert connection.execute('PRAGMA user_version').fetchone() == (JOURNAL_VERSION,)


def test_what_is_as_it_was_again_does_not_wait_to_be_mirrored(registry, journal):
    """Rows that were lost and brought back are in the mirror: nothing more is to be written."""
    with registry.edit(who='me', command='x') as edit:
        for number in (1, 2, 3):
            edit.add_vm(uuid_of(number))
    journal.note_generation('1-aaaaaaaa', 'x')
    image = Image(registry.read().vms, registry.read().pools, 3)
    with other_program(registry.path) as connection:
        connection.execute('DELETE FROM vms')
    registry.replace_contents(image, who='me', command='registry rebuild', keep_copy=False)
    assert journal.waiting_edits() == 0
    for pool_id, waiting in (('B', 1), ('A', 0)):
        with registry.edit(who='me', command='set-pool') as edit:
            edit.change_vm(uuid_of(1), pool_id=pool_id)
        assert journal.waiting_edits() == waiting
    for name, waiting in (('Render', 1), ('Pool A', 0)):
        with registry.edit(who='me', command='set-pool-name') as edit:
            edit.change_pool('A', pool_name=name)
        assert journal.waiting_edits() == waiting
