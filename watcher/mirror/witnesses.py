"""What other hosts of the pool remember of the mirror.

A master that was wiped remembers nothing: an older mirror that was put back, or one whose
codes are all taken away, looks to it like any other. So it asks the other hosts first, through
their plugin. Who does not answer soon says nothing against it.
"""

import json
from typing import Any, Callable, NamedTuple, Optional, Tuple, Union

from watcher.errors import XapiError
from watcher.loop.steps import Steps
from watcher.mirror.entries import MirrorInvalid, PoolEntry, parse_generation
from watcher.xapi.client import Client
from watcher.xapi.plugin_protocol import PLUGIN

FUNCTION = 'mirror'
# A busy host may take seconds to start its plugin, and must not lose its say by that. Nothing is
# lost by waiting: only a host without registry and journal asks, and VMs keep what they carry.
PATIENCE_SECONDS = 15.0
_MAX_ANSWER = 10000
_MAX_HOSTS = 64


class HostsListed(NamedTuple):
    """The hosts of the pool; none when XAPI does not tell."""
    hosts: Tuple[str, ...] = ()


class Testimony(NamedTuple):
    """What one host remembers; nothing when it did not answer."""
    host: str
    number: int = 0
    """How far its copy of the registry has been."""
    is_signed: bool = False
    """It has seen a valid code in this resource pool."""


def list_hosts(client: Client) -> Steps[HostsListed]:
    """Ask which hosts there are. Never raises for XAPI's sake."""
    try:
        with client.limited(PATIENCE_SECONDS):
            return HostsListed((yield from client.read_refs('host.get_all'))[:_MAX_HOSTS])
    except XapiError:
        return HostsListed()


def ask_host(client: Client, host: str, resource_pool: str) -> Steps[Testimony]:
    """Ask one host. Never raises for XAPI's sake."""
    try:
        with client.limited(PATIENCE_SECONDS):
            answer = yield from client.call('host.call_plugin', host, PLUGIN, FUNCTION,
                                            {'resource_pool': resource_pool})
    except XapiError:
        return Testimony(host)
    return parse_testimony(host, answer)


def parse_testimony(host: str, answer: Any) -> Testimony:
    """Read an answer; what is none says nothing."""
    try:
        if not isinstance(answer, str) or len(answer) > _MAX_ANSWER:
            return Testimony(host)
        document = json.loads(answer)
        text = document.get('generation')
        number = parse_generation(text).number if text else 0
        return Testimony(host, number, document.get('is_signed') is True)
    except (ValueError, RecursionError, AttributeError, MirrorInvalid):
        return Testimony(host)


class Witnesses:
    """Asks, and weighs what was said."""

    def __init__(self, list_them: Callable[[], None], ask: Callable[[str, str], None]) -> None:
        self._list = list_them
        self._ask = ask
        self._resource_pool = ''
        self._own = ''
        self._until: Optional[float] = None
        self._missing: Optional[int] = None
        self._heard: Tuple[Testimony, ...] = ()

    def restart(self) -> None:
        """A new session: they are asked again."""
        self._until, self._missing, self._heard = None, None, ()

    def hear(self, message: Union[HostsListed, Testimony]) -> None:
        """Take an answer."""
        if isinstance(message, HostsListed):
            others = [host for host in message.hosts if host != self._own]
            self._missing = len(others)
            for host in others:
                self._ask(host, self._resource_pool)
        elif self._missing is not None:
            self._missing -= 1
            self._heard += (message,)

    def weigh(self, mirror: PoolEntry, own: str, is_signed: bool, now: float) -> Optional[str]:
        """What speaks against believing a mirror, '' for nothing; None while they are asked."""
        if self._until is None:
            self._until = now + PATIENCE_SECONDS
            self._resource_pool, self._own = mirror.resource_pool, own
            self._list()
        if self._missing != 0 and now < self._until:
            return None
        for testimony in self._heard:
            if testimony.number > mirror.generation.number:
                return f'another host has been at generation {testimony.number}'
            if testimony.is_signed and not is_signed:
                return 'another host has seen it signed'
        return ''
