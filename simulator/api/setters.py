"""Setters of a VM that do more than write a field: blocked operations, and what is a template."""

from typing import Any, Dict

from simulator.api import parameters
from simulator.database.rows import NULL
from simulator.database.schema import VM_OPERATIONS
from simulator.state.pool_state import State
from simulator.vms.operations import operation, refresh_allowed
from simulator.wire.failures import handle_invalid, internal_error


def block(state: State, task: str, ref: str, key: str, value: str) -> None:
    """Block an operation, with a text for the client that tries it."""
    _check_operations(state, ref, key)
    with state.database.lock:
        state.database.add_to_map('VM', ref, 'blocked_operations', key, value)
        refresh_allowed(state, ref)


def unblock(state: State, task: str, ref: str, key: str) -> None:
    """Let an operation be again."""
    _check_operations(state, ref, key)
    with state.database.lock:
        state.database.remove_from_map('VM', ref, 'blocked_operations', key)
        refresh_allowed(state, ref)


def set_blocked(state: State, task: str, ref: str, options: Dict[str, str]) -> None:
    """Replace all blocked operations."""
    _check_operations(state, ref, *options)
    with state.database.lock:
        state.database.write('VM', ref, 'blocked_operations', dict(options))
        refresh_allowed(state, ref)


def set_is_a_template(state: State, caller: Any, ref: str, value: bool) -> None:
    """Make a halted VM a template, which costs it its metrics; the way back is one write."""
    parameters.check(bool, value)
    if not value:
        state.database.write('VM', ref, 'is_a_template', False)
        return
    # Of a task there is nothing to be seen, but the operation bears the reference of one.
    with operation(state, ref, 'make_into_template', state.names.ref()) as running:
        metrics = running.read('metrics')
        with state.database.lock:
            running.check()
            if state.database.find('VM_metrics', metrics) is not None:
                state.database.destroy('VM_metrics', metrics)
        running.write('metrics', NULL)
        running.write('is_a_template', True)


def _check_operations(state: State, ref: str, *names: str) -> None:
    # A name that is no operation is found out before the reference is looked up.
    for name in names:
        if name not in VM_OPERATIONS:
            raise internal_error('Failure("Unknown tag/contents")')
    with state.database.lock:
        if state.database.find('VM', ref) is None:
            raise handle_invalid('VM', ref)
