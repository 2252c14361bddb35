"""Every command and option of vgpu-admin with what it does: the table of test_every_option.py.

The words know these VMs: `web` (registered, halted), `run` (registered, running), `new` (not
registered), `hand` (not registered, with arguments made by hand), `templ` (a template).
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from tests.integration.cli.program import span

WEB, RUN, HAND = span(1), span(2, 'B', 'high'), span(40, 'B', 'high')


class Case(NamedTuple):
    """One run that goes well."""

    words: str
    after: Optional[Callable[[Any], bool]] = None
    """What must hold afterwards; None: nothing has changed, in the registry or in XAPI."""
    status: int = 0
    shows: str = ''
    """What stands on standard output, without --json."""


class Refusal(NamedTuple):
    """One run that is refused, and changes nothing."""

    words: str
    status: int
    says: str


def _carries(name: str, args: Any) -> Callable[[Any], bool]:
    return lambda pool: pool.args(pool.refs[name]) == args


def _pending(**row: Any) -> Callable[[Any], bool]:
    """The running VM keeps what it runs with; its row is another one."""
    return lambda pool: (pool.args(pool.refs['run']) == RUN and len(pool.xapi.boots) == pool.boots
                         and pool.row('run', **row))


def _restarted(args: Any) -> Callable[[Any], bool]:
    return lambda pool: (pool.power(pool.refs['run']) == 'Running'
                         and len(pool.xapi.boots) == pool.boots + 1
                         and pool.xapi.boots[-1].args == args)


def _wrote(name: str) -> Callable[[Any], bool]:
    def check(pool: Any) -> bool:
        with open(pool.path(name), encoding='utf-8') as stream:
            return pool.uuid(pool.refs['web']) in stream.read() and len(pool.rows()) == 2
    return check


def _is_registered(name: str, number: int) -> Callable[[Any], bool]:
    return lambda pool: (pool.row(name, vm_id=number) and len(pool.rows()) == 3)


def _change(command: str, option: str, web: str, row: Dict[str, Any], run: str,
            run_option: str = '') -> Tuple[Any, ...]:
    """The cases of set-pool and its kin: what `web` carries, what becomes of `run`."""
    run_option = run_option or option
    return (
        Case('%s --vm-name=web %s' % (command, option), _carries('web', web), 0,
             'Staged: its next start takes it.'),
        Case('%s --vm-name=web %s --no-wait' % (command, option), _carries('web', web)),
        Case('%s --vm-uuid={web} %s' % (command, option.replace('=', ' ')),
             _carries('web', web)),
        Case('%s name-label=web %s --dry-run' % (command, option), None, 0, '(dry run)'),
        Case('%s uuid={run} %s --no-restart --verbose' % (command, run_option), _pending(**row), 0,
             'VM Configuration:'),
        Case('%s --vm-name=run %s --yes --force --timeout=30' % (command, run_option),
             _restarted(run), 0, 'runs with what is assigned'))


GOOD = {
    'register-vm': (
        Case('register-vm --vm-uuid={new}', _carries('new', span(41)), 0, 'vm_id 41'),
        Case('register-vm --vm-name=new --pool=B --priority=high --vm-id=7',
             _carries('new', span(7, 'B', 'high'))),
        Case('register-vm --vm-uuid=0a0b0c0d-1111-2222-3333-444455556666 --missing-ok',
             lambda pool: len(pool.rows()) == 3, 0, 'registered with'),
        Case('register-vm --vm-name=new --dry-run', None, 0, 'would be registered'),
        Case('register-vm new hand --priority=low --no-wait --verbose',
             lambda pool: len(pool.rows()) == 4, 0, '2 VMs registered'),
        Case('register-vm --vm-name=web', None, 0, 'already registered'),
        Case('register-vm --from-file={dir}/list.txt --pool=B --priority=low',
             _carries('new', span(41, 'B', 'low'))),
        Case('register-vm --vm-name=bare --restart --timeout=30 --force',
             lambda pool: pool.xapi.boots[-1].args == span(41))),
    'show-vm': (Case('show-vm --vm-uuid={web}', None, 0, 'VM ID: 1'),
                Case('show-vm --vm-name=new', None, 0, 'unregistered'),
                Case('show-vm --vm-name=web --at=2099-01-01', None, 0, 'VM Configuration at')),
    'remove-vm': (
        Case('remove-vm --vm-uuid={web}', _carries('web', None), 0, 'registration removed'),
        Case('remove-vm --vm-name=web --dry-run', None, 0, '(dry run)'),
        Case('remove-vm web run --yes --no-wait --verbose',
             lambda pool: pool.rows() == [] and pool.power(pool.refs['run']) == 'Halted'),
        Case('remove-vm --vm-name=run --no-restart',
             lambda pool: len(pool.rows()) == 1 and pool.args(pool.refs['run']) == RUN),
        Case('remove-vm --vm-name=run --yes --timeout=30',
             lambda pool: pool.power(pool.refs['run']) == 'Halted'
             and pool.args(pool.refs['run']) is None),
        Case('remove-vm --vm-name=run --yes --restart --force', _restarted(None)),
        Case('remove-vm --gone --dry-run', None, 0, 'nothing to do')),
    'transfer-vm': (
        Case('transfer-vm --from={web} --to={new}', _carries('new', WEB), 0, '1 moved'),
        Case('transfer-vm --from={run} --to=new --dry-run', None, 0, 'moved'),
        Case('transfer-vm --gone --yes --no-wait', None, 0, 'nothing to do')),
    'set-pool': _change('set-pool', '--pool=B', span(1, 'B'), {'pool_id': 'A'},
                        span(2, 'A', 'high'), '--pool=A') + (
        Case('set-pool --vm-name=web --pool=A', None, 0,
             'web ({web}) already has pool A; nothing to do'),),
    'set-priority': _change('set-priority', '--priority=low', span(1, 'A', 'low'),
                            {'priority': 0}, span(2, 'B', 'low')),
    'set-vm-id': _change('set-vm-id', '--vm-id=9', span(9), {'vm_id': 9}, span(9, 'B', 'high')),
    'update-vm': _change('update-vm', '--pool=A --priority=low --vm-id=9', span(9, 'A', 'low'),
                         {'pool_id': 'A', 'vm_id': 9}, span(9, 'A', 'low')),
    'apply-pending': (
        Case('apply-pending --vm-name=run --yes', None, 0, 'Nothing is pending'),
        Case('apply-pending --vm-uuid={run} --pool=B --limit=1 --window=00:00-23:59 --force '
             '--timeout=30 --accept-unverified --yes', None, 0, 'Nothing is pending'),
        Case('apply-pending --dry-run', None, 0, 'Nothing is pending')),
    'list-vms': (Case('list-vms', None, 0, '{web}'), Case('list-vms --pool=B', None, 0, '{run}'),
                 Case('list-vms --priority medium', None, 0, '{web}')),
    'list-pools': (Case('list-pools', None, 0, 'Pool A'),
                   Case('list-pools --pool-id=B', None, 0, 'Pool B')),
    'show-pool': (Case('show-pool --pool-id=B', None, 0, '{run}'),),
    'scan-vms': (Case('scan-vms', None, 0, '=== Unregistered VMs: 3 ==='),
                 Case('scan-vms --exit-code', None, 0, 'manual args'),
                 Case('scan-vms --state=manual --format=lines', None, 0, '=== Pool A: 0 VMs ==='),
                 Case('scan-vms --pool=B --format=table', None, 0, 'B/high/2')),
    'status': (Case('status', None, 0, 'Pool A'),),
    'history': (Case('history', None, 0, 'vm_added'),
                Case('history --vm-name=web --limit=1', None, 0, '{web}'),
                Case('history --since=2001-01-01 --until=2099-01-01T00:00:00Z', None, 0,
                     'vm_added'),
                Case('history --who=nobody', None, 0, 'without --who all are'),
                Case('history --vm-uuid={run}', None, 0, '{run}')),
    'explain': (Case('explain --vm-uuid={run}', None, 0, 'as_desired'),
                Case('explain --vm-name=run --boot=1', None, 0, 'as_desired'),
                Case('explain run --all', None, 0, '1 boot, ')),
    'watch': (Case('watch'), Case('watch --vm-name=web --limit=5'), Case('watch --vm-uuid={web}')),
    'plan': (Case('plan', None, 0, 'Nothing to do'), Case('plan --exit-code')),
    'reconcile': (Case('reconcile', None, 0, 'Nothing to do'),
                  Case('reconcile --dry-run')),
    'verify': (Case('verify', None, 0, '2 registered VMs compared'), Case('verify --exit-code')),
    'update-pool': (
        Case('update-pool --pool-id=A --name=Fast --description=day --disable --yes --no-wait',
             lambda pool: tuple(pool.pool_row('A'))[1:] == ('Fast', 'day', 0)),
        Case('update-pool --pool-id=A --enable --dry-run --verbose', None, 0,
             'is already enabled')),
    'set-pool-name': (
        Case('set-pool-name --pool-id=B --name=Slow', lambda pool: pool.pool_row('B')[1] == 'Slow'),
        Case('set-pool-name --pool-id=B --name=Slow --dry-run'),
        Case('set-pool-name --pool-id=B --name=Slow --dry-run --verbose', None, 0, 'Enabled')),
    'set-pool-description': (
        Case('set-pool-description --pool-id=B --description=nightly',
             lambda pool: pool.pool_row('B')[2] == 'nightly'),
        Case('set-pool-description --pool-id=B --description=nightly --dry-run --verbose')),
    'enable-pool': (Case('enable-pool --pool-id=A', None, 0, 'is already enabled'),
                    Case('enable-pool --pool-id=A --no-wait --dry-run --verbose')),
    'disable-pool': (
        Case('disable-pool --pool-id=A --yes --no-wait', lambda pool: (
            pool.pool_row('A')[3] == 0 and pool.args(pool.refs['web']) is None)),
        Case('disable-pool --pool-id=A --dry-run --verbose')),
    'export': (Case('export', None, 0, '{web}'),
               Case('export --format=csv --file={dir}/out.csv', _wrote('out.csv')),
               Case('export --format=json {dir}/out.json', _wrote('out.json'))),
    'import': (Case('import --file={dir}/in.csv', _is_registered('new', 41), 0, 'added'),
               Case('import {dir}/in.csv --yes --no-wait', _is_registered('new', 41)),
               Case('import {dir}/in.csv --dry-run', None, 0, 'added')),
    'adopt': (Case('adopt --yes --no-wait', _is_registered('hand', 40)),
              Case('adopt --dry-run', None, 0, '{hand}')),
    'backup': (Case('backup {dir}/out.json', _wrote('out.json'), 0, '2 VMs written'),
               Case('backup --file={dir}/out.json', _wrote('out.json'))),
    'restore': (Case('restore {dir}/less.json --yes --no-wait',
                     lambda pool: len(pool.rows()) == 1),
                Case('restore --file={dir}/less.json --dry-run', None, 0, '{run}'),
                Case('restore --at=2099-01-01', None, 0, 'unchanged')),
    'init': (Case('init', None, 0, 'already exists'),
             Case('init --empty', None, 0, 'already exists'),
             Case('init --db={dir}/sub/other.db --dry-run', None, 0, 'would be created'),
             Case('init --db={dir}/sub/other.db', lambda pool: pool.exists('sub/other.db'))),
    'accept': (Case('accept', None, 0, 'is already accepted'),
               Case('accept --db={dir}/foreign.db --dry-run', None, 0, 'VMs'),
               Case('accept --db={dir}/foreign.db --yes',
                    lambda pool: pool.version('foreign.db') > 0)),
    'check': (Case('check', None, 0, '2 VMs, 0 problems'),),
    'fence': (Case('fence clear', None, 0, 'No VM has a start block of ours'),),
    'registry': (Case('registry compare --exit-code', None, 6, 'added    new ({new})'),
                 Case('registry keep --dry-run', None, 0, 'removed  new ({new})'),
                 Case('registry rebuild --dry-run', None, 0, 'added    new ({new})'),
                 Case('registry rebuild --source=history --at=2099-01-01', None, 0,
                      'Nothing to do'),
                 Case('registry copies', None, 0, 'No copy is kept'),
                 Case('registry rebuild --yes --no-wait', _is_registered('new', 9), 0,
                      'was rebuilt')),
    'consumer': (Case('consumer status --root={dir}/dom0', None, 0, ''),
                 Case('consumer --action=status --root={dir}/dom0 --exit-code', None, 0, ''),
                 Case('consumer pause --root={dir}/dom0', None, 0, 'The pause is noted'),
                 Case('consumer resume --root={dir}/dom0', None, 0, '')),
    'doctor': (Case('doctor --root={dir}/dom0', None, 1, 'checks:'),
               Case('doctor --all-hosts --root={dir}/dom0', None, 1, 'checks:')),
    'completion': (Case('completion', None, 0, '-F _vgpu_admin'),),
    'complete': (Case('complete', None, 0, 'register-vm'),),
    'help': (Case('help', None, 0, 'register-vm'), Case('help set-pool', None, 0, '--pool=A|B'),
             Case('help --all', None, 0, 'transfer-vm'), Case('help pools', None, 0, 'show-pool')),
    'version': (Case('version', None, 0, 'vgpu-admin '),),
}

DOCUMENTS = {
    'register-vm': 'result vm', 'show-vm': 'vm', 'remove-vm': 'result vm staging',
    'transfer-vm': 'result counts changes pool_changes staging',
    'set-pool': 'result vm', 'set-priority': 'result vm staging',
    'set-vm-id': 'result vm staging', 'update-vm': 'result vm staging', 'list-vms': 'vms faults',
    'apply-pending': 'result vms',
    'list-pools': 'pools', 'show-pool': 'pool', 'scan-vms': 'vms groups states',
    'status': 'registry daemon xapi pools vms states boots replacements_under_way mirror '
              'consumer',
    'history': 'history', 'explain': 'boot history now', 'plan': 'plans', 'reconcile': 'result vms',
    'verify': 'vms', 'set-pool-name': 'result pool', 'set-pool-description': 'result pool',
    'update-pool': 'result pool', 'version': 'version',
    'enable-pool': 'result pool staging', 'disable-pool': 'result pool staging',
    'export': 'vms pools',
    'import': 'result counts changes', 'adopt': 'adopted left_alone',
    'backup': 'result path vm_count', 'restore': 'result counts changes',
    'init': 'result path', 'accept': 'result changes', 'check': 'problems vm_count accepted path',
    'fence': 'lifted actions', 'doctor': 'checks counts', 'completion': 'script',
    'consumer': 'result form enabled installed fragment xenopsd next_step in_use '
                'stolen_numbers',
    'registry': 'result judgement mirror registry changes pools entries',
    'complete': 'words', 'help': 'help', 'watch': 'boot',
}

BAD_VALUES = {
    'config': '{dir}/none.conf', 'db': '', 'vm-uuid': 'x', 'vm-name': '', 'pool': 'C',
    'pool-id': 'AB', 'priority': 'urgent', 'vm-id': '0', 'timeout': '0', 'boot': 'x',
    'at': 'yesterday', 'name': '', 'file': '', 'format': 'xml', 'from-file': '', 'limit': '0',
    'action': 'break', 'with-mirror': 'break', 'root': '', 'since': '2026-13-01',
    'from': 'x', 'to': '', 'window': '22:00',
    'until': 'tomorrow', 'state': 'lost', 'who': '', 'source': ''}

REFUSED = (
    Refusal('register-vm --vm-name=nobody', 3, 'nobody'),
    Refusal('register-vm --vm-name=web --pool=B', 4, 'update-vm'),
    Refusal('register-vm --vm-name=new --vm-id=1', 4, '{web}'),
    Refusal('register-vm --vm-name=new --vm-id=40', 4, '{hand}'),
    Refusal('register-vm --vm-uuid={templ}', 1, 'template'),
    Refusal('register-vm --from-file={dir}/bad.txt', 3, 'nobody'),
    Refusal('register-vm --from-file={dir}/none.txt', 2, 'none.txt'),
    Refusal('register-vm --from-file={dir}/list.txt --vm-id=3', 2, 'exclude'),
    Refusal('register-vm', 2, 'needs a VM'),
    Refusal('show-vm --vm-name=nobody', 3, 'nobody'),
    Refusal('show-vm --vm-name=twin', 4, 'twin'),
    Refusal('show-vm --vm-uuid={web} --at=2001-01-01', 3, '{web}'),
    Refusal('remove-vm --vm-name=new', 3, 'not registered'),
    Refusal('transfer-vm --from={web} --to={run}', 4, '{run}'),
    Refusal('transfer-vm --from={new} --to={web}', 3, 'not registered'),
    Refusal('transfer-vm --from={web} --to={templ}', 1, 'template'),
    Refusal('transfer-vm --from={web}', 2, '--to'),
    Refusal('transfer-vm --gone --to={web}', 2, 'exclude'),
    Refusal('remove-vm --gone --vm-uuid={web}', 2, 'exclude'),
    Refusal('remove-vm --vm-name=run', 2, '--yes'),
    Refusal('remove-vm --vm-name=run --restart --no-restart', 2, 'exclude'),
    Refusal('set-pool --vm-name=run --pool=A', 2, '--no-restart'),
    Refusal('set-pool --vm-name=new --pool=A', 3, 'not registered'),
    Refusal('set-pool --vm-name=web', 2, '--pool'),
    Refusal('set-priority --vm-name=nobody --priority=low', 3, 'nobody'),
    Refusal('set-vm-id --vm-name=web --vm-id=2', 4, '{run}'),
    Refusal('set-vm-id --vm-name=web --vm-id=40', 4, '{hand}'),
    Refusal('update-vm --vm-name=web', 2, 'at least one'),
    Refusal('update-vm --vm-name=web --vm-id=2 --pool=B', 4, '{run}'),
    Refusal('apply-pending --vm-name=new', 3, 'not registered'),
    Refusal('apply-pending --vm-name=nobody', 3, 'nobody'),
    Refusal('apply-pending --window=04:00-04:00', 2, '--window'),
    Refusal('explain --vm-name=run --boot=999', 3, '999'),
    Refusal('explain --vm-name=nobody', 3, 'nobody'),
    Refusal('history --vm-name=nobody', 3, 'nobody'),
    Refusal('watch --vm-name=nobody', 3, 'nobody'),
    Refusal('show-pool', 2, '--pool-id'),
    Refusal('set-pool-name --pool-id=A', 2, '--name'),
    Refusal('disable-pool --pool-id=B', 2, '--yes'),
    Refusal('export --file={dir}/none/out.json', 1, 'none'),
    Refusal('import {dir}/bad.csv', 2, 'line 2'),
    Refusal('import {dir}/none.csv', 2, 'none.csv'),
    Refusal('import', 2, 'needs FILE'),
    Refusal('adopt', 2, '--yes'),
    Refusal('backup {dir}', 1, '{dir}'),
    Refusal('restore {dir}/less.json', 2, '--yes'),
    Refusal('restore {dir}/bad.csv --yes', 2, 'line 2'),
    Refusal('restore {dir}/none.json --yes', 2, 'none.json'),
    Refusal('accept --db={dir}/foreign.db', 2, '--yes'),
    Refusal('check --db={dir}/none.db', 5, 'none.db'),
    Refusal('list-vms --db={dir}/list.txt', 5, 'list.txt'),
    Refusal('fence', 2, 'fence clear'),
    Refusal('fence lift', 2, 'fence clear'),
    Refusal('quarantine-vm web', 2, 'column quarantined'),
    Refusal('set-weight --vm-name=web --weight=5', 2, 'column weight'),
    Refusal('set-vm-id web run --vm-id=9', 4, 'vm_id 9'),
    Refusal('register-vm web nobody', 3, 'nobody'),
    Refusal('set-pool web run --pool=A', 2, '--no-restart'),
    Refusal('update-pool --pool-id=A', 2, 'at least one'),
    Refusal('registry', 2, 'compare|rebuild'),
    Refusal('registry rebuild', 2, '--yes'),
    Refusal('registry keep', 2, '--yes'),
    Refusal('consumer', 2, 'enable|disable'),
    Refusal('help nothing', 2, 'nothing'),
    Refusal('status extra', 2, 'extra'),
    Refusal('list-vms --json --minimal', 2, 'exclude'),
    Refusal('lst-vms', 2, "did you mean 'list-vms'"),
)
