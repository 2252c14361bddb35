"""The client that lets a job make one call more than it has made before.

A job is steps that call XAPI a few times. It is started again from the top
with the answers it has had so far, and left where it asks for the next one: so anything may
happen between two calls, and a job under way is a value that can be copied.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from watcher.errors import VmVanished, XapiFailure, XapiUnreachable
from watcher.loop.steps import Steps
from watcher.vm.record import ARGS_KEY, VmRecord

Answer = Tuple[str, Any]
"""(code of the error or '', value)"""


class Paused(BaseException):
    """The job asks for a call that has no answer yet; no handler of ours catches it."""


class Job(NamedTuple):
    """What a caller does, with the answers it has had, and the record it set out from."""
    kind: str
    ref: str
    params: Tuple[Any, ...] = ()
    answers: Tuple[Answer, ...] = ()
    has_begun: bool = False
    known: Optional[VmRecord] = None


class Client:
    """Answers with what is recorded, then with one new answer, then not at all."""

    handle = 'OpaqueRef:session'

    def __init__(self, job: Job, execute: Callable[..., Answer], fault: str = '') -> None:
        self._execute = execute
        self._fault = fault
        self._index = 0
        self._may_ask = True
        self.known = job.known
        self.answers = job.answers

    def read_vm(self, ref: str) -> Steps[VmRecord]:
        """As the real one."""
        self.known = self._call('read_vm', ref)
        return self.known
        yield

    def read_platform(self, ref: str) -> Steps[Tuple[VmRecord, Dict[str, str]]]:
        """As the real one; the other keys are not part of this model."""
        vm = yield from self.read_vm(ref)
        return vm, {} if vm.args is None else {ARGS_KEY: vm.args}

    def set_platform(self, ref: str, platform: Dict[str, str]) -> Steps[None]:
        """As the real one."""
        self._call('set_args', ref, platform[ARGS_KEY])
        yield from ()

    def add_args(self, ref: str, value: str) -> Steps[None]:
        """As the real one."""
        self._call('add_args', ref, value)
        yield from ()

    def remove_args(self, ref: str) -> Steps[None]:
        """As the real one."""
        self._call('remove_args', ref)
        yield from ()

    def _call(self, name: str, ref: str, *params: Any) -> Any:
        if self._index == len(self.answers):
            if not self._may_ask:
                raise Paused()
            self._may_ask = False
            self.answers += (self._ask(name, ref, params),)
        error, value = self.answers[self._index]
        self._index += 1
        if error == 'cut':
            raise XapiUnreachable(error)
        if error == 'HANDLE_INVALID':
            raise VmVanished(error, ('VM', ref))
        if error:
            raise XapiFailure(error)
        return value

    def _ask(self, name: str, ref: str, params: Tuple[Any, ...]) -> Answer:
        if self._fault == 'request':
            return 'cut', None
        answer = self._execute(self.known, name, ref, *params)
        return ('cut', None) if self._fault == 'answer' else answer
