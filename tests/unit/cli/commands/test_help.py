"""Help: the everyday commands on one screen, groups, and what each command's help has."""

import re
import shlex
from typing import List

import pytest

from cli.commandline.commands import BY_NAME, COMMANDS, FIRST_GROUPS, GROUPS
from cli.commandline.parser import parse
from cli.commands.help import list_examples, render_help, render_usage
from cli.commands.help_texts import TEXTS
from cli.errors import CommandError, ExitStatus
from cli.output.text import display_width


def test_every_command_is_in_one_group_and_has_its_prose() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(BY_NAME) == sorted(TEXTS)
    assert 15 <= sum(len(GROUPS[group]) for group in FIRST_GROUPS) <= 17


def test_help_fits_one_screen_and_leaves_a_line_for_the_prompt() -> None:
    lines = render_help(None)
    assert len(lines) <= 23 and all(display_width(line) <= 80 for line in lines)
    assert [line for line in lines if line.endswith(':')] == ['everyday:', 'see:', 'trouble:']


@pytest.mark.parametrize('group', list(GROUPS))
def test_a_group_has_its_commands_and_no_others(group: str) -> None:
    if group in BY_NAME:
        pytest.fail('the command of this name hides the group')
    shown = {line.split()[0] for line in render_help(group) if line.startswith('  ')}
    assert shown == set(GROUPS[group]) - {'complete'}


def test_help_of_all_names_every_command() -> None:
    text = '\n'.join(render_help('all'))
    assert [name for name in BY_NAME if name != 'complete'
            and not re.search('^  %s ' % name, text, re.MULTILINE)] == []


@pytest.mark.parametrize('command', [command.name for command in COMMANDS])
def test_no_word_is_broken_at_a_hyphen(command: str) -> None:
    assert [line for line in render_help(command, 80) if re.search(r'\w-$', line)] == []


@pytest.mark.parametrize('words', [
    ['help', 'set-weight'], ['--config', '/x', 'set-weight', 'web', '--weight=3'],
    ['set-rate-limit'], ['set-queue-depth'], ['quarantine-vm'], ['unquarantine-vm', 'web']])
def test_a_command_of_the_earlier_tool_is_answered_with_what_it_was(words: List[str]) -> None:
    with pytest.raises(CommandError, match='scheduler command of the earlier tool') as caught:
        parse(words)
    assert caught.value.status is ExitStatus.USAGE


@pytest.mark.parametrize('words', [['migrate'], ['generate-report'], ['shwo-vm', 'strategy'],
                                   ['list-vmss', 'integrate'], ['rate'], ['-queue']])
def test_what_only_looks_like_one_is_an_unknown_word(words: List[str]) -> None:
    with pytest.raises(CommandError, match='unknown') as caught:
        parse(words)
    assert 'earlier tool' not in str(caught.value)



@pytest.mark.parametrize('name', ['unregister-vm', 'deregister-vm', 'delete-vm', 'destroy-vm'])
def test_whoever_wants_a_vm_gone_is_not_told_to_register_it(name: str) -> None:
    with pytest.raises(CommandError, match="did you mean 'remove-vm'"):
        parse([name, 'web01'])


@pytest.mark.parametrize('command', COMMANDS, ids=[command.name for command in COMMANDS])
def test_the_help_of_a_command(command: object) -> None:
    """Real usage, a meaning of two or three sentences, and examples that are understood."""
    text = '\n'.join(render_help(command.name))
    assert text.startswith('usage: vgpu-admin %s' % command.name)
    assert 1 <= len(re.findall(r'[.](?= |$)', TEXTS[command.name].meaning)) <= 3
    examples = list_examples(command)
    assert 1 <= len(examples) <= 3 and len(set(examples)) == len(examples)
    for example in examples:
        assert '  vgpu-admin ' + example in text
        assert parse(shlex.split(example.partition(' > ')[0])).command is command
    for option in command.options:
        assert option is command.operand or option.shown in text


@pytest.mark.parametrize('name, usage', [
    ('backup', 'backup FILE'), ('export', 'export [FILE] [--format=json|csv]'),
    ('fence', 'fence clear'), ('history', 'history [VM] [--since=TIME] [--until=TIME] '
                                          '[--who=NAME] [--limit=N]'),
    ('set-pool', 'set-pool VM... --pool=A|B [--yes] [--no-restart] [--force] '
                 '[--timeout=SECONDS] [--no-wait] [--verbose] [--dry-run]'),
    ('registry', 'registry compare|rebuild|keep|copies [--source=mirror|history|FILE] '
                 '[--at=TIME] [--yes] [--no-wait] [--dry-run] [--exit-code]'),
    ('update-pool', 'update-pool --pool-id=A|B [--name=TEXT] [--description=TEXT] '
                    '[--enable | --disable] [--yes] [--no-wait] [--verbose] [--dry-run]')])
def test_usage_is_what_is_typed(name: str, usage: str) -> None:
    assert render_usage(BY_NAME[name]) == usage


def test_what_is_usual_comes_first_and_what_cannot_be_taken_back_last() -> None:
    first = {name: list_examples(BY_NAME[name])[0] for name in BY_NAME}
    assert {name: first[name] for name in ('init', 'remove-vm', 'status', 'registry')} == {
        'init': 'init', 'remove-vm': 'remove-vm web01', 'status': 'status',
        'registry': 'registry compare'}
    assert list_examples(BY_NAME['init'])[-1] == 'init --empty'


def test_help_says_what_stands_for_what_is_left_out() -> None:
    text = '\n'.join(render_help('register-vm', 200))
    for said in ('the vGPU pool (A)', 'the priority (medium)', '(one more than the largest so far)'):
        assert said in text
    assert render_usage(BY_NAME['help']) == 'help [COMMAND | GROUP] [--all]'
