"""What a master finds of the hosts of its pool: some are down, cut off, or have another master."""

from typing import Any, Dict, List, Optional

from simulator.hosts.node import Reign
from simulator.state import plugins
from simulator.state.host_access import HostAccess, assert_live
from simulator.state.pool_state import State
from simulator.wire.failures import Failure


class PoolHostAccess(HostAccess):
    """The hosts as one master sees them."""

    def __init__(self, pool: Any, reign: Reign) -> None:
        super().__init__(reign.state)
        self._pool = pool
        self._reign = reign

    def rules(self, host: str) -> bool:
        """Ask whether a host is up and within reach, and has this master."""
        node = self._pool.nodes[host]
        return node.reign is self._reign and self._pool.reaches(self._reign.master, node)

    def assert_reachable(self, host: str) -> None:
        """Raise HOST_OFFLINE for a host known to be gone, CANNOT_CONTACT_HOST for a silent one."""
        assert_live(self._state, host)
        node = self._pool.nodes[host]
        if not (self.rules(host) and node.is_open):
            raise Failure('CANNOT_CONTACT_HOST', [host])

    def is_up(self, host: str) -> bool:
        """Ask whether a host has power."""
        return bool(self._pool.nodes[host].is_up)

    def find_ruler(self, host: str) -> Optional[State]:
        """Return the state in which a host's xapi writes, None while it has no master."""
        node = self._pool.nodes[host]
        if node.reign is None or node.reign.is_over or not node.reign.state.host_access.rules(host):
            return None
        return node.reign.state

    def call_plugin(self, session: str, host: str, name: str, function: str,
                    arguments: Dict[str, str]) -> str:
        """Run a plugin on the host concerned."""
        node = self._pool.nodes[host]
        return plugins.call(node.plugins_directory, dict(node.plugin_environment), session, name,
                            function, arguments)

    def sync_database(self, *hosts: str) -> None:
        """Hand the database to every member within reach, or to these only."""
        for node in self._pool.nodes.values():
            if self.rules(node.ref) and not node.is_master and (not hosts or node.ref in hosts):
                node.copy = self._state.database.copy()

    def designate_new_master(self, host: str) -> None:
        """Have a member take over; the answer comes before xapi restarts everywhere."""
        self._state.database.get('host', host)
        if self._state.database.read('pool', self._state.pool, 'ha_enabled'):
            raise Failure('HA_IS_ENABLED')
        self.assert_reachable(host)
        if host != self._reign.master.ref:
            self._pool.light_fuse(self._pool.designate_new_master, host)

    def recover_slaves(self) -> List[str]:
        """Tell every host within reach who is master; return those that listened."""
        return [str(ref) for ref in self._pool.recover(self._reign)]
