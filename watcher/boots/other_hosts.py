"""What other hosts of the pool run: asked through their plugin, by way of XAPI.

The master's daemon verifies with this what VMs elsewhere booted with: one call per boot. The
plugin looks patiently there, and a host that has none, or does not answer, is left in peace for a
while. There is no network service of ours: XAPI carries the call, and checks who may make it.
"""

import threading
from typing import Any, Callable, Dict, Tuple

from watcher.errors import SessionLost, XapiError, XapiFailure, XapiUnreachable
from watcher.vm.boot import Finding
from watcher.xapi.plugin_protocol import (PLUGIN, AnswerInvalid, InspectionRequest, parse_finding,
                                          render_look)
from watcher.xapi.workers import Clients, Workers

# Their own threads: a host that hangs must not hold up the looks at this one.
INSPECTORS = 4
# The plugin starts in a fraction of a second and looks for two.
CALL_SECONDS = 10.0
# A plugin may be installed later; a host that is away comes back.
LACKING_SECONDS = 600.0
SILENT_SECONDS = 30.0

_LACKING = frozenset(['XENAPI_MISSING_PLUGIN', 'UNKNOWN_XENAPI_PLUGIN_FUNCTION',
                      'MESSAGE_METHOD_UNKNOWN', 'RBAC_PERMISSION_DENIED'])


class RemoteHosts:
    """The plugins of the other hosts, and which of them are left in peace until when."""

    def __init__(self, clients: Clients, put: Callable[[Any], None],
                 clock: Callable[[], float]) -> None:
        self._clients = clients
        self._clock = clock
        self._workers = Workers('remote-inspector', INSPECTORS, put)
        self._silent: Dict[str, float] = {}

    @property
    def threads(self) -> Tuple[threading.Thread, ...]:
        """Those that wait for other hosts."""
        return self._workers.threads

    def submit(self, job: Callable[[], Any]) -> None:
        """Have a look done by a thread that may wait for another host. Main thread only."""
        self._workers.submit(job)

    def look(self, host: str, request: InspectionRequest) -> Finding:
        """Ask a host what a domain of its runs with; not readable when it does not say."""
        if self._clock() < self._silent.get(host, 0.0):
            return _unreadable('the host that runs the VM has not answered lately')
        began_at = self._clock()
        try:
            client = self._clients.current()
            with client.limited(CALL_SECONDS):
                answer = client.call('host.call_plugin', host, PLUGIN, 'look',
                                     render_look(request))
            return parse_finding(answer)
        except (XapiError, AnswerInvalid) as error:
            self._note_failure(host, error, self._clock() - began_at)
            return _unreadable('the host that runs the VM cannot be asked: %s' % error)

    def _note_failure(self, host: str, error: Exception, seconds: float) -> None:
        """Leave the host in peace, unless it is our own XAPI that failed."""
        is_ours = isinstance(error, SessionLost) or (isinstance(error, XapiUnreachable)
                                                     and seconds < CALL_SECONDS / 2)
        if not is_ours:
            is_lacking = isinstance(error, XapiFailure) and error.code in _LACKING
            self._silent[host] = self._clock() + (LACKING_SECONDS if is_lacking
                                                  else SILENT_SECONDS)


def _unreadable(problem: str) -> Finding:
    return Finding(is_readable=False, problem=problem[:200])
