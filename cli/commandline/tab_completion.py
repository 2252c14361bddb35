"""What TAB offers where a VM is named, by an option or a bare word: the registry's UUIDs and names,
and, where the VM need not have a row, the names of all VMs, which the daemon keeps in /run.

A person waits for it with a finger on the key, so it imports next to nothing: not even the table of
commands, nor `typing`, which takes as long as the rest. All other words come from
`completion_words.py`.
"""

import os

from registry.quick_read import list_names

TYPE_CHECKING = False  # that of `typing`, which takes as long to import as all of this
if TYPE_CHECKING:
    from typing import Mapping

LINE_VARIABLE = 'VGPU_ADMIN_LINE'
# The configuration file where the command line names none.
CONFIG_VARIABLE = 'VGPU_CONFIG'
COMMAND = 'complete'
# The options that name a VM, and which of the two ways is meant.
_VM_FLAGS = {'--vm-uuid': '--vm-uuid', '--vm-name': '--vm-name', '--from': '--vm-uuid',
             '--to': '--vm-name'}
# Commands that take a VM as a bare word; a test compares them with the grammar.
VM_COMMANDS = ('apply-pending', 'explain', 'history', 'register-vm', 'remove-vm', 'set-pool',
               'set-priority', 'set-vm-id', 'show-vm', 'update-vm', 'watch')
# Those of them that are for VMs with a row, and nothing else has.
_ROW_COMMANDS = ('apply-pending', 'remove-vm', 'set-pool', 'set-priority', 'set-vm-id', 'update-vm')
# As xe people spell them, which goes with `=` only.
_XE_FLAGS = {'uuid': '--vm-uuid', 'vm-uuid': '--vm-uuid', 'name-label': '--vm-name',
             'vm-name': '--vm-name'}
# Those of watcher/config/settings.py, which is not imported for it; a test holds them together.
CONFIG_PATH = '/etc/vgpu/vgpu-watcher.conf'
REGISTRY_PATH = '/etc/vgpu/vgpu_config.db'
PROC = '/proc'
RUN_DIRECTORY = 'run/vgpu-watcher'
_NAMES = 'names'
_MAX_BYTES = 1 << 20


def find_offered(words: list, environment: 'Mapping[str, str]') -> 'list | None':
    """List what to offer; None when it takes the whole program to say."""
    line = environment.get(LINE_VARIABLE, '')
    paths = _read_paths(words)
    if paths is None:
        return None
    paths.update(find_paths(line))
    db, config = paths.get('--db'), paths.get('--config') or environment.get(CONFIG_VARIABLE)
    flag = find_flag(line)
    if flag is not None:
        return list_values(flag, line, db, config)
    # The table of commands, and nothing that parses or prints.
    from cli.commandline.completion_words import list_words
    return list_words(line, db, config)


def find_paths(line: str) -> dict:
    """Find the --config and --db of the line that is being typed."""
    paths, words = {}, line.split(' ')
    for number, word in enumerate(words[:-1]):
        flag, equals, value = word.partition('=')
        if flag in ('--config', '--db'):
            paths[flag] = value if equals else words[number + 1]
    return paths


def find_flag(line: str) -> 'str | None':
    """Find the option of a VM whose value stands where the line ends; None when it is another."""
    words = line.split(' ')[1:]
    last = words[-1] if words else ''
    if '=' in last:
        flag = last.partition('=')[0]
        return _XE_FLAGS.get(flag) or _VM_FLAGS.get(flag)
    flag = words[-2] if len(words) > 1 else ''
    if flag[:1] == '-':
        return _VM_FLAGS.get(flag)
    # A bare word that has been begun; before that, options are offered too.
    is_vm = last and last[:1] != '-' and [word for word in words[:-1] if word in VM_COMMANDS]
    return '--vm-name' if is_vm else None


def list_values(flag: str, line: str, db: 'str | None' = None,
                config: 'str | None' = None) -> list:
    """List the registry's UUIDs, or names: the registry's and, for some commands, XAPI's."""
    text = _read_text(config or CONFIG_PATH)
    rows = list_names(db or find_registry_path(text))
    if flag == '--vm-uuid':
        return [vm_uuid for vm_uuid, _name in rows]
    names = {name for _uuid, name in rows}
    if not [word for word in line.split(' ') if word in _ROW_COMMANDS]:
        names.update(_read_text(find_run_directory(text) + '/' + _NAMES).split('\n'))
    return sorted(filter(_is_plain, names))


def _is_plain(name: str) -> bool:
    """Whether a shell leaves a name whole; another is better typed by hand."""
    return name[:1] != '-' and name.replace('-', '').replace('.', '').replace('_', '').isalnum()


def find_registry_path(config: str) -> str:
    """Find where the registry is; the default when the file does not say so plainly."""
    return _find_value(config, '[registry]', 'path') or REGISTRY_PATH


def find_run_directory(config: str) -> str:
    """Find where the daemon keeps the names of all VMs, likewise."""
    proc = _find_value(config, '[host]', 'proc') or PROC
    return _find_value(config, '[consumer]', 'run_directory') or os.path.join(
        os.path.dirname(proc.rstrip('/')), RUN_DIRECTORY)


def _find_value(config: str, wanted: str, key: str) -> str:
    section = ''
    for line in config.splitlines():
        name, equals, value = line.partition('=')
        if line.startswith('['):
            section = line.rstrip()
        elif equals and section == wanted and name.rstrip() == key:
            return value.strip()
    return ''


def write(words: list) -> int:
    """Write one word a line; the exit status."""
    data = ''.join(word + '\n' for word in words).encode('utf-8')
    try:
        while data:
            data = data[os.write(1, data):]
    except OSError:
        pass  # bash has stopped reading
    return 0


def _read_paths(words: list) -> 'dict | None':
    """Take --config and --db from the command line; None when there is more on it."""
    paths, waiting = {}, [word for word in reversed(words) if word != COMMAND]
    while waiting:
        name, equals, value = waiting.pop().partition('=')
        if name not in ('--config', '--db') or not (equals or waiting):
            return None
        paths[name] = value if equals else waiting.pop()
    return paths


def _read_text(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MAX_BYTES).decode('utf-8')
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return ''
