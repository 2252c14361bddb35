"""The command line as data."""

import pytest

from cli.commandline import options
from cli.commandline.commands import BY_NAME, COMMANDS
from cli.commandline.parser import parse
from cli.errors import CommandError, ExitStatus
from registry.values import Priority

UUID = '0a0b0c0d-1111-2222-3333-444455556666'


@pytest.mark.parametrize('words', [
    pytest.param(['set-pool', '--vm-uuid=' + UUID, '--pool=B'], id='equals'),
    pytest.param(['set-pool', '--vm-uuid', UUID, '--pool', 'B'], id='blanks'),
    pytest.param(['--pool', 'B', 'set-pool', '--vm-uuid', UUID.upper()], id='before'),
    pytest.param(['set-pool', 'uuid=' + UUID, '--pool=B'], id='xe'),
])
def test_options_have_one_meaning_in_every_spelling(words: list) -> None:
    arguments = parse(words)
    assert arguments.command.name == 'set-pool'
    assert (arguments.get(options.VM_UUID), arguments.get(options.POOL)) == (UUID, 'B')


def test_values_become_what_they_mean() -> None:
    arguments = parse(['update-vm', '--vm-name=a=b', '--priority=low', '--vm-id=7'])
    assert arguments.get(options.VM_NAME) == 'a=b'
    assert arguments.get(options.PRIORITY) is Priority.LOW
    assert arguments.get(options.VM_ID) == 7


def test_a_name_that_begins_like_an_option_is_given_with_equals() -> None:
    assert parse(['show-vm', '--vm-name=--json']).get(options.VM_NAME) == '--json'
    with pytest.raises(CommandError):
        parse(['show-vm', '--vm-name', '--json'])


def test_a_file_may_stand_without_its_option() -> None:
    assert parse(['backup', '/x']).get(options.FILE) == '/x'
    assert parse(['import', '-']).get(options.FILE) == '-'
    with pytest.raises(CommandError):
        parse(['backup', '/x', '/y'])
    with pytest.raises(CommandError):
        parse(['backup', '/x', '--file=/y'])


@pytest.mark.parametrize('words', [
    ['set-pool', '-x'], ['set-pool', '---pool=A'], ['list-vms', '--pool='],
    ['list-vms', '--json', '--minimal'], ['show-vm', '--vm-name='], ['history', '--limit=0'],
    ['remove-vm', '--vm-name=x', '--restart', '--no-restart'], ['help', 'nothing'],
    ['set-pool', 'colour=red', '--vm-name=x', '--pool=A'],
])
def test_what_is_not_understood_is_a_usage_error(words: list) -> None:
    with pytest.raises(CommandError) as caught:
        parse(words)
    assert caught.value.status is ExitStatus.USAGE


@pytest.mark.parametrize('words, said', [
    (['set-pool', '--vm-name=x', '--pool=C'], "--pool: 'C' is not a vGPU pool; allowed: A, B"),
    (['set-pool', '--vm-name=x'], 'set-pool needs --pool=A|B'),
    (['export', '--format=cvs'], "--format: 'cvs' is not understood; allowed: json, csv; did you "
                                 "mean 'csv'?"),
    (['list-vms', '--json', '--minimal'], '--minimal and --json exclude each other'),
    (['registry'], 'registry needs compare|rebuild|keep|copies'),
    (['registry', 'kep'], "registry: 'kep' is not understood; allowed: compare, rebuild, keep, "
                          "copies; did you mean 'keep'?"),
    (['consumer'], 'consumer needs enable|disable|pause|resume|status'),
    (['restore'], 'restore needs FILE or --at=TIME'),
    (['update-vm', 'x'], 'update-vm needs at least one of --pool=A|B, --priority=low|medium|high, '
                         '--vm-id=N'),
    (['set-vm-id', 'x', 'y', '--vm-id=9'], 'vm_id 9 can be that of one VM only: name one; nothing '
                                           'was changed'),
    (['transfer-vm', '--from=x', '--to=y'], "--from: 'x' is not a UUID; allowed: 32 hexadecimal "
                                            'digits in the form '
                                            'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx'),
    (['show-vm', 'x', 'y'], "show-vm takes one VM; 'y' is one too many; example: vgpu-admin show-vm "
                            'web01 --json'),
    (['show-vm', '--vm-name=x', 'y'], "show-vm takes one VM; 'y' is one too many; example: "
                                      'vgpu-admin show-vm web01 --json'),
    (['backup', 'x', 'y'], "backup takes one FILE; 'y' is one too many; example: vgpu-admin backup "
                           '/root/vgpu.json'),
    (['list-pools', 'x'], "list-pools takes options only, not 'x'; example: vgpu-admin list-pools"),
    (['list-vms', '--pool', '--json'], '--pool needs a value: --pool=A|B'),
    (['list-vms', '--pool=--'], "--pool: '--' is not a vGPU pool; allowed: A, B"),
    (['export', '--format=--'], "--format: '--' is not understood; allowed: json, csv"),
    (['list-vms', '--pool=A', '--pool=A'], '--pool is given twice'),
    (['help', 'show-vm', 'set-pool'], "help is for one command or group at a time; 'set-pool' is "
                                      'one too many'),
    (['help', 'consumer', 'status', 'x'], "help is for one command or group at a time; 'status' is "
                                          'one too many'),
])
def test_what_argparse_finds_is_said_in_our_words(words: list, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(words)
    assert str(caught.value) == said


def test_help_is_for_a_command_with_the_words_behind_it() -> None:
    for words in (['consumer', 'enable'], ['registry', 'keep'], ['fence', 'clear'], ['see']):
        assert parse(['help'] + words).topic == words[0]


def test_values_that_look_like_something_else_are_values() -> None:
    assert parse(['history', '--who', '-5']).get(options.WHO) == '-5'
    assert parse(['history', '--who=%(prog)s']).get(options.WHO) == '%(prog)s'
    assert parse(['history', '--who=@/etc/passwd']).get(options.WHO) == '@/etc/passwd'
    assert parse(['show-vm', '--', '--json']).get(options.VM_NAME) == '--json'
    assert parse(['backup', '--file=--']).get(options.FILE) == '--'
    assert parse(['remove-vm', '--', '--', 'a']).get(options.VMS) == ['--', 'a']


def test_every_command_can_be_imported_and_shows_a_good_example() -> None:
    import importlib
    import shlex
    for command in COMMANDS:
        assert callable(getattr(importlib.import_module('cli.' + command.module), command.function))
        words = shlex.split(command.example.partition(' > ')[0])
        assert parse(words).command is command
    assert len(BY_NAME) == len(COMMANDS)
