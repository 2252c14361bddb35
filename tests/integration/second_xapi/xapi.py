"""A small XAPI with one host: the calls that the documents name, and VMs that start."""

import threading
import uuid
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from tests.integration.second_xapi.tables import (KEY, NULL, Refusal, Row, Tables, build_ref,
                                                  build_vm)


class Called(NamedTuple):
    """One call that arrived."""
    at: float
    method: str
    params: Tuple[Any, ...]
    protocol: str
    agent: str


class Manner(NamedTuple):
    """In which ways this XAPI is odd."""
    speaks: Tuple[str, ...] = ('xml', 'json')
    version: str = 'HTTP/1.1'
    is_chunked: bool = False
    keeps_alive: bool = True
    missing: Tuple[Tuple[str, str], ...] = ()
    """(method, how it fails)."""
    classes: Tuple[str, ...] = ()
    """Classes that may be subscribed to; empty is all."""
    login_params: int = 4
    has_count_mismatch: bool = True
    are_numbers: bool = False
    """Integers arrive as such by XML too."""
    waits: bool = True
    """event.from waits until something happens."""
    repeats: bool = False
    """Every answer of event.from tells all VMs."""
    has_counts: bool = True
    token: str = '%020d,%020d'
    fields_left_out: Tuple[str, ...] = ()
    no_such_page: int = 404
    """The status for the protocol that is not spoken; 0 closes the connection."""

    def fails(self, method: str) -> Optional[str]:
        """How a method fails here."""
        for name, how in self.missing:
            if name == method or (name.endswith('*') and method.startswith(name[:-1])):
                return how
        return None


READS = ('event.from', 'event_from', 'session.', 'task.get', '.get_')


def is_write(method: str) -> bool:
    """Whether a call changes something: everything that is not known to be a read."""
    return not any(part in method for part in READS) and not method.startswith('system.')


class Xapi:
    """The methods, and what tests do behind their back."""

    def __init__(self, manner: Manner = Manner(), software: Any = None) -> None:
        self.manner = manner
        self.tables = Tables()
        self.calls: List[Called] = []
        self.on_boot: Callable[[str, Row], None] = lambda ref, row: None
        self.on_call: Callable[[str, Tuple[Any, ...]], None] = lambda method, params: None
        self.start_seconds = 0.3
        self.cut_off_seconds = 0.15
        self.next_domid = 7
        self.host = self.tables.add('host', {
            'uuid': str(uuid.uuid4()), 'name_label': 'here', 'hostname': 'here',
            'address': '10.0.0.1', 'other_config': {}, 'enabled': True,
            'software_version': {'product_brand': 'XCP-ng', 'product_version': '8.3.0',
                                 'xapi': '26.1', 'xapi_build': '26.1.4'}
            if software is None else software})
        self.pool = self.tables.add('pool', {
            'uuid': str(uuid.uuid4()), 'name_label': 'pool', 'master': self.host,
            'other_config': {}, 'restrictions': {'platform_filter': 'false'}})

    # For tests.

    def create_vm(self, name: str = 'vm', args: Optional[str] = None, **fields: Any) -> str:
        """A VM; its ref."""
        row = build_vm(name, {} if args is None else {KEY: args}, **fields)
        for field in self.manner.fields_left_out:
            row.pop(field, None)
        return self.tables.add('VM', row)

    def vm(self, ref: str) -> Row:
        """A copy of a VM's record."""
        return self.tables.read('VM', ref)

    def args(self, ref: str) -> Optional[str]:
        """What the VM carries."""
        return self.vm(ref)['platform'].get(KEY)

    def run(self, ref: str) -> Optional[str]:
        """Start a VM and wait for it; what it booted with."""
        self.vm_start(ref)
        return self.vm(ref)['booted']

    def writes(self, since: int = 0) -> List[Called]:
        """The calls that changed something."""
        return [call for call in self.calls[since:] if is_write(call.method)]

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(1 for call in self.calls if call.method == method)

    def forget_sessions(self) -> None:
        """As after a restart: the calls that wait fail at once."""
        for ref in list(self.tables.rows['session']):
            self.tables.remove('session', ref)

    # The dispatcher.

    def call(self, method: str, params: Tuple[Any, ...]) -> Any:
        """Carry a call out; raises Refusal."""
        self.on_call(method, params)
        if self.manner.fails(method) == 'unknown':
            raise Refusal('MESSAGE_METHOD_UNKNOWN', method)
        if method == 'session.login_with_password':
            return self.log_in(*params)
        if not params or params[0] not in self.tables.rows['session']:
            raise Refusal('SESSION_INVALID', str(params[0] if params else ''))
        session, rest = str(params[0]), params[1:]
        if method.startswith('Async.'):
            return self.begin_task(method[6:], session, rest)
        return self.carry_out(method, session, rest)

    def carry_out(self, method: str, session: str, params: Tuple[Any, ...]) -> Any:
        """One call with a session that is known."""
        name = method.replace('.', '_').lower()
        if name in ('event_from', 'session_logout'):
            return getattr(self, name)(session, *params)
        found = getattr(self, name, None)
        if found is not None and name.partition('_')[0] in ('vm', 'pool', 'task', 'session'):
            return found(*params)
        table, _dot, action = method.partition('.')
        rows = self.tables.rows.get(table)
        if rows is None or not action:
            raise Refusal('MESSAGE_METHOD_UNKNOWN', method)
        return self.carry_out_on_row(method, table, action, params)

    def carry_out_on_row(self, method: str, table: str, action: str,
                         params: Tuple[Any, ...]) -> Any:
        """The calls that every class has."""
        tables = self.tables
        if action == 'get_all':
            return list(tables.rows[table])
        if action == 'get_all_records':
            with tables.changed:
                return {ref: tables.read(table, ref) for ref in tables.rows[table]}
        if action == 'get_record':
            return tables.read(table, params[0])
        if action == 'get_by_uuid':
            for ref, row in list(tables.rows[table].items()):
                if row.get('uuid') == params[0]:
                    return ref
            raise Refusal('UUID_INVALID', table, str(params[0]))
        if action == 'get_by_name_label':
            return [ref for ref, row in list(tables.rows[table].items())
                    if row.get('name_label') == params[0]]
        for begin, carry_out in (('add_to_', tables.add_to_map),
                                 ('remove_from_', tables.remove_from_map)):
            if action.startswith(begin):
                carry_out(table, params[0], action[len(begin):], *params[1:])
                return ''
        if action.startswith('get_') and params:
            row = tables.read(table, params[0])
            if action[4:] in row:
                return row[action[4:]]
        raise Refusal('MESSAGE_METHOD_UNKNOWN', method)

    # Sessions, events, tasks.

    def log_in(self, *params: Any) -> str:
        """A new session."""
        if not 2 <= len(params) <= self.manner.login_params:
            if self.manner.has_count_mismatch:
                raise Refusal('MESSAGE_PARAMETER_COUNT_MISMATCH', 'session.login_with_password',
                              str(self.manner.login_params), str(len(params)))
            raise TypeError('login takes %d arguments' % self.manner.login_params)
        return self.tables.add('session', {'uuid': str(uuid.uuid4()), 'this_host': self.host})

    def session_logout(self, session: str) -> str:
        """The end of a session."""
        self.tables.remove('session', session)
        return ''

    def event_from(self, session: str, classes: List[str], token: str, seconds: float) -> Row:
        """The long poll."""
        if not isinstance(seconds, float):
            raise Refusal('INTERNAL_ERROR', 'Expected float')
        known = self.manner.classes
        if known and not {name.lower() for name in classes} <= set(known):
            raise Refusal('INTERNAL_ERROR', 'Not_found')
        try:
            since = int(token.split(',')[0].rpartition(':')[2]) if token else 0
        except ValueError:
            raise Refusal('EVENT_FROM_TOKEN_PARSE_FAILURE', token) from None
        events, seen = self.tables.wait_events(
            classes, since, float(seconds) if self.manner.waits else 0.0, session)
        if self.manner.repeats:
            events = self.tables.collect(classes, 0)[0]
        answer = {'events': events, 'token': self.manner.token % (seen, 0),
                  'valid_ref_counts': {name.lower(): len(rows)
                                       for name, rows in self.tables.rows.items()}}
        if not self.manner.has_counts:
            del answer['valid_ref_counts']
        return answer

    def begin_task(self, method: str, session: str, params: Tuple[Any, ...]) -> str:
        """Async.*: a task that goes on by itself."""
        if not method.startswith('VM.') or self.manner.fails('Async.*'):
            raise Refusal('MESSAGE_METHOD_UNKNOWN', 'Async.' + method)
        task = self.tables.add('task', {'uuid': str(uuid.uuid4()), 'name_label': method,
                                        'status': 'pending', 'error_info': [], 'result': '',
                                        'progress': 0.0})

        def work() -> None:
            try:
                self.carry_out(method, session, params)
                self.tables.set('task', task, result='<value></value>', status='success')
            except Refusal as refusal:
                self.tables.set('task', task, error_info=refusal.details, status='failure')
        threading.Thread(target=work, daemon=True).start()
        return task

    def task_destroy(self, ref: str) -> str:
        """A task's row goes."""
        self.tables.remove('task', ref)
        return ''

    def task_cancel(self, ref: str) -> str:
        """Nothing here can be cancelled any more."""
        self.tables.get('task', ref)
        return ''

    def pool_get_all(self) -> List[str]:
        """The one pool."""
        return [self.pool]

    # VMs.

    def vm_set_platform(self, ref: str, platform: Row) -> str:
        """Write the whole platform map."""
        self.tables.set('VM', ref, platform=dict(platform))
        return ''

    def vm_start(self, ref: str, _paused: bool = False, _force: bool = False) -> str:
        """Start a VM: it takes its platform map in the middle."""
        task = self._begin(ref, 'start', 'Halted')
        self._pause(self.cut_off_seconds)
        taken = self.vm(ref)['platform'].get(KEY)
        self._pause(self.start_seconds - self.cut_off_seconds)
        self.next_domid += 1
        self.tables.set('VM', ref, booted=taken, resident_on=self.host)
        self.tables.set('VM', ref, power_state='Running')
        self.on_boot(ref, dict(self.vm(ref), domid=str(self.next_domid)))
        self.tables.set('VM', ref, domid=self._number(self.next_domid))
        self._end(ref, task)
        return ''

    def vm_start_on(self, ref: str, _host: str, paused: bool = False, force: bool = False) -> str:
        """Start a VM on the only host."""
        return self.vm_start(ref, paused, force)

    def vm_clean_shutdown(self, ref: str) -> str:
        """Stop a VM."""
        task = self._begin(ref, 'clean_shutdown', 'Running')
        self._pause(0.1)
        self.tables.set('VM', ref, power_state='Halted')
        self.tables.set('VM', ref, resident_on=NULL, domid=self._number(-1))
        self._end(ref, task)
        return ''

    vm_hard_shutdown = vm_clean_shutdown

    def vm_suspend(self, ref: str) -> str:
        """Suspend a VM."""
        task = self._begin(ref, 'suspend', 'Running')
        self.tables.set('VM', ref, power_state='Suspended', resident_on=NULL,
                        domid=self._number(-1))
        self._end(ref, task)
        return ''

    def vm_clone(self, ref: str, name: str) -> str:
        """A copy, as XAPI makes it."""
        before = self.vm(ref)
        return self.tables.add('VM', dict(
            before, uuid=str(uuid.uuid4()), name_label=name, blocked_operations={},
            current_operations={}, power_state='Halted', domid=self._number(-1),
            resident_on=NULL))

    def vm_destroy(self, ref: str) -> str:
        """The end of a VM."""
        self.tables.remove('VM', ref)
        return ''

    def _begin(self, ref: str, operation: str, state: str) -> str:
        """The locked section in which an operation is allowed and noted."""
        with self.tables.changed:
            row = self.tables.get('VM', ref)
            if operation in row['blocked_operations']:
                raise Refusal('OPERATION_BLOCKED', ref, row['blocked_operations'][operation])
            if row['power_state'] != state:
                raise Refusal('VM_BAD_POWER_STATE', ref, state.lower(),
                              row['power_state'].lower())
            if row['current_operations']:
                raise Refusal('OTHER_OPERATION_IN_PROGRESS', 'VM', ref)
            task = build_ref()
            self.tables.set('VM', ref, current_operations={task: operation})
        return task

    @staticmethod
    def _pause(seconds: float) -> None:
        """What an operation takes."""
        threading.Event().wait(max(0.0, seconds))

    def _end(self, ref: str, _task: str) -> None:
        self.tables.set('VM', ref, current_operations={})

    def _number(self, number: int) -> Any:
        return number if self.manner.are_numbers else str(number)
