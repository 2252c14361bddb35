"""A loop over `select.epoll` with a heap of timers: one thread, no callbacks but the wires'."""

import heapq
import itertools
import select
import socket
import sys
import time
from typing import Any, Callable, Dict, List

from benchmarks.prototypes.core import DECIDERS, WIRES, Ask, Driver, Job, Wire, follow


class EpollWire(Wire):
    """A non-blocking socket."""

    def __init__(self, driver: 'EpollDriver', path: str) -> None:
        super().__init__(driver)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self._unsent = b''
        self.ends_at = 0.0
        driver.register(self)

    def begin(self, job: Job, ask: Ask) -> None:
        """Send a call; what the socket does not take at once waits for it."""
        data = self.request(job, ask)
        self.ends_at = time.monotonic() + ask.seconds
        heapq.heappush(self.driver.limits, (self.ends_at, id(self), self))  # type: ignore
        self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        if self._unsent:
            self.driver.await_room(self, True)  # type: ignore

    def on_room(self) -> None:
        """The socket takes more."""
        self.driver.await_room(self, False)  # type: ignore
        self._write(self._unsent)

    def on_data(self) -> None:
        """Read once; what is left has the loop come back, after others."""
        self.take(self.sock.recv(65536))

    def finish(self) -> None:
        """The limit of this call counts no more; its entry goes when its time has come."""
        self.ends_at = 0.0


class EpollDriver(Driver):
    """The loop."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._wires: Dict[int, EpollWire] = {}
        self.limits: List[Any] = []
        self._timers: List[Any] = []
        self._numbers = itertools.count()

    def register(self, wire: EpollWire) -> None:
        """Hear a wire."""
        self._wires[wire.sock.fileno()] = wire
        self._epoll.register(wire.sock.fileno(), select.EPOLLIN)

    def await_room(self, wire: EpollWire, is_wanted: bool) -> None:
        """Be told when a wire takes more, or no more."""
        self._epoll.modify(wire.sock.fileno(),
                           select.EPOLLIN | (select.EPOLLOUT if is_wanted else 0))

    def call_later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), act))

    def run(self) -> None:
        """Run for ever."""
        while True:
            for descriptor, kind in self._epoll.poll(self._find_wait()):
                wire = self._wires[descriptor]
                if kind & select.EPOLLOUT:
                    wire.on_room()
                if kind & ~select.EPOLLOUT:
                    wire.on_data()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            while self.limits and self.limits[0][0] <= now:
                ends_at, _number, wire = heapq.heappop(self.limits)
                if wire.ends_at == ends_at:
                    raise SystemExit('a call took too long')

    def _find_wait(self) -> float:
        until = min([heap[0][0] for heap in (self._timers, self.limits) if heap], default=None)
        return -1 if until is None else max(0.0, until - time.monotonic())


def main() -> None:
    """Run with: CONFIGURATION SOCKET bare|whole."""
    _configuration, path, kind = sys.argv[1:]
    driver = EpollDriver()
    driver.stream = EpollWire(driver, path)
    driver.idle = [EpollWire(driver, path) for _ in range(WIRES)]
    driver.spawn(follow(driver, DECIDERS[kind]))
    driver.run()


if __name__ == '__main__':
    main()
