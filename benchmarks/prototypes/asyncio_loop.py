"""The same on asyncio's transports and protocols; no future, no task after the start."""

import asyncio
import sys
from typing import Any, Callable, cast

from benchmarks.prototypes.core import DECIDERS, WIRES, Ask, Driver, Job, Wire, follow


class AsyncioWire(Wire, asyncio.Protocol):
    """A protocol whose data steps a job."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(Any, transport)

    def begin(self, job: Job, ask: Ask) -> None:
        """Send a call, with a limit for the whole of it."""
        self._limit = cast(AsyncioDriver, self.driver).loop.call_later(ask.seconds, self._give_up)
        self._transport.write(self.request(job, ask))

    def data_received(self, data: bytes) -> None:
        """Read."""
        self.take(data)

    def finish(self) -> None:
        """The limit counts no more."""
        self._limit.cancel()

    def _give_up(self) -> None:
        raise SystemExit('a call took too long')


class AsyncioDriver(Driver):
    """Gives jobs what asyncio has."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop

    def call_later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later."""
        self.loop.call_later(seconds, act)


def main() -> None:
    """Run with: CONFIGURATION SOCKET bare|whole."""
    _configuration, path, kind = sys.argv[1:]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    driver = AsyncioDriver(loop)

    def connect() -> AsyncioWire:
        _transport, wire = loop.run_until_complete(
            loop.create_unix_connection(lambda: AsyncioWire(driver), path))
        return cast(AsyncioWire, wire)
    driver.stream = connect()
    driver.idle = [connect() for _ in range(WIRES)]
    loop.call_soon(driver.spawn, follow(driver, DECIDERS[kind]))
    loop.run_forever()


if __name__ == '__main__':
    main()
