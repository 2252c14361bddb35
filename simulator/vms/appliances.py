"""A vApp: VMs that start and stop together, group after group in the order that each VM names.

As in XAPI the VMs of one group start beside each other, each as an operation of its own with a
task of its own; the appliance waits for the group before the next one begins.
"""

import threading
from typing import Any, Callable, Dict, List

from simulator.state.pool_state import State
from simulator.vms import lifecycle, start as starting
from simulator.wire.failures import Failure, XapiGone

Act = Callable[[State, str, str], None]


def create(state: State, caller: Any, given: Dict[str, Any]) -> str:
    """Make an appliance; VMs join it by VM.set_appliance."""
    ref = state.names.ref()
    state.database.create('VM_appliance', ref, {
        'uuid': state.names.uuid(), 'name_label': str(given.get('name_label', '')),
        'name_description': str(given.get('name_description', '')), 'VMs': [],
        'allowed_operations': ['start', 'clean_shutdown', 'hard_shutdown', 'shutdown'],
        'current_operations': {}})
    return ref


def start(state: State, task: str, ref: str, paused: bool) -> None:
    """Start all its VMs that are halted, the lowest order first."""
    _run(state, task, ref, 'start', 'Halted',
         lambda inner, own, vm: starting.start(inner, own, vm, paused))


def hard_shutdown(state: State, task: str, ref: str) -> None:
    """Stop all its VMs that run."""
    _run(state, task, ref, 'hard_shutdown', 'Running', lifecycle.hard_shutdown)


def destroy(state: State, task: str, ref: str) -> None:
    """Take the appliance away; its VMs stay."""
    with state.database.lock:
        for vm in list(state.database.get('VM_appliance', ref).fields['VMs']):
            state.database.write('VM', vm, 'appliance', 'OpaqueRef:NULL')
        state.database.destroy('VM_appliance', ref)


def _run(state: State, task: str, ref: str, name: str, power_state: str, act: Act) -> None:
    with state.database.lock:
        members = list(state.database.get('VM_appliance', ref).fields['VMs'])
        state.database.write('VM_appliance', ref, 'current_operations', {task: name})
    failures: List[Failure] = []
    try:
        for group in _list_groups(state, members, power_state):
            failures += _act_together(state, group, name, act)
    finally:
        if state.database.find('VM_appliance', ref) is not None:
            state.database.write('VM_appliance', ref, 'current_operations', {})
    if failures:
        raise failures[0]


def _list_groups(state: State, members: List[str], power_state: str) -> List[List[str]]:
    groups: Dict[int, List[str]] = {}
    for vm in members:
        fields = state.database.get('VM', vm).fields
        if fields['power_state'] == power_state:
            groups.setdefault(int(fields['order']), []).append(vm)
    return [groups[order] for order in sorted(groups)]


def _act_together(state: State, group: List[str], name: str, act: Act) -> List[Failure]:
    failures: List[Failure] = []

    def run(vm: str) -> None:
        task = state.create_task('Async.VM.' + name)
        try:
            act(state, task, vm)
        except Failure as failure:
            failures.append(failure)
        except XapiGone:
            return
        state.destroy_task(task)
    threads = [threading.Thread(target=run, args=(vm,), daemon=True) for vm in group]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
