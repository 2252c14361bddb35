"""The small xe of the playground: as much of XAPI's command line as it takes to try the service.

It prints what xe prints, and knows the commands of xe_commands.py only.
"""

import sys
from typing import List, Sequence

from simulator.demo.xapi_client import Refused, Unreachable, Xapi
from simulator.playground.xe_commands import COMMANDS, Pool
from simulator.playground.xe_words import FLAGS, Refusal, UsageError, describe_refusal, parse

COMPLETE = 'complete'


def main(words: Sequence[str], socket: str) -> int:
    """Run one command; its exit status."""
    if list(words[:1]) == [COMPLETE]:
        print('\n'.join(list_words(words[1], socket)))
        return 0
    if list(words[:1]) in (['help'], ['--help']):
        print(render_help())
        return 0
    try:
        sys.stdout.write(_run(words, Xapi(socket)))
    except UsageError as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except Unreachable:
        print('Error: Connection refused (calling connect )', file=sys.stderr)
        return 1
    return 0


def render_help() -> str:
    """List the commands."""
    width = max(map(len, COMMANDS))
    return '\n'.join(['This xe knows these commands only:'] + [
        f'  {name.ljust(width)}  {command.summary}: '
        + ' '.join(f'{item}=' for item in command.parameters)
        for name, command in COMMANDS.items()])


def list_words(line: str, socket: str) -> List[str]:
    """List what may stand at the end of a command line that is being typed."""
    words = line.split(' ')[1:]
    if len(words) < 2:
        return list(COMMANDS)
    command = COMMANDS.get(words[0])
    if command is None:
        return []
    name, equals, _value = words[-1].partition('=')
    if not equals:
        return [item + ('' if ':' in item else '=') for item in command.parameters] + list(FLAGS)
    return _list_values(words[0], name, Pool(Xapi(socket)))


def _list_values(command: str, name: str, pool: Pool) -> List[str]:
    is_snapshot = name == 'snapshot-uuid' or command.startswith('snapshot-')
    rows = [row for row in pool.vms.values() if row['is_a_snapshot'] == is_snapshot
            and (is_snapshot or not row['is_a_template'])]
    if name in ('uuid', 'snapshot-uuid'):
        return sorted(row['uuid'] for row in rows)
    if name in ('vm', 'name-label'):
        return sorted(row['name_label'] for row in rows if ' ' not in row['name_label'])
    if name in ('host', 'on'):
        return sorted(row['name_label'] for row in pool.tables['host'].values())
    return {'power-state': ['halted', 'running', 'suspended'], 'param-name': ['platform'],
            'param-key': ['device-model-args']}.get(name, [])


def _run(words: Sequence[str], xapi: Xapi) -> str:
    parsed = parse(words)
    command = COMMANDS.get(parsed.command)
    if command is None:
        raise UsageError(f'Unknown command: {parsed.command}; xe help lists those of this xe')
    pool = Pool(xapi)
    try:
        return command.run(pool, parsed)
    except Refused as refused:
        names = {ref: f'{row["uuid"]} ({row["name_label"]})' for ref, row in pool.vms.items()}
        raise Refusal(describe_refusal(refused.code, refused.params, names)) from refused
