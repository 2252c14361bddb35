"""What we tell the service manager: ready, status, alive, stopping.

Called by the main loop only, so that a hung main loop is noticed. Without NOTIFY_SOCKET every
method does nothing, and no method ever raises: a service manager that does not listen is no
reason to stop watching.
"""

import os
import re
import socket
import time
from typing import Callable, Mapping, Optional

# Often enough for a reader, and next to nothing for systemd.
MAX_WATCHDOG_SECONDS = 5.0
MAX_STATUS_CHARACTERS = 500

_NOT_PRINTABLE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029]+')


class Notifier:
    """Sends datagrams to the socket that the environment names."""

    def __init__(self, environ: Mapping[str, str], *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._address = _parse_address(environ.get('NOTIFY_SOCKET', ''))
        self._clock = clock
        self._next_watchdog: Optional[float] = None
        self._is_ready_lost = False
        """Whether the service manager had no room for READY=1, for which it still waits."""
        self.watchdog_interval_seconds = _parse_watchdog(environ)

    def ready(self) -> None:
        """Say that the service is up."""
        self._is_ready_lost = not self._send('READY=1')

    def stopping(self) -> None:
        """Say that the service is going down."""
        self._send('STOPPING=1')

    def status(self, text: str) -> None:
        """Say in one line how things are."""
        self._send('STATUS=' + _NOT_PRINTABLE.sub(' ', text)[:MAX_STATUS_CHARACTERS])

    def watchdog(self) -> None:
        """Say that the main loop is alive; may be called as often as one likes."""
        now = self._clock()
        if self._next_watchdog is None or now >= self._next_watchdog:
            self._next_watchdog = now + min(self.watchdog_interval_seconds or MAX_WATCHDOG_SECONDS,
                                            MAX_WATCHDOG_SECONDS)
            if self._is_ready_lost:
                self.ready()
            self._send('WATCHDOG=1')

    def _send(self, message: str) -> bool:
        """Send it, if systemd listens; False when it was not taken."""
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                # A full queue at the other end must not hold up the main loop.
                connection.setblocking(False)
                connection.sendto(message.encode('utf-8', 'replace'), self._address)
                return True
        except OSError:
            return False


def _parse_address(text: str) -> Optional[bytes]:
    """The socket's address; '@' stands for the NUL of an abstract one. None for anything else."""
    if text.startswith('@'):
        return b'\0' + os.fsencode(text[1:])
    return os.fsencode(text) if text.startswith('/') else None


def _parse_watchdog(environ: Mapping[str, str]) -> Optional[float]:
    """Half of the time after which the service manager would kill us; None when it would not."""
    try:
        period_us = int(environ.get('WATCHDOG_USEC', '0'))
        is_ours = int(environ.get('WATCHDOG_PID', os.getpid())) == os.getpid()
    except ValueError:
        return None
    return period_us / 2e6 if is_ours and period_us > 0 else None
