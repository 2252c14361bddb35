"""What TAB offers: the commands, their options and values from the table, and VMs by
`tab_completion.py`; XAPI is never asked, and nothing of it imported.
"""

from typing import List, Optional, Sequence

from cli.commandline import tab_completion
from cli.commandline.commands import BY_NAME, COMMANDS, GROUPS, HIDDEN
from cli.commandline.options import EVERYWHERE, Option


def list_words(line: str, db: Optional[str] = None, config: Optional[str] = None) -> List[str]:
    """List what may stand where the line ends; the line's own --db and --config go before."""
    words = line.split(' ')[1:]
    paths = tab_completion.find_paths(line)
    db, config = paths.get('--db') or db, paths.get('--config') or config
    flag = tab_completion.find_flag(line)
    if flag is not None:
        return list(tab_completion.list_values(flag, line, db, config))
    command = next((BY_NAME[word] for word in words[:-1] if word in BY_NAME), None)
    last = words[-1] if words else ''
    name = last.partition('=')[0] if '=' in last else words[-2] if len(words) > 1 else ''
    known = EVERYWHERE + (command.options if command is not None else ())
    option = next((item for item in known if item.flag == name and item.placeholder), None)
    if option is not None:
        return list(option.choices)
    commands = [item.name for item in COMMANDS if item.name != HIDDEN]
    if command is None:
        return commands + _flags(EVERYWHERE)
    if command.name == 'help':
        return commands + [name for name in GROUPS if name not in BY_NAME] + _flags(known)
    operands = command.operand.choices if command.operand is not None else ()
    takes_vms = command.name in tab_completion.VM_COMMANDS
    names = tab_completion.list_values('--vm-name', line, db, config) if takes_vms else []
    return names + list(command.words + operands) + _flags(known)


def _flags(known: Sequence[Option]) -> List[str]:
    return [item.flag + ('=' if item.placeholder else '') for item in known]
