"""Calls to the embedded XAPI of the demo: JSON-RPC over its Unix socket."""

import http.client
import json
import socket
import threading
import time
from typing import Any, Dict, List, Optional

TIMEOUT_SECONDS = 20.0
RETRY_SECONDS = 0.05
REACHABLE_WITHIN_SECONDS = 10.0


class Refused(Exception):
    """XAPI said no."""

    def __init__(self, code: str, params: List[str]) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params


class Unreachable(Exception):
    """No answer: the toolstack is down, or went away during the call."""


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__('localhost', timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


class Errand(threading.Thread):
    """One VM's operations, one after the other, as a user at a console would call them."""

    def __init__(self, xapi: 'Xapi', calls: List[Any]) -> None:
        super().__init__(daemon=True)
        self._xapi = xapi
        self._calls = calls
        self.problem = ''
        self.was_cut_off = False

    def run(self) -> None:
        """Make the calls; a number among them is a pause in seconds."""
        try:
            for call in self._calls:
                if isinstance(call, float):
                    time.sleep(call)
                else:
                    self._xapi.call(*call)
        except Refused as refused:
            self.problem = f'{call[0]} was refused: {refused.code}'
        except Unreachable:
            self.was_cut_off = True


class Xapi:
    """The pool as the demo drives it; every thread may use it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def sim(self, method: str, *params: Any) -> Any:
        """Call a method of the class sim."""
        connection = Connection(self.path)
        try:
            body = json.dumps({'jsonrpc': '2.0', 'method': 'sim.' + method,
                               'params': list(params), 'id': 1})
            connection.request('POST', '/jsonrpc', body.encode('ascii'))
            answer = json.loads(connection.getresponse().read().decode('utf-8'))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(str(error)) from error
        finally:
            connection.close()
        if 'error' in answer:
            raise Refused(answer['error']['message'], answer['error']['data'])
        return answer['result']

    def call(self, method: str, *params: Any) -> Any:
        """Call a method of XAPI as root."""
        return self.sim('call', method, list(params))

    def begin(self, *calls: Any) -> Errand:
        """Make calls beside the caller."""
        errand = Errand(self, list(calls))
        errand.start()
        return errand

    def records(self) -> Dict[str, Dict[str, Any]]:
        """Read all VM records, by reference; waits while the toolstack restarts."""
        return self._insist('call', 'VM.get_all_records', [])

    def boots(self, since: int) -> List[Dict[str, Any]]:
        """Read what each QEMU took, from the given boot on."""
        try:
            return self.sim('boots', since)
        except Unreachable:
            return []

    def restart(self, mode: str, down_seconds: float, rollback: int) -> None:
        """Restart the toolstack, and wait until it answers again."""
        try:
            self.sim('restart', mode, down_seconds, rollback)
        except Unreachable:
            pass  # the answer may be lost with the connection
        time.sleep(down_seconds)
        self._insist('hosts')

    def _insist(self, method: str, *params: Any) -> Any:
        deadline = time.monotonic() + REACHABLE_WITHIN_SECONDS
        while True:
            try:
                return self.sim(method, *params)
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_SECONDS)


def carried(record: Dict[str, Any]) -> Optional[str]:
    """Return the arguments that a VM record carries."""
    return record['platform'].get('device-model-args')
