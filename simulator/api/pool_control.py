"""The class `sim` on the wire, for a pool: what happens to its hosts.

What restarts xapi is answered at once and happens beside, for it cuts the connection that asks.
"""

from typing import Any, Callable, Dict, Tuple

from simulator.api.methods import Method


def build_methods(pool: Any) -> Dict[str, Method]:
    """Build the methods; none of them wants a session."""
    beside = {
        'lose_host': (pool.lose_host, 1, ()),
        'declare_dead': (pool.declare_dead, 1, ()),
        'return_host': (pool.return_host, 1, ()),
        'fail_over': (pool.fail_over, 1, ()),
        'take_over': (pool.take_over, 1, ()),
        'designate_new_master': (pool.designate_new_master, 1, ()),
        'upgrade_host': (lambda host, version: pool.upgrade_host(host, version=version),
                         1, ('26.2.0',)),
        'split': (lambda sides: pool.split(*sides), 1, ()),
        'heal': (lambda master: pool.heal(master or None), 0, ('',)),
    }
    handlers: Dict[str, Tuple[Callable[..., Any], int, Tuple[Any, ...]]] = {
        'sync_database': (pool.sync_database, 0, ()),
        'master': (lambda: pool.master, 0, ()),
        'sockets': (lambda: [pool.socket_path(host) for host in pool.hosts], 0, ()),
    }
    for name, (act, mandatory, defaults) in beside.items():
        handlers[name] = (_put_beside(pool, act), mandatory, defaults)
    return {'sim.' + name: Method(_ignore_caller(handler), mandatory, defaults)
            for name, (handler, mandatory, defaults) in handlers.items()}


def _put_beside(pool: Any, act: Callable[..., Any]) -> Callable[..., None]:
    return lambda *params: pool.beside(act, *params)


def _ignore_caller(handler: Callable[..., Any]) -> Callable[..., Any]:
    return lambda state, caller, *params: handler(*params)
