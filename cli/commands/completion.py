"""Shell completion: the script for bash, and the words that it asks for at each TAB.

The words come from the table of commands, those for VMs by `tab_completion.py` from the registry
file and from what the daemon wrote down; XAPI is never asked, and nothing of it imported.
"""

from typing import List, Sequence

from cli.commandline import options, tab_completion
from cli.commandline.commands import BY_NAME, COMMANDS, GROUPS
from cli.commandline.options import EVERYWHERE, Option
from cli.commandline.parser import Arguments
from cli.context import Context
from cli.output.result import Result, build_document, plain

# bash splits words at `=` as well: the script puts them together again, and gives back only
# what stands behind the last one.
_SCRIPT = r'''_vgpu_admin() {
    local line current reply
    line=${COMP_LINE:0:COMP_POINT}
    current=${COMP_WORDS[COMP_CWORD]}
    [ "$current" = "=" ] && current=
    COMPREPLY=()
    while IFS= read -r reply; do
        [[ $reply == "$current"* ]] && COMPREPLY+=("$reply")
    done < <(VGPU_ADMIN_LINE=$line vgpu-admin complete 2>/dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
# Where we know nothing, such as the name of a file, bash completes as usual.
complete -o default -F _vgpu_admin vgpu-admin'''


def completion(_arguments: Arguments, _context: Context) -> Result:
    """Print the script that teaches bash to complete."""
    return Result(build_document(script=_SCRIPT), plain(_SCRIPT.splitlines()),
                  is_data=True)


def complete(_arguments: Arguments, context: Context) -> Result:
    """Print the words that may stand at the end of a command line."""
    found = list_words(context.read_variable(tab_completion.LINE_VARIABLE), context)
    return Result(build_document(words=found), plain(found), minimal=tuple(found))


def list_words(line: str, context: Context) -> List[str]:
    """List what may stand where the line ends."""
    words = line.split(' ')[1:]
    flag = tab_completion.find_flag(line)
    if flag is not None:
        return _list_vms(str(flag), line, context)
    command = next((BY_NAME[word] for word in words[:-1] if word in BY_NAME), None)
    last = words[-1] if words else ''
    name = last.partition('=')[0] if '=' in last else words[-2] if len(words) > 1 else ''
    known = EVERYWHERE + (command.options if command is not None else ())
    option = next((item for item in known if item.flag == name and item.placeholder), None)
    if option is not None:
        return list(option.choices)
    if command is None:
        return [item.name for item in COMMANDS] + _flags(EVERYWHERE)
    if command.name == 'help':
        return [item.name for item in COMMANDS] + [name for name in GROUPS if name not in BY_NAME] \
            + _flags(known)
    operands = command.operand.choices if command.operand is not None else ()
    takes_vms = command.name in tab_completion.VM_COMMANDS
    names = _list_vms('--vm-name', line, context) if takes_vms else []
    return names + list(command.words + operands) + _flags(known)


def _flags(known: Sequence[Option]) -> List[str]:
    return [item.flag + ('=' if item.placeholder else '') for item in known]


def _list_vms(flag: str, line: str, context: Context) -> List[str]:
    """UUIDs or names of VMs; --config and --db are those of the line, then ours."""
    paths, arguments = tab_completion.find_paths(line), context.arguments
    return tab_completion.list_values(
        flag, line, paths.get('--db') or arguments.get(options.DB),
        paths.get('--config') or arguments.get(options.CONFIG))
