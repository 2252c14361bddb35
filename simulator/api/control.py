"""The class `sim` on the wire: what only a simulator can do, for programs in other processes."""

import threading
from typing import Any, Callable, Dict, List, Tuple

from simulator.api.methods import Method
from simulator.faults import Fault

FAULT_FIELDS = ('kind', 'method', 'ref', 'skip', 'count', 'parameters')


def build_methods(simulator: Any) -> Dict[str, Method]:
    """Build the methods; none of them wants a session."""
    handlers: Dict[str, Tuple[Callable[..., Any], int, Tuple[Any, ...]]] = {
        'boots': (lambda since=0: _boots(simulator, int(since)), 0, (0,)),
        'calls': (lambda: [_plain(call) for call in simulator.calls], 0, ()),
        'clear_calls': (simulator.clear_calls, 0, ()),
        'create_vm': (lambda name, fields: simulator.create_vm(name, **fields), 1, ({},)),
        'vm': (simulator.vm, 1, ()),
        'find': (simulator.find, 1, ()),
        'call': (lambda method, params: simulator.call(method, *params), 2, ()),
        'spawn': (lambda method, params: _spawn(simulator, method, params), 2, ()),
        'guest_reboot': (simulator.guest_reboot, 1, ()),
        'guest_shutdown': (simulator.guest_shutdown, 1, ()),
        'guest_crash': (simulator.guest_crash, 1, ()),
        'change_timeoffset': (simulator.change_timeoffset, 2, ()),
        'set_guest_clock': (simulator.set_guest_clock, 2, ()),
        'import_vm': (lambda name, uuid, fields: simulator.import_vm(name, uuid, **fields),
                      2, ({},)),
        'arrive': (lambda name, uuid, fields: simulator.arrive(name, uuid, **fields), 2, ({},)),
        'host_fails': (lambda host: _refused(simulator.host_fails(host)), 1, ()),
        'auto_power_on': (lambda: _refused(simulator.auto_power_on()), 0, ()),
        'set_consumer': (simulator.set_consumer, 1, ()),
        'set_field': (simulator.set_field, 3, ('VM',)),
        'set_emergency': (lambda code, *params: simulator.set_emergency(code or None, *params),
                          1, ()),
        'add_fault': (lambda fault: _add_fault(simulator, fault), 1, ()),
        'clear_faults': (simulator.faults.clear, 0, ()),
        'restart': (lambda mode, down, rollback: _restart(simulator, mode, down, rollback),
                    0, ('clean', 0.0, 0)),
        'set_master': (simulator.set_master, 1, ()),
        'reboot_host': (lambda down: _beside(simulator.reboot_host, float(down)), 0, (0.0,)),
        'hosts': (lambda: simulator.hosts, 0, ()),
    }
    return {'sim.' + name: Method(_ignore_caller(handler), mandatory, defaults)
            for name, (handler, mandatory, defaults) in handlers.items()}


def _ignore_caller(handler: Callable[..., Any]) -> Callable[..., Any]:
    return lambda state, caller, *params: handler(*params)


def _boots(simulator: Any, since: int) -> List[Dict[str, Any]]:
    return [_plain(boot) for boot in simulator.boots[since:]]


def _plain(value: Any) -> Dict[str, Any]:
    """Turn a named tuple into what the wire can carry; None becomes the empty string."""
    return {name: '' if item is None else item for name, item in value._asdict().items()}


def _spawn(simulator: Any, method: str, params: List[Any]) -> None:
    simulator.spawn(method, *params)


def _refused(failures: List[Any]) -> List[List[str]]:
    return [failure.description for failure in failures]


def _add_fault(simulator: Any, fields: Dict[str, Any]) -> None:
    known = {name: value for name, value in fields.items() if name in FAULT_FIELDS}
    for name in ('skip', 'count'):
        if name in known:
            known[name] = int(known[name])
    simulator.faults.add(Fault(**known))


def _restart(simulator: Any, mode: str, down: float, rollback: Any) -> None:
    _beside(simulator.restart, mode, float(down), int(rollback))


def _beside(act: Callable[..., None], *arguments: Any) -> None:
    # The connection that asks is cut like all others, so the restart happens beside it.
    threading.Thread(target=act, args=arguments, daemon=True).start()
