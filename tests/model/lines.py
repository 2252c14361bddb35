"""The daemon's log, as far as it must not say certain things.

Writing lines takes longer than all the rest of a step: while a world is explored they are only
looked at.
"""

import contextlib
import sys
from typing import Any, Iterator, List
from unittest import mock

# The Watcher survives what goes wrong around one VM; the model does not let it pass.
UNFORGIVEN = frozenset(['vm.processing_failed', 'journal.write_dropped', 'journal.unwritable'])


class Unforgiven(AssertionError):
    """The daemon has said what it must not have to say."""


class _Ear:
    """A logger that only listens."""

    def info(self, event: str, **fields: Any) -> None:
        """Listen."""
        if event in UNFORGIVEN:
            raise Unforgiven(event, fields)

    debug = warning = error = info


@contextlib.contextmanager
def hear() -> Iterator[None]:
    """Have all modules of the watcher talk to the ear."""
    ear, modules = _Ear(), []  # type: _Ear, List[Any]
    for name, module in list(sys.modules.items()):
        if name.startswith('watcher.') and hasattr(module, 'get_logger'):
            modules.append(module)
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, 'get_logger', lambda: ear))
        yield
