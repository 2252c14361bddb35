"""The floor: the barest loop that adds a missing span to a VM that starts. Standard library only.

It has no second thought: no replacement, no journal, no receipt, no recovery.
"""

import http.client
import json
import os
import socket
import sys
from typing import Any, Dict

KEY = 'device-model-args'


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__('localhost', timeout=60.0)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def call(connection: Connection, method: str, *params: Any) -> Any:
    """Make one call."""
    connection.request('POST', '/jsonrpc', json.dumps(
        {'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1}))
    return json.loads(connection.getresponse().read())['result']


def look(connection: Connection, session: str, spans: Dict[str, str], event: Any) -> None:
    """Add the span when the VM starts without."""
    record = event.get('snapshot')
    if not record or record['uuid'] not in spans or KEY in record['platform']:
        return
    if 'start' in record['current_operations'].values():
        call(connection, 'VM.add_to_platform', session, event['ref'], KEY, spans[record['uuid']])


def tell_ready() -> None:
    """Say that the first answer has been gone through."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
        telling.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])


def main(path: str, table: str) -> None:
    """Follow the events for ever."""
    with open(table, encoding='utf-8') as stream:
        spans = json.load(stream)
    connection = Connection(path)
    session = call(connection, 'session.login_with_password', 'root', '', '1.0', 'floor')
    token = ''
    while True:
        is_first = not token
        answer = call(connection, 'event.from', session, ['vm'], token, 30.0)
        token = answer['token']
        for event in answer['events']:
            look(connection, session, spans, event)
        if is_first:
            tell_ready()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
