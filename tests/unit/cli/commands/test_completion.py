"""Completion knows every command, option and value of the grammar."""

from typing import List

import pytest

from cli.commandline import tab_completion
from cli.commandline.commands import COMMANDS, HIDDEN
from cli.commandline.completion_words import list_words
from cli.commandline.options import EVERYWHERE, VM_NAME
from cli.commands.completion import completion


def _complete(line: str) -> List[str]:
    return list_words('vgpu-admin ' + line, '/nowhere/at/all.db')


def test_every_command_is_offered_also_as_a_topic_of_help() -> None:
    names = {command.name for command in COMMANDS} - {HIDDEN}
    assert HIDDEN not in _complete('')
    assert names <= set(_complete('')) and names <= set(_complete('help '))


@pytest.mark.parametrize('command', COMMANDS, ids=[command.name for command in COMMANDS])
def test_every_option_word_and_value_is_offered(command: object) -> None:
    if command.name == 'help':
        return
    offered = _complete(command.name + ' ')
    flags = {option.flag + ('=' if option.placeholder else '')
             for option in command.options + EVERYWHERE}
    assert flags | set(command.words) <= set(offered)
    if command.operand is not None:
        assert set(command.operand.choices) <= set(offered)
    for option in command.options:
        if option.choices:
            for line in ('%s %s=', '%s %s '):
                assert _complete(line % (command.name, option.flag)) == list(option.choices)


def test_names_of_files_are_left_to_bash() -> None:
    assert '-o default' in completion(None, None).document['script']
    assert _complete('import --file=') == []


def test_commands_that_take_a_vm_as_a_bare_word_are_those_of_the_grammar() -> None:
    assert list(tab_completion.VM_COMMANDS) == sorted(
        command.name for command in COMMANDS if VM_NAME in command.options)


@pytest.mark.parametrize('line, flag', [
    ('show-vm we', '--vm-name'), ('--json show-vm we', '--vm-name'),
    ('set-pool web01 we', '--vm-name'), ('set-pool --pool=A we', None), ('set-pool --yes we', None),
    ('show-vm ', None), ('show-vm --vm', None), ('show-v', None), ('list-pools we', None),
    ('show-vm --vm-uuid ', '--vm-uuid'), ('transfer-vm --from=', '--vm-uuid'),
    ('transfer-vm --from=x --to ', '--vm-name')])
def test_vm_may_be_completed_as_a_bare_word(line: str, flag: object) -> None:
    assert tab_completion.find_flag('vgpu-admin ' + line) == flag
