"""Where a command belongs: on the master of the pool, or on the host where it is typed.

The registry of record and the journal of the pool's boots are the master's. On a member the
commands of `EDITS` and `VIEWS` are forwarded (`forward.py`); an edit that cannot be is refused,
a view shows what this host has. `backup` and `export` to a file are done here, with what the master
says (`master_registry.py`).
"""

from cli.commandline import options
from cli.commandline.parser import Arguments

EDITS = frozenset([
    'register-vm', 'remove-vm', 'set-pool', 'set-priority', 'set-vm-id', 'update-vm',
    'update-pool', 'set-pool-name', 'set-pool-description', 'enable-pool', 'disable-pool',
    'import', 'restore', 'adopt', 'init', 'accept', 'reconcile', 'transfer-vm'])
VIEWS = frozenset(['show-vm', 'list-vms', 'list-pools', 'show-pool', 'scan-vms', 'status',
                   'history', 'explain', 'plan', 'export'])
# About this host, its files or its terminal. apply-pending takes long, and Ctrl-C must reach it: it
# runs on the master only, and is never forwarded.
HERE = frozenset(['apply-pending', 'watch', 'verify', 'backup', 'check', 'fence', 'registry',
                  'consumer', 'doctor', 'completion', 'complete', 'help', 'version'])


def is_edit(arguments: Arguments) -> bool:
    """Whether a command changes the registry, and nothing else before that."""
    return arguments.command is not None and arguments.topic is None and (
        arguments.command.name in EDITS - {'reconcile'} or arguments.command.name == 'registry')


def belongs_to_master(arguments: Arguments) -> bool:
    """Whether a command is for the registry of record, and names no file of this host."""
    command = arguments.command
    if command is None or arguments.topic is not None or arguments.get(options.DB):
        return False
    is_written_here = command.name == 'export' and arguments.get(options.FILE) not in (None, '-')
    return command.name in EDITS | VIEWS and not is_written_here
