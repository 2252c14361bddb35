"""The small xe: its words, its layout, and what it says of a refusal."""

import pytest

from simulator.playground.xe_records import choose, is_snapshot, is_template, is_vm, layout, show
from simulator.playground.xe_words import UsageError, describe_refusal, parse

HOST = {'uuid': 'host-uuid', 'name_label': 'host-1'}
WEB = {'uuid': 'u1', 'name_label': 'web', 'power_state': 'Halted', 'resident_on': 'OpaqueRef:NULL',
       'is_a_template': False, 'is_a_snapshot': False, 'platform': {'vga': 'std', 'acpi': '1'},
       'allowed_operations': ['start', 'clone'], 'current_operations': {'task': 'start'}}
DB = dict(WEB, uuid='u2', name_label='db', power_state='Running', resident_on='host')
TABLES = {'VM': {'web': WEB, 'db': DB}, 'host': {'host': HOST}}


def test_words_are_read_as_xe_reads_them():
    words = parse(['vm-shutdown', 'vm=web', '--force', 'multiple=true', 'name-label=a=b'])
    assert words.command == 'vm-shutdown' and words.flags == {'force', 'multiple'}
    assert words.given == {'vm': 'web', 'name-label': 'a=b'}
    assert words.take('uuid', 'vm') == 'web'


@pytest.mark.parametrize('words', [[], ['vm-start', 'web']])
def test_what_is_no_command_line_is_refused(words):
    with pytest.raises(UsageError):
        parse(words)


def test_parameter_that_is_missing_is_named():
    with pytest.raises(UsageError, match='Required parameter not found: new-name-label'):
        parse(['vm-clone']).take('new-name-label')


def test_records_are_laid_out_as_xe_does_it():
    assert layout([[('uuid', ' RO', 'u1'), ('name-label', ' RW', 'web'),
                    ('power-state', ' RO', 'halted')]]) == (
        'uuid ( RO)           : u1\n     name-label ( RW): web\n'
        '    power-state ( RO): halted\n\n\n')
    assert layout([[('name-label', ' RW', 'web')]]) == 'name-label ( RW)    : web\n\n\n'


@pytest.mark.parametrize('name, text', [
    ('power-state', 'halted'), ('platform', 'acpi: 1; vga: std'), ('is-a-template', 'false'),
    ('allowed-operations', 'start; clone'), ('current-operations', 'start'),
    ('resident-on', '<not in database>')])
def test_values_are_spelled_as_xe_spells_them(name, text):
    assert show('VM', name, WEB, TABLES) == text


def test_reference_is_shown_as_the_uuid_of_its_row():
    assert show('VM', 'resident-on', DB, TABLES) == 'host-uuid'


@pytest.mark.parametrize('conditions, found', [
    ({}, ['db', 'web']), ({'power-state': 'running'}, ['db']), ({'name-label': 'nope'}, [])])
def test_rows_are_chosen_by_what_xe_shows_of_them(conditions, found):
    assert choose(TABLES['VM'], is_vm, 'VM', conditions, TABLES) == found


@pytest.mark.parametrize('fields, kinds', [
    ({}, (True, False, False)), ({'is_a_template': True}, (False, False, True)),
    ({'is_a_template': True, 'is_a_snapshot': True}, (False, True, False))])
def test_snapshots_are_templates_that_are_not_listed_as_such(fields, kinds):
    record = dict(WEB, **fields)
    assert (is_vm(record), is_snapshot(record), is_template(record)) == kinds


def test_refusal_names_what_is_known_by_reference():
    said = describe_refusal('VM_BAD_POWER_STATE', ['ref', 'halted', 'running'], {'ref': 'u1 (web)'})
    assert said.endswith('of the call.\nvm: u1 (web)\nexpected: halted\nactual: running')
    assert describe_refusal('ODD', ['ref', 'x'], {'ref': 'u1 (web)'}) == (
        'Error code: ODD\nError parameters: u1 (web), x')
