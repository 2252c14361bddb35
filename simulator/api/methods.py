"""The table of RPC methods: the named ones, and the getters and setters each class has.

A handler takes a Caller and its parameters, already counted. `Class_method` names and the
`Async.` prefix are resolved here too.
"""

import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from simulator.api import accessors, parameters, pool_methods, rbac, setters
from simulator.database.rows import NULL
from simulator.state.pool_state import State, end_of_task, now
from simulator.vms import appliances, copies, cross_pool_migration, lifecycle, start
from simulator.wire.failures import (Failure, XapiGone, count_mismatch, internal_error,
                                     method_unknown)
from simulator.wire.rpc import render_xml

SESSIONLESS = ('session.login_with_password', 'session.slave_local_login_with_password',
               'system.listMethods')


class Caller(NamedTuple):
    """Who calls, and how."""
    session: str = ''
    transport: str = 'local'
    originator: str = ''
    user_agent: str = ''
    user_name: str = 'root'
    role: str = 'pool-admin'
    host: str = ''


class Method(NamedTuple):
    """A handler and its parameters: mandatory ones, then defaults."""
    handler: Callable[..., Any]
    mandatory: int
    defaults: Tuple[Any, ...] = ()
    is_operation: bool = False
    wants_caller: bool = False
    is_setter: bool = False


def _vm(handler: Callable[..., Any], mandatory: int, defaults: Tuple[Any, ...] = ()) -> Method:
    """Make a method of an operation, which gets a task."""
    return Method(handler, mandatory, defaults, True)


def _setter(handler: Callable[..., Any], mandatory: int) -> Method:
    """Make a method of a setter that is more than a write: it has a task, but no async form."""
    return Method(handler, mandatory, (), True, False, True)


OPERATIONS = {
    'VM.start': _vm(lambda s, t, vm, paused, force: start.start(s, t, vm, paused), 3),
    'VM.start_on': _vm(lambda s, t, vm, host, paused, force:
                       start.start(s, t, vm, paused, host), 4),
    'VM.clean_shutdown': _vm(lifecycle.clean_shutdown, 1),
    'VM.shutdown': _vm(lifecycle.clean_shutdown, 1),
    'VM.hard_shutdown': _vm(lifecycle.hard_shutdown, 1),
    'VM.clean_reboot': _vm(lambda s, t, vm: lifecycle.reboot(s, t, vm, 'clean_reboot'), 1),
    'VM.hard_reboot': _vm(lambda s, t, vm: lifecycle.reboot(s, t, vm, 'hard_reboot'), 1),
    'VM.suspend': _vm(lifecycle.suspend, 1),
    'VM.resume': _vm(lambda s, t, vm, paused, force: lifecycle.resume(s, t, vm), 3),
    'VM.resume_on': _vm(lambda s, t, vm, host, paused, force:
                        lifecycle.resume(s, t, vm, host), 4),
    'VM.pause': _vm(lifecycle.pause, 1),
    'VM.unpause': _vm(lifecycle.unpause, 1),
    'VM.pool_migrate': _vm(lambda s, t, vm, host, options: lifecycle.migrate(s, t, vm, host), 3),
    'VM.migrate_send': _vm(lambda s, t, vm, target, live, vdis, vifs, options, gpus:
                           cross_pool_migration.send(s, t, vm, target, live, options), 6, ({},)),
    'VM.clone': _vm(lambda s, t, vm, name: copies.clone(s, t, vm, name, 'clone'), 2),
    'VM.copy': _vm(lambda s, t, vm, name, sr: copies.clone(s, t, vm, name, 'copy'), 3),
    'VM.snapshot': _vm(lambda s, t, vm, name, ignored:
                       copies.snapshot(s, t, vm, name), 2, ([],)),
    'VM.checkpoint': _vm(copies.checkpoint, 2),
    'VM.revert': _vm(copies.revert, 1),
    'VM.provision': _vm(copies.provision, 1),
    'VM.destroy': _vm(copies.destroy, 1),
    'VM_appliance.start': _vm(lambda s, t, appliance, paused:
                              appliances.start(s, t, appliance, paused), 2),
    'VM_appliance.hard_shutdown': _vm(appliances.hard_shutdown, 1),
    'VM_appliance.destroy': _vm(appliances.destroy, 1),
    'VM.create': _vm(copies.create_from_wire, 1),
    'VM.add_to_blocked_operations': _setter(setters.block, 3),
    'VM.remove_from_blocked_operations': _setter(setters.unblock, 2),
    'VM.set_blocked_operations': _setter(setters.set_blocked, 2),
    'host.call_plugin': Method(pool_methods.call_plugin, 4, (), True, True),
    'VM.call_host_plugin': Method(pool_methods.call_host_plugin, 4, (), True, True),
}

# What a backtrace looks like where an exception is raised, and where the task ends.
_RAISED, _CAUGHT = '(((process xapi)))', '(((process xapi)(filename simulator)))'


class Methods:
    """Resolves names and carries calls out, after whatever checks the session needs."""

    def __init__(self, state: State, extra: Dict[str, Method]) -> None:
        self._state = state
        self._named = dict(OPERATIONS)
        self._named.update(
            {name: Method(handler, mandatory, defaults)
             for name, (handler, mandatory, defaults) in pool_methods.METHODS.items()})
        self._named.update(extra)

    def call(self, caller: Caller, name: str, params: Sequence[Any]) -> Any:
        """Carry out a call whose session, if it needs one, has been checked."""
        is_async = name.startswith('Async.')
        plain = name[len('Async.'):] if is_async else name
        method = self.resolve(plain)
        if method is None:
            raise method_unknown(name)
        arguments = self._count(name, method, params)
        rbac.check(caller, name)
        if is_async and (method.is_setter or not method.is_operation):
            raise Failure('Fault', [f'No async mode for this operation (rpc: {plain})'])
        if plain in OPERATIONS:
            _check(plain, method, arguments)
        if method.wants_caller:
            arguments = [caller] + arguments
        if is_async:
            return self._begin(plain, method, arguments)
        if method.is_operation:
            return self._carry_out(plain, method, arguments)
        return method.handler(self._state, caller, *arguments)

    def resolve(self, name: str) -> Optional[Method]:
        """Find a method by its name."""
        if name in self._named:
            return self._named[name]
        found = accessors.find(self._state, name)
        return None if found is None else Method(*found)

    def canonical(self, name: str) -> str:
        """Return the name with a dot of a method that was called with an underscore for it."""
        known = [spelled for spelled in _spellings(name) if self.resolve(spelled) is not None]
        return known[0] if known else name

    def list_names(self) -> List[str]:
        """List the named methods and those that every class has."""
        return sorted(list(self._named) + accessors.list_names(self._state))

    def _count(self, name: str, method: Method, params: Sequence[Any]) -> List[Any]:
        most = method.mandatory + len(method.defaults)
        if not method.mandatory <= len(params) <= most:
            raise count_mismatch(name, method.mandatory, len(params))
        missing = most - len(params)
        return list(params) + list(method.defaults[len(method.defaults) - missing:])

    def _carry_out(self, name: str, method: Method, params: Sequence[Any]) -> Any:
        task = self._state.create_task(name)
        try:
            result = method.handler(self._state, task, *params)
            self._state.finish_task(task, end_of_task())
            return result
        except Failure as failure:
            self._fail_task(task, failure)
            raise
        finally:
            self._state.destroy_task(task)

    def _begin(self, name: str, method: Method, params: Sequence[Any]) -> str:
        task = self._state.create_task('Async.' + name)
        thread = threading.Thread(target=self._run, args=(task, method, params), daemon=True,
                                  name=f'simulator-{name}')
        thread.start()
        return task

    def _run(self, task: str, method: Method, params: Sequence[Any]) -> None:
        try:
            result = method.handler(self._state, task, *params)
        except XapiGone:
            return
        except Failure as failure:
            self._fail_task(task, failure)
            return
        except Exception as error:  # as in XAPI, whatever goes wrong is an answer
            self._fail_task(task, internal_error(repr(error)))
            return
        self._state.finish_task(task, end_of_task(render_xml(result)))

    def _fail_task(self, task: str, failure: Failure) -> None:
        status = 'cancelled' if failure.code == 'TASK_CANCELLED' else 'failure'
        self._state.finish_task(task, [
            ('progress', 1.0), ('backtrace', _RAISED), ('error_info', failure.description),
            ('backtrace', _CAUGHT), ('finished', now()), ('allowed_operations', []),
            ('status', status)])


def _check(name: str, method: Method, arguments: Sequence[Any]) -> None:
    parameters.check_all(method.handler, arguments)
    # Reads answer a null reference with HANDLE_INVALID; operations stumble over it.
    if arguments[0] == NULL and name.startswith('VM.') and not method.is_setter:
        raise internal_error('Not_found')


def _spellings(name: str) -> List[str]:
    if '.' in name:
        return []
    return [name[:position] + '.' + name[position + 1:]
            for position, letter in enumerate(name) if letter == '_']

