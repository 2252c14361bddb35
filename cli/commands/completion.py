"""Shell completion: the script for bash, and the words that it asks for at each TAB."""

from cli.commandline import options, tab_completion
from cli.commandline.completion_words import list_words
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
    found = list_words(context.read_variable(tab_completion.LINE_VARIABLE),
                       context.arguments.get(options.DB), context.arguments.get(options.CONFIG))
    return Result(build_document(words=found), plain(found), minimal=tuple(found))
