"""Which form a host's qemu-wrapper has: stock, or one of those that people patched by hand.

Only the text is looked at. A patch reads platform/device-model-args from xenstore and appends
what it finds to QEMU's arguments; forms differ in how they split it, and in whether they append
before the loop in which the wrapper reads options of its own, or last (docs/consumer.md).

Pure: no clock, no I/O, no logging.
"""

import ast
import enum
import warnings
from typing import Any, List, NamedTuple, Optional, Set

KEY = 'device-model-args'
# What every release from 24.0 to 26.17 has: the option that names the domain, and QEMU.
_TRAITS = ('-xen-domid', 'qemu-system-')


class Form(enum.Enum):
    """What a qemu-wrapper is."""

    STOCK = 'stock'
    PATCHED_1 = 'patched_1'
    PATCHED_2 = 'patched_2'
    PATCHED_3 = 'patched_3'
    PATCHED_OTHERWISE = 'patched_otherwise'
    UNKNOWN = 'unknown'
    MISSING = 'missing'

    @property
    def is_patched(self) -> bool:
        """Whether it appends arguments of its own, whatever its configuration."""
        return self.value.startswith('patched')


MEANINGS = {
    Form.STOCK: 'as packaged; reads no extra arguments itself',
    Form.PATCHED_1: 'patched by hand: splits at white space, appends last',
    Form.PATCHED_2: 'patched by hand: splits like a shell, appends before options are read',
    Form.PATCHED_3: 'patched by hand: splits like a shell, appends last',
    Form.PATCHED_OTHERWISE: 'patched by hand, in a way that is not known',
    Form.UNKNOWN: 'not a wrapper that is known',
    Form.MISSING: 'does not exist',
}


class _Finds(NamedTuple):
    """What the text of a patched wrapper does with the value."""

    is_shell: bool
    is_last: bool


def find_form(text: Optional[str]) -> Form:
    """Tell the form from the text; None is a file that is not there."""
    if text is None:
        return Form.MISSING
    tree = _parse(text)
    if tree is None:
        return Form.UNKNOWN
    if not any(KEY in item for item in _strings(tree)):
        return Form.STOCK if all(trait in text for trait in _TRAITS) else Form.UNKNOWN
    finds = _find_traits(tree)
    if finds is None:
        return Form.PATCHED_OTHERWISE
    return {_Finds(False, True): Form.PATCHED_1, _Finds(True, False): Form.PATCHED_2,
            _Finds(True, True): Form.PATCHED_3}.get(finds, Form.PATCHED_OTHERWISE)


def _parse(text: str) -> Optional[ast.Module]:
    with warnings.catch_warnings():
        # The stock wrapper has escapes that newer Pythons warn of.
        warnings.simplefilter('ignore')
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return None


def _find_traits(tree: ast.Module) -> Optional[_Finds]:
    """How the value is split and where it is appended; None when that is not to be seen."""
    loops = [node.lineno for node in ast.walk(tree)
             if isinstance(node, ast.While) and 'len' in _names(node.test)]
    places = _find_places(tree)
    if not loops or not places:
        return None
    is_shell = any('shlex' in _names(node) for node in ast.walk(tree)
                   if isinstance(node, (ast.Call, ast.ImportFrom)))
    return _Finds(is_shell, max(places) > min(loops))


def _find_places(tree: ast.Module) -> List[int]:
    """The lines in which something that comes from the value is appended to a list."""
    carriers: Set[str] = set()
    while True:
        found = carriers | {name for node in ast.walk(tree)
                            for name in _carried(node, carriers)}
        if found == carriers:
            break
        carriers = found
    return [node.lineno for node in ast.walk(tree)  # type: ignore[attr-defined]
            if _is_appending(node) and _carries(_appended(node), carriers)]


def _carried(node: Any, carriers: Set[str]) -> Set[str]:
    """The names that a statement gives the value to: variables, and functions that return it."""
    if isinstance(node, ast.FunctionDef):
        returned = [item.value for item in ast.walk(node) if isinstance(item, ast.Return)]
        return {node.name} if any(_carries(item, carriers) for item in returned if item) else set()
    if isinstance(node, ast.For) and _carries(node.iter, carriers):
        return _names(node.target)
    if isinstance(node, ast.Assign) and _carries(node.value, carriers) and not _is_appending(node):
        return {item.id for target in node.targets for item in ast.walk(target)
                if isinstance(item, ast.Name)}
    return set()


def _carries(node: Any, carriers: Set[str]) -> bool:
    return bool(_names(node) & carriers) or any(KEY in item for item in _strings(node))


def _is_appending(node: Any) -> bool:
    if isinstance(node, ast.Assign):
        own = {item.id for item in node.targets if isinstance(item, ast.Name)}
        return isinstance(node.value, ast.BinOp) and bool(own & _names(node.value))
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ('append', 'extend')
    return isinstance(node, ast.AugAssign)


def _appended(node: Any) -> Any:
    return ast.Tuple(elts=node.args, ctx=ast.Load()) if isinstance(node, ast.Call) else node.value


def _names(node: Any) -> Set[str]:
    found = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    return found | {node.module or '' for node in ast.walk(node)
                    if isinstance(node, ast.ImportFrom)}


def _strings(node: Any) -> List[str]:
    """The texts in a piece of code; comments are none."""
    # Str is gone from Python 3.12 on, Constant is not made by 3.6.
    return [value for item in ast.walk(node) for value in [getattr(
        item, 'value' if type(item).__name__ == 'Constant' else 's', None)]
        if type(item).__name__ in ('Constant', 'Str') and isinstance(value, str)]
