"""What a master finds of its hosts. In a lone simulator all of them are always there."""

from typing import Any, Dict, List, Optional

from simulator.state import plugins
from simulator.wire.failures import Failure


class HostAccess:
    """The hosts of a lone simulator; a pool of several has a site of its own."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def rules(self, host: str) -> bool:
        """Ask whether a host is up and has this master."""
        return True

    def assert_reachable(self, host: str) -> None:
        """Raise what XAPI raises when it cannot hand a call on to a host."""
        assert_live(self._state, host)

    def is_up(self, host: str) -> bool:
        """Ask whether a host has power."""
        return True

    def find_ruler(self, host: str) -> Optional[Any]:
        """Return the state in which a host's xapi writes, None while the host is down."""
        return self._state

    def call_plugin(self, session: str, host: str, name: str, function: str,
                    arguments: Dict[str, str]) -> str:
        """Run a plugin on a host."""
        settings = self._state.settings
        return plugins.call(settings.plugins_directory, dict(settings.plugin_environment),
                            session, name, function, arguments)

    def sync_database(self) -> None:
        """Hand the database to the members: there are none."""

    def designate_new_master(self, host: str) -> None:
        """Change the master: here it is a matter of the record only."""
        self._state.database.write('pool', self._state.pool, 'master', host)

    def recover_slaves(self) -> List[str]:
        """Tell the other hosts who is master."""
        return []


def assert_live(state: Any, host: str) -> None:
    """Raise HOST_OFFLINE for a host whose record says that it is not there."""
    metrics = state.database.read('host', host, 'metrics')
    if host != state.this_host and not state.database.read('host_metrics', metrics, 'live'):
        raise Failure('HOST_OFFLINE', [host])
