"""What XAPI says of parameters of the wrong type: the words of its RPC library.  Pure."""

import functools
import inspect
from typing import Any, Callable, Dict, List, Sequence, Type

from simulator.wire.failures import Failure, internal_error

# The parameters of operations that are no texts, by their names in our handlers.
TYPES: Dict[str, Type[Any]] = {
    'paused': bool, 'force': bool, 'live': bool, 'options': dict, 'target': dict, 'vdis': dict,
    'vifs': dict, 'gpus': dict, 'ignored': list, 'arguments': dict, 'given': object}
OWN = ('s', 't', 'state', 'task', 'caller')  # those that do not come over the wire


def check_all(handler: Callable[..., Any], params: Sequence[Any]) -> None:
    """Raise when a parameter of an operation has not the type that its name tells."""
    for name, param in zip(_names(handler), params):
        check(TYPES.get(name, str), param)


def check(wanted: Type[Any], value: Any) -> None:
    """Raise when a value cannot be read as the type that is wanted."""
    if wanted is dict:
        _check_map(value)
    elif wanted is bool and not isinstance(value, bool):
        raise _unexpected('bool', value)
    elif wanted is list and not isinstance(value, (list, tuple)):
        raise internal_error(f'Failure("Expecting Rpc.Enum, but found \'{show(value)}\'")')
    elif wanted is str and not isinstance(value, str):
        raise _unexpected('string', value)


def show(value: Any) -> str:
    """Write a value as the RPC library shows it."""
    if value is None:
        return 'N'
    if isinstance(value, bool):
        return f'B({str(value).lower()})'
    if isinstance(value, int):
        return f'I({value})'
    if isinstance(value, float):
        return f'F({value:g})'
    if isinstance(value, dict):
        return '{' + ';'.join(f'{key}:{show(item)}' for key, item in value.items()) + '}'
    if isinstance(value, (list, tuple)):
        return '[' + ';'.join(map(show, value)) + ']'
    return f'S({value})'


@functools.lru_cache(maxsize=None)
def _names(handler: Callable[..., Any]) -> List[str]:
    return [name for name in inspect.signature(handler).parameters if name not in OWN]


def _check_map(value: Any) -> None:
    if not isinstance(value, dict):
        raise internal_error(f'Failure("Expecting Rpc.Dict, but found \'{show(value)}\'")')
    for item in value.values():
        check(str, item)


def _unexpected(wanted: str, value: Any) -> Failure:
    return internal_error(f'Failure("Expected {wanted}, got \'{show(value)}\'")')
