"""The methods that are neither VM operations nor getters and setters: sessions, events, tasks."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

from simulator.api import setters
from simulator.database.sessions import bad_password
from simulator.state.pool_state import State, now
from simulator.vms import appliances, cross_pool_migration, environment
from simulator.wire.failures import Failure, handle_invalid


def login(state: State, caller: Any, user: str, password: str, version: str,
          originator: str) -> str:
    """Open a session; the Unix socket takes any password, a wrong one over TCP costs seconds."""
    role = 'pool-admin'
    if caller.transport == 'tcp':
        if caller.host not in ('', state.master):
            raise host_is_slave(state)
        role = _find_role(state, user, password)
    # root is a superuser wherever it logs in; whom an account stands for has permissions.
    is_root = caller.transport != 'tcp' or user == state.settings.username
    return state.sessions.login(user, originator, superuser=is_root, now=now(), role=role,
                                host=caller.host or state.this_host)


def _find_role(state: State, user: str, password: str) -> str:
    settings = state.settings
    for name, secret, role in settings.accounts + (
            (settings.username, settings.password, 'pool-admin'),):
        if (user, password) == (name, secret):
            return role
    state.pause(settings.login_penalty_seconds)
    raise bad_password(user)


def host_is_slave(state: State) -> Failure:
    """Build the answer of a member that was asked over TCP."""
    return Failure('HOST_IS_SLAVE', [state.database.read('host', state.master, 'address')])


def call_plugin(state: State, task: str, caller: Any, host: str, name: str, function: str,
                arguments: Dict[str, str]) -> str:
    """Run a plugin on a host: on the master with the caller's session, else with one of xapi's.

    A call that is handed on to a member gets a session of its own, which may everything
    (message_forwarding.ml, call_slave_with_session). Who calls in process has no session.
    """
    state.database.get('host', host)
    state.host_access.assert_reachable(host)
    if caller.session and host == state.master:
        return str(state.host_access.call_plugin(caller.session, host, name, function, arguments))
    session = state.sessions.login('root', '', superuser=True, now=now(), role='pool-admin',
                                   host=host)
    try:
        return str(state.host_access.call_plugin(session, host, name, function, arguments))
    finally:
        state.sessions.end(session)


def call_host_plugin(state: State, task: str, caller: Any, vm: str, name: str, function: str,
                     arguments: Dict[str, str]) -> str:
    """Run a plugin on the host of a running VM; a VM operator may (datamodel_vm.ml)."""
    fields = state.database.get('VM', vm).fields
    if fields['power_state'] != 'Running':
        raise Failure('VM_BAD_POWER_STATE', [vm, 'Running', fields['power_state']])
    return call_plugin(state, task, caller, fields['resident_on'], name, function, arguments)


def _logout(state: State, caller: Any) -> None:
    state.sessions.end(caller.session)


def _this_host(state: State, caller: Any, session: str) -> str:
    return str(state.database.read('session', session, 'this_host'))


def _event_from(state: State, caller: Any, classes: Sequence[str], token: str,
                timeout: Any) -> Dict[str, Any]:
    return state.events.event_from(caller.session, classes, token, float(timeout))


def _register(state: State, caller: Any, classes: Sequence[str]) -> None:
    state.legacy_events.register(caller.session, classes)


def _unregister(state: State, caller: Any, classes: Sequence[str]) -> None:
    state.legacy_events.unregister(caller.session, classes)


def _event_next(state: State, caller: Any) -> List[Dict[str, Any]]:
    return state.legacy_events.next(caller.session)


def _inject(state: State, caller: Any, table: str, ref: str) -> str:
    if table not in state.database.tables or state.database.find(table, ref) is None:
        raise handle_invalid(table, ref)
    return f'{state.database.touch(table, ref) - 1:020d},{0:020d}'


def _servertime(state: State, caller: Any, host: str) -> str:
    state.database.get('host', host)
    return now()


def _create_task(state: State, caller: Any, name: str, description: str) -> str:
    return state.create_task(name, description)


def _destroy_task(state: State, caller: Any, ref: str) -> None:
    state.database.get('task', ref)
    state.destroy_task(ref)


def _cancel_task(state: State, caller: Any, ref: str) -> None:
    state.database.get('task', ref)
    for running in state.underway:
        if running.task == ref:
            running.is_cancelled = True


def _reset_power_state(state: State, caller: Any, ref: str) -> None:
    with state.database.lock:
        state.database.get('VM', ref)
        environment.reset_power_state(state, ref)


def _create_message(state: State, caller: Any, name: str, priority: Any, about: str, uuid: str,
                    body: str) -> str:
    return state.messages.create(name, about, uuid, body, now())


METHODS: Dict[str, Tuple[Callable[..., Any], int, Tuple[Any, ...]]] = {
    'session.login_with_password': (login, 2, ('', '')),
    'session.slave_local_login_with_password':
        (lambda state, caller, user, password: login(state, caller, user, password, '', ''), 2, ()),
    'session.logout': (_logout, 0, ()),
    'session.local_logout': (_logout, 0, ()),
    'session.get_this_host': (_this_host, 1, ()),
    'event.from': (_event_from, 3, ()),
    'event.register': (_register, 1, ()),
    'event.unregister': (_unregister, 1, ()),
    'event.next': (_event_next, 0, ()),
    'event.inject': (_inject, 2, ()),
    'event.get_current_id': (lambda state, caller: state.legacy_events.current, 0, ()),
    'host.get_servertime': (_servertime, 1, ()),
    'host.migrate_receive': (cross_pool_migration.receive, 3, ()),
    'task.create': (_create_task, 2, ()),
    'task.destroy': (_destroy_task, 1, ()),
    'task.cancel': (_cancel_task, 1, ()),
    'VM.set_is_a_template': (setters.set_is_a_template, 2, ()),
    'VM_appliance.create': (appliances.create, 1, ()),
    'VM.power_state_reset': (_reset_power_state, 1, ()),
    'pool.sync_database': (lambda state, caller: state.host_access.sync_database(), 0, ()),
    'pool.designate_new_master':
        (lambda state, caller, host: state.host_access.designate_new_master(host), 1, ()),
    'pool.recover_slaves': (lambda state, caller: state.host_access.recover_slaves(), 0, ()),
    'message.create': (_create_message, 5, ()),
}
