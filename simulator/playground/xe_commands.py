"""The commands of the small xe: what each asks XAPI to do, and what it prints."""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from simulator.database.rows import NULL
from simulator.demo.xapi_client import Xapi
from simulator.playground import xe_records
from simulator.playground.xe_records import FIELDS
from simulator.playground.xe_words import Refusal, UsageError, Words, describe_refusal

# Parameters that choose no VM.
_TOLD = ('params', 'uuid', 'vm', 'host', 'on', 'new-name-label', 'new-name-description', 'live',
         'sr-uuid', 'snapshot-uuid', 'param-name', 'param-key')


class Command(NamedTuple):
    """One command: what it does, its parameters for help and completion, and how."""
    summary: str
    parameters: Tuple[str, ...]
    run: Callable[['Pool', Words], str]


class Pool:
    """The pool as a command sees it: read once, when the command begins."""

    def __init__(self, xapi: Xapi) -> None:
        self.call = xapi.call
        self.tables = {table: xapi.call(f'{table}.get_all_records') for table in FIELDS}

    @property
    def vms(self) -> Dict[str, Dict[str, Any]]:
        """All rows of the class VM, by reference."""
        return self.tables['VM']

    def choose(self, words: Words, *, uuid: str = 'uuid') -> List[str]:
        """Find the VMs that a command is about."""
        conditions = _read_conditions('VM', words)
        for name, field in ((uuid, 'uuid'), ('vm', 'uuid')):
            if name in words.given:
                conditions[field] = words.given[name]
        is_wanted = xe_records.is_snapshot if uuid == 'snapshot-uuid' else xe_records.is_vm
        found = xe_records.choose(self.vms, is_wanted, 'VM', conditions, self.tables)
        if not found and 'vm' in words.given:
            conditions.pop('uuid')
            conditions['name-label'] = words.given['vm']
            found = xe_records.choose(self.vms, is_wanted, 'VM', conditions, self.tables)
        if not conditions and 'multiple' not in words.flags:
            raise UsageError('No matching VMs found: name one by vm=NAME or uuid=UUID')
        if not found:
            raise UsageError('No matching VMs found')
        if len(found) > 1 and 'multiple' not in words.flags:
            raise UsageError('Multiple matching VMs found. --multiple required to complete the '
                             'operation')
        return found

    def choose_one(self, words: Words, *, uuid: str = 'uuid') -> str:
        """Find the one VM that a command is about."""
        if 'multiple' in words.flags:
            raise UsageError('Operation can only be performed on one VM at a time')
        return self.choose(words, uuid=uuid)[0]

    def find_row(self, uuid: str) -> str:
        """Find any row of the class VM: snapshots and templates too."""
        for ref, record in self.vms.items():
            if record['uuid'] == uuid:
                return ref
        raise Refusal(describe_refusal('UUID_INVALID', ['VM', uuid], {}))

    def find_host(self, name: str) -> str:
        """Find a host by its UUID or name."""
        for ref, record in self.tables['host'].items():
            if name in (record['uuid'], record['name_label']):
                return ref
        raise UsageError(f'No matching hosts found: {name}')


def _read_conditions(table: str, words: Words) -> Dict[str, str]:
    for name in words.given:
        if name not in FIELDS[table] and name not in _TOLD:
            raise UsageError(f'Unknown field {name}')
    return {name: value for name, value in words.given.items()
            if name in FIELDS[table] and name != 'uuid' or name == 'uuid' and table == 'host'}


def _list_rows(table: str, is_wanted: Callable[[Dict[str, Any]], bool], *usual: str) \
        -> Callable[[Pool, Words], str]:
    def run(pool: Pool, words: Words) -> str:
        """The rows that were asked for, as xe prints them."""
        conditions = _read_conditions(table, words)
        if 'uuid' in words.given:
            conditions['uuid'] = words.given['uuid']
        names = _read_names(table, words.given.get('params', ''), usual)
        rows = [pool.tables[table][ref] for ref in xe_records.choose(
            pool.tables[table], is_wanted, table, conditions, pool.tables)]
        if 'minimal' in words.flags:
            shown = [xe_records.show(table, names[0], row, pool.tables) for row in rows]
            return ','.join(shown) + '\n'
        return xe_records.layout([[
            (name, FIELDS[table][name].access, xe_records.show(table, name, row, pool.tables))
            for name in names] for row in rows])
    return run


def _read_names(table: str, text: str, usual: Tuple[str, ...]) -> List[str]:
    names = list(FIELDS[table]) if text == 'all' else [name for name in text.split(',') if name]
    for name in names:
        if name not in FIELDS[table]:
            raise UsageError(f'Unknown field {name}')
    return names or list(usual)


def _operate(method: str, *more: Any, forced: str = '') -> Callable[[Pool, Words], str]:
    def run(pool: Pool, words: Words) -> str:
        for ref in pool.choose(words):
            if forced and 'force' in words.flags:
                pool.call(forced, ref)
            else:
                pool.call(method, ref, *more)
        return ''
    return run


def _start(pool: Pool, words: Words) -> str:
    for ref in pool.choose(words):
        if 'on' in words.given:
            pool.call('VM.start_on', ref, pool.find_host(words.given['on']), False, False)
        else:
            pool.call('VM.start', ref, False, False)
    return ''


def _migrate(pool: Pool, words: Words) -> str:
    host = pool.find_host(words.take('host'))
    for ref in pool.choose(words):
        pool.call('VM.pool_migrate', ref, host, {})
    return ''


def _make(method: str, *more: Any) -> Callable[[Pool, Words], str]:
    """Make another row of a VM, and print its UUID as xe does."""
    def run(pool: Pool, words: Words) -> str:
        name = words.take('new-name-label')
        made = pool.call(method, pool.choose_one(words), name, *more)
        return str(pool.call('VM.get_uuid', made)) + '\n'
    return run


def _revert(pool: Pool, words: Words) -> str:
    pool.call('VM.revert', pool.find_row(words.take('snapshot-uuid', 'uuid')))
    return ''


def _destroy(pool: Pool, words: Words) -> str:
    pool.call('VM.destroy', pool.find_row(words.take('uuid')))
    return ''


def _get_param(pool: Pool, words: Words) -> str:
    row = pool.vms[pool.find_row(words.take('uuid'))]
    name = _read_names('VM', words.take('param-name'), ())[0]
    if 'param-key' not in words.given:
        return xe_records.show('VM', name, row, pool.tables) + '\n'
    value = row[FIELDS['VM'][name].source]
    if not isinstance(value, dict) or words.given['param-key'] not in value:
        raise UsageError(f'Key {words.given["param-key"]} not found in map')
    return str(value[words.given['param-key']]) + '\n'


def _list_params(pool: Pool, words: Words) -> str:
    row = pool.vms[pool.find_row(words.take('uuid'))]
    return xe_records.layout([[(name, field.access, xe_records.show('VM', name, row, pool.tables))
                               for name, field in FIELDS['VM'].items()]])


def _set_params(pool: Pool, words: Words) -> str:
    ref = pool.find_row(words.take('uuid'))
    for word, value in words.given.items():
        name, colon, key = word.partition(':')
        if name == 'uuid':
            continue
        source = _find_writable(name)
        if FIELDS['VM'][name].access == 'MRW':
            if not colon:
                raise UsageError(f'{name} is a map: {name}:KEY=VALUE')
            # In one call: between two of them the daemon would put its arguments there.
            pool.vms[ref][source][key] = value
            pool.call(f'VM.set_{source}', ref, pool.vms[ref][source])
        elif name == 'affinity':
            pool.call('VM.set_affinity', ref, pool.find_host(value) if value else NULL)
        else:
            pool.call(f'VM.set_{source}', ref, value == 'true' if name.startswith('is-') else value)
    return ''


def _remove_param(pool: Pool, words: Words) -> str:
    source = _find_writable(words.take('param-name'))
    pool.call(f'VM.remove_from_{source}', pool.find_row(words.take('uuid')),
              words.take('param-key'))
    return ''


def _find_writable(name: str) -> str:
    field = FIELDS['VM'].get(name)
    if field is None or not field.access.endswith('RW'):
        raise UsageError(f'Unknown or read-only field {name}')
    return field.source


_ONE = ('uuid', 'vm')
_LISTED = ('uuid', 'name-label', 'params')
COMMANDS: Dict[str, Command] = {
    'vm-list': Command('list VMs', _LISTED + ('power-state',), _list_rows(
        'VM', xe_records.is_vm, 'uuid', 'name-label', 'power-state')),
    'vm-start': Command('start VMs', _ONE + ('on',), _start),
    'vm-shutdown': Command('shut VMs down, with --force at once', _ONE, _operate(
        'VM.clean_shutdown', forced='VM.hard_shutdown')),
    'vm-reboot': Command('reboot VMs, with --force at once', _ONE, _operate(
        'VM.clean_reboot', forced='VM.hard_reboot')),
    'vm-suspend': Command('suspend VMs', _ONE, _operate('VM.suspend')),
    'vm-resume': Command('resume VMs', _ONE, _operate('VM.resume', False, False)),
    'vm-migrate': Command('move a running VM to another host', _ONE + ('host',), _migrate),
    'vm-clone': Command('clone a halted VM', _ONE + ('new-name-label',), _make('VM.clone')),
    'vm-copy': Command('copy a halted VM', _ONE + ('new-name-label',), _make('VM.copy', NULL)),
    'vm-destroy': Command('destroy a halted VM', ('uuid',), _destroy),
    'vm-snapshot': Command('take a snapshot', _ONE + ('new-name-label',), _make('VM.snapshot')),
    'snapshot-list': Command('list snapshots', _LISTED, _list_rows(
        'VM', xe_records.is_snapshot, 'uuid', 'name-label', 'name-description')),
    'snapshot-revert': Command('take a VM back to a snapshot', ('snapshot-uuid',), _revert),
    'template-list': Command('list templates', _LISTED, _list_rows(
        'VM', xe_records.is_template, 'uuid', 'name-label', 'name-description')),
    'host-list': Command('list hosts', _LISTED, _list_rows(
        'host', lambda record: True, 'uuid', 'name-label', 'name-description')),
    'vm-param-list': Command('show all fields of a VM', ('uuid',), _list_params),
    'vm-param-get': Command('show a field of a VM', ('uuid', 'param-name', 'param-key'),
                            _get_param),
    'vm-param-set': Command('set fields of a VM, NAME=VALUE or MAP:KEY=VALUE',
                            ('uuid', 'name-label', 'platform:device-model-args'), _set_params),
    'vm-param-remove': Command('remove a key of a map', ('uuid', 'param-name', 'param-key'),
                               _remove_param),
}
