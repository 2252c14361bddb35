"""What other hosts of the pool run: asked through their plugin, by way of XAPI.

The master's daemon verifies with this what VMs elsewhere booted with: one call per boot. The
plugin looks patiently there, and a host that has none, or does not answer, is left in peace for a
while. There is no network service of ours: XAPI carries the call, and checks who may make it.
"""

from typing import Any, Callable, Dict, Optional

from watcher.errors import SessionLost, XapiError, XapiFailure, XapiUnreachable
from watcher.loop.loop import Loop
from watcher.loop.steps import Steps
from watcher.vm.boot import BootFinding
from watcher.xapi.callers import Callers
from watcher.xapi.client import Client
from watcher.xapi.plugin_protocol import (PLUGIN, AnswerInvalid, InspectionRequest, parse_finding,
                                          render_inspection)
from watcher.xapi.rpc import NoteCall

# Their own connections: a host that hangs must not hold up calls for others.
INSPECTORS = 4
# The plugin starts in a fraction of a second and looks for two.
CALL_SECONDS = 10.0
# A plugin may be installed later; a host that is away comes back.
LACKING_SECONDS = 600.0
SILENT_SECONDS = 30.0

_LACKING = frozenset(['XENAPI_MISSING_PLUGIN', 'UNKNOWN_XENAPI_PLUGIN_FUNCTION',
                      'MESSAGE_METHOD_UNKNOWN', 'RBAC_PERMISSION_DENIED'])


class OtherHosts:
    """The plugins of the other hosts, and which of them are left in peace until when."""

    def __init__(self, loop: Loop, put: Callable[[Any], None], clock: Callable[[], float],
                 note_call: Optional[NoteCall] = None) -> None:
        self._clock = clock
        self.callers = Callers('remote-inspector', INSPECTORS, loop, put, note_call)
        self._silent: Dict[str, float] = {}

    def inspect(self, client: Client, host: str, request: InspectionRequest) -> Steps[BootFinding]:
        """Ask a host what a domain of its runs with; not readable when it does not say."""
        if self._clock() < self._silent.get(host, 0.0):
            return _unreadable('the host that runs the VM has not answered lately')
        began_at = self._clock()
        try:
            with client.limited(CALL_SECONDS):
                answer = yield from client.call('host.call_plugin', host, PLUGIN, 'look',
                                                render_inspection(request))
            return parse_finding(answer)
        except (XapiError, AnswerInvalid) as error:
            self._note_failure(host, error, self._clock() - began_at)
            return _unreadable(f'the host that runs the VM cannot be asked: {error}')

    def _note_failure(self, host: str, error: Exception, seconds: float) -> None:
        """Leave the host in peace, unless it is our own XAPI that failed."""
        is_ours = isinstance(error, SessionLost) or (isinstance(error, XapiUnreachable)
                                                     and seconds < CALL_SECONDS / 2)
        if not is_ours:
            is_lacking = isinstance(error, XapiFailure) and error.code in _LACKING
            self._silent[host] = self._clock() + (LACKING_SECONDS if is_lacking
                                                  else SILENT_SECONDS)


def _unreadable(problem: str) -> BootFinding:
    return BootFinding(is_readable=False, problem=problem[:200])
