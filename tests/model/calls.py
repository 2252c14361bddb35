"""The client that lets the injector make one call more than it has made before."""

import contextlib
from typing import Any, Iterator, Optional, Tuple

from watcher.errors import XapiFailure, XapiUnreachable
from watcher.records import VmRecord


class Paused(BaseException):
    """The injector asks for a call that has no answer yet; no handler of ours catches it."""


class Client:
    """Answers the injector with what is recorded, then with one new answer, then not at all."""

    def __init__(self, world: Any, fault: str) -> None:
        self._world = world
        self._fault = fault
        self._index = 0
        self._may_ask = True
        self.answers = world.job.answers

    handle = 'OpaqueRef:session'

    @contextlib.contextmanager
    def limited(self, _seconds: float) -> Iterator[None]:
        """As the real one: here time does not pass."""
        yield

    def read_vm(self, _ref: str) -> VmRecord:
        """As the real one."""
        return self._call('read_vm')

    def add_args(self, _ref: str, value: str) -> None:
        """As the real one."""
        self._call('add_args', value)

    def remove_args(self, _ref: str) -> None:
        """As the real one."""
        self._call('remove_args')

    def add_block(self, _ref: str, operation: str, text: str) -> None:
        """As the real one."""
        self._call('add_block', operation, text)

    def remove_block(self, _ref: str, operation: str) -> None:
        """As the real one."""
        self._call('remove_block', operation)

    def _call(self, name: str, *params: Any) -> Any:
        if self._index == len(self.answers):
            if not self._may_ask:
                raise Paused()
            self._may_ask = False
            self.answers += (self._ask(name, *params),)
        error, value = self.answers[self._index]
        self._index += 1
        if error == 'cut':
            raise XapiUnreachable(error)
        if error is not None:
            raise XapiFailure(error)
        return value

    def _ask(self, name: str, *params: Any) -> Tuple[Optional[str], Any]:
        if self._fault == 'request':
            return 'cut', None
        answer = self._world.execute(name, *params)
        return ('cut', None) if self._fault == 'answer' else answer
