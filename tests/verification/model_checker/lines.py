"""The daemon's log, as far as it must not say certain things.

Writing lines takes longer than all the rest of a step: while a world is explored they are only
looked at. Of the rest, reading the same few values anew in every state takes a third: each is
read once.
"""

import contextlib
import functools
import sys
from typing import Any, Iterator, List
from unittest import mock

from watcher.vm import device_args

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
    """Have all modules of the watcher talk to the ear, and remember what they have read."""
    ear = _Ear()
    parse_args = functools.lru_cache(maxsize=None)(device_args.parse_args)
    with contextlib.ExitStack() as stack:
        for module in _list_users('watcher.', 'get_logger'):
            stack.enter_context(mock.patch.object(module, 'get_logger', lambda: ear))
        for module in _list_users(('watcher.', 'tests.verification.model_checker.'), 'parse_args'):
            stack.enter_context(mock.patch.object(module, 'parse_args', parse_args))
        yield


def _list_users(packages: Any, name: str) -> List[Any]:
    return [module for path, module in list(sys.modules.items())
            if path.startswith(packages) and hasattr(module, name)]
