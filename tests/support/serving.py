"""An HTTP server of the standard library that answers while a block lasts."""

import contextlib
import socketserver
import threading
from typing import Iterator


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Have it answer from a thread; it is stopped and closed at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
