"""Serves a small XAPI over a Unix socket or TCP, by XML-RPC, JSON-RPC or one of the two."""

import http.server
import json
import os
import socket
import socketserver
import threading
import time
import xmlrpc.client
from typing import Any, Dict, List, Optional, Tuple

from tests.integration.second_xapi.tables import Refusal
from tests.integration.second_xapi.xapi import Called, Xapi

_HANG_SECONDS = 60.0


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Any
    protocol_version = 'HTTP/1.1'

    def setup(self) -> None:
        """Remember the connection, so that it can be cut."""
        super().setup()
        self.protocol_version = self.server.xapi.manner.version
        self.server.connections.append(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
        """Say nothing."""

    def address_string(self) -> str:
        """A Unix socket has none."""
        return 'local'

    def do_POST(self) -> None:  # pylint: disable=invalid-name
        """A call."""
        xapi = self.server.xapi
        body = self.rfile.read(int(self.headers['Content-Length']))
        trouble = self.server.trouble
        if trouble is not None and self._misbehave(trouble):
            return
        is_json = self.path == '/jsonrpc'
        if ('json' if is_json else 'xml') not in xapi.manner.speaks:
            self.close_connection = True
            if xapi.manner.no_such_page:
                self._reply(xapi.manner.no_such_page, b'<html>no</html>', 'text/html')
            return
        try:
            (self._serve_json if is_json else self._serve_xml)(body)
        except (BrokenPipeError, ConnectionResetError, ValueError):
            self.close_connection = True

    def _serve_xml(self, body: bytes) -> None:
        params, method = xmlrpc.client.loads(body.decode('utf-8'))
        if self._fail_oddly(method):
            return
        try:
            answer = {'Status': 'Success', 'Value': self._call(method, params, 'xml')}
        except Refusal as refusal:
            answer = {'Status': 'Failure', 'ErrorDescription': refusal.details}
        except TypeError as error:
            text = xmlrpc.client.dumps(xmlrpc.client.Fault(1, str(error)))
            self._reply(200, text.encode('utf-8'), 'text/xml')
            return
        text = xmlrpc.client.dumps((answer,), methodresponse=True, allow_none=True)
        self._reply(200, text.encode('utf-8'), 'text/xml')

    def _serve_json(self, body: bytes) -> None:
        request = json.loads(body.decode('utf-8'))
        method = request['method']
        if self._fail_oddly(method):
            return
        answer: Dict[str, Any] = {'jsonrpc': '2.0', 'id': request['id']}
        try:
            answer['result'] = self._call(method, tuple(request['params']), 'json')
        except Refusal as refusal:
            answer['error'] = {'code': 1, 'message': refusal.details[0],
                               'data': refusal.details[1:]}
        except TypeError as error:
            answer['error'] = {'code': -32602, 'message': str(error)}
        self._reply(200, json.dumps(answer).encode('utf-8'), 'application/json')

    def _call(self, method: str, params: Tuple[Any, ...], protocol: str) -> Any:
        xapi = self.server.xapi
        xapi.calls.append(Called(time.monotonic(), method, params, protocol,
                                 self.headers.get('User-Agent', '')))
        return xapi.call(method, params)

    def _fail_oddly(self, method: str) -> bool:
        how = self.server.xapi.manner.fails(method)
        if how in (None, 'unknown'):
            return False
        self.server.xapi.calls.append(Called(time.monotonic(), method, (), how, ''))
        return self._misbehave(how)

    def _misbehave(self, how: str) -> bool:
        """Answer as no XAPI should; True when that was the answer."""
        if how == '500':
            self._reply(500, b'<html>internal error</html>', 'text/html')
        elif how == 'close':
            self.close_connection = True
        elif how == 'garbage':
            self._reply(200, b'\x00\xff<<<{{{', 'text/plain')
        elif how == 'short':
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"jsonrpc')
            self.close_connection = True
        elif how == 'fault':
            text = xmlrpc.client.dumps(xmlrpc.client.Fault(1, 'method not supported'))
            self._reply(200, text.encode('utf-8'), 'text/xml')
        elif how == 'null':
            is_json = self.path == '/jsonrpc'
            text = json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': None}) if is_json else \
                xmlrpc.client.dumps(({'Status': 'Success', 'Value': ''},), methodresponse=True)
            self._reply(200, text.encode('utf-8'), 'application/json' if is_json else 'text/xml')
        elif how == 'hang':
            self.server.ended.wait(_HANG_SECONDS)
            self.close_connection = True
        else:
            return False
        return True

    def _reply(self, status: int, body: bytes, content_type: str) -> None:
        manner = self.server.xapi.manner
        self.send_response(status)
        self.send_header('Content-Type', content_type)
        is_chunked = manner.is_chunked and manner.version == 'HTTP/1.1'
        if is_chunked:
            self.send_header('Transfer-Encoding', 'chunked')
        elif manner.keeps_alive:
            self.send_header('Content-Length', str(len(body)))
        if not manner.keeps_alive:
            self.send_header('Connection', 'close')
            self.close_connection = True
        self.end_headers()
        if is_chunked:
            for start in range(0, len(body), 1000):
                part = body[start:start + 1000]
                self.wfile.write(b'%x\r\n%s\r\n' % (len(part), part))
            self.wfile.write(b'0\r\n\r\n')
        else:
            self.wfile.write(body)


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class _Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class Served:
    """An XAPI behind a socket, which may go away and come back."""

    def __init__(self, xapi: Xapi, path: str = '') -> None:
        self.xapi = xapi
        self.path = path
        self.address = 'unix:%s' % path
        self._server: Any = None
        self.trouble: Optional[str] = None

    def start(self) -> 'Served':
        """Listen."""
        if self.path:
            self._server = _Unix(self.path, _Handler)
        else:
            self._server = _Tcp(('127.0.0.1', 0), _Handler)
            self.address = 'http://127.0.0.1:%d' % self._server.server_address[1]
        self._server.xapi, self._server.trouble = self.xapi, self.trouble
        self._server.connections, self._server.ended = [], threading.Event()
        # The loop looks for its end no more often than this.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def spoil(self, how: Optional[str]) -> None:
        """From now on every request is answered in this way (None: properly)."""
        self.trouble = how
        if self._server is not None:
            self._server.trouble = how

    def stop(self) -> None:
        """Listen no more, and cut all connections."""
        server, self._server = self._server, None
        if server is None:
            return
        server.ended.set()
        server.shutdown()
        server.server_close()
        self._cut(server.connections)
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    def cut(self) -> None:
        """Cut all connections."""
        self._cut(self._server.connections)

    @staticmethod
    def _cut(connections: List[socket.socket]) -> None:
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        del connections[:]
