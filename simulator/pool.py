"""A pool of several hosts, each with a xapi of its own; for tests.

Below `directory` each host has its own: host-1/xapi is its socket, host-1/bin, xenstore and proc
are what runs there, and host-1/root is its file system, with etc/xapi.d/plugins and
etc/xensource/master.d. What happens to hosts stands in pool_environment.py.
"""

import os
import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional, Tuple

from simulator.api import pool_control
from simulator.api.dispatch import Call
from simulator.api.listeners import find_port
from simulator.api.methods import Method, Methods
from simulator.database.rows import Copy
from simulator.hosts import pool_environment
from simulator.hosts.emergency_calls import Emergencies
from simulator.hosts.node import Node, Reign
from simulator.hosts.pool_host_access import PoolHostAccess
from simulator.hypervisor.host_files import HostFiles
from simulator.server import Simulator
from simulator.settings import Settings
from simulator.state import plugins
from simulator.state.pool_state import State
from simulator.vms import environment as world
from simulator.wire.failures import Failure, XapiGone


class PoolSimulator(Simulator):
    """A resource pool; the first host begins as its master."""

    def __init__(self, directory: str, settings: Settings = Settings(hosts=3)) -> None:
        super().__init__(settings._replace(socket_path=None, listen=None, host_directory=None))
        self._listen_at = settings.listen
        self.directory = directory
        self.hardware = self.state.hardware
        self.emergencies = Emergencies(self)
        self.sides: List[List[str]] = []
        self.over = threading.Event()
        self.turn = threading.RLock()
        self.nodes: Dict[str, Node] = OrderedDict()
        for number, ref in enumerate(self.state.hosts, 1):
            self.nodes[ref] = self._build_node(number, ref)
        self.reigns = [self._crown(self.state, self.methods, self.nodes[self.state.hosts[0]])]
        for node in self.nodes.values():
            node.reign, node.copy = self.reigns[0], self.state.database.copy()

    @property
    def master(self) -> str:
        """The host whose database is the newest."""
        return self.reigns[-1].master.ref

    @property
    def calls(self) -> List[Call]:
        """Every call that arrived on any host since the last clear_calls, in order."""
        found = [call for node in self.nodes.values() for call in list(node.calls)]
        return sorted(found, key=lambda call: call.at)

    def build_extra_methods(self) -> Dict[str, Method]:
        """Build what only a simulator can do, for programs in other processes."""
        return dict(super().build_extra_methods(), **pool_control.build_methods(self))

    def clear_calls(self) -> None:
        """Forget the calls so far."""
        for node in self.nodes.values():
            node.calls.clear()

    def start(self) -> None:
        """Listen on the sockets of all hosts."""
        if self._listen_at is not None:
            port = self._listen_at[1] or find_port([self._address(ref) for ref in self.nodes])
            for node in self.nodes.values():
                node.listen = (self._address(node.ref), port)
            self.address = self.nodes[self.master].listen
        for node in self.nodes.values():
            node.open(self)
        self.run_master_scripts(self.nodes[self.master])
        if self.settings.database_sync_seconds is not None:
            self.beside(self._sync_for_ever, self.settings.database_sync_seconds)

    def stop(self) -> None:
        """Stop listening everywhere, cut all connections, end what is under way."""
        self.over.set()
        for reign in self.reigns:
            reign.state.stopping.set()
        for node in self.nodes.values():
            node.close()
        self.faults.clear()
        for reign in self.reigns:
            reign.state.end_waits()
        for spawned in self._spawned:
            spawned.join(5.0)

    def restart(self, mode: str = 'clean', down_seconds: float = 0.0,
                rollback_generations: int = 0, *, leaves_socket: bool = False,
                unaware_seconds: float = 0.0) -> None:
        """End the master's xapi and start it again; members' sockets stay."""
        reign = self.reigns[-1]
        reign.master.close()
        world.restart_database(reign.state, mode, rollback_generations)
        self.set_field(self.pool, 'master', reign.master.ref, 'pool')
        if self.over.wait(down_seconds):
            return
        if unaware_seconds:
            world.release_locks(reign.state)
            reign.master.open(self)
            self.over.wait(unaware_seconds)
        world.resynchronise(reign.state)
        if not unaware_seconds:
            reign.master.open(self)

    def socket_path(self, host: str) -> str:
        """The socket of a host's xapi."""
        return self.nodes[host].socket_path

    def calls_of(self, host: str) -> List[Call]:
        """The calls that arrived on one host."""
        return list(self.nodes[host].calls)

    def copy_of(self, host: str) -> Optional[Copy]:
        """The copy of the database that a host would become master with."""
        return self.nodes[host].copy

    def call(self, method: str, *params: Any) -> Any:
        """Call a method as root on the master, in process."""
        if self.reigns[-1].is_over:
            raise XapiGone()
        return super().call(method, *params)

    def sync_database(self, *hosts: str) -> None:
        """Hand the newest database to the members within reach, as happens every 300 s, one
        after the other: members may have copies of different age."""
        self.state.host_access.sync_database(*hosts)

    def dump_database(self) -> Copy:
        """Return what `xe pool-dump-database` writes."""
        return self.state.database.copy()

    def restore_database(self, copy: Copy) -> None:
        """Restart the master with an older database, as `xe pool-restore-database` does."""
        pool_environment.restore_database(self, copy)

    def host_fails(self, host: str, restart: bool = True) -> List[Failure]:
        """Lose a host, and have the master write it off at once."""
        self.lose_host(host)
        return self.declare_dead(host)

    def guest_reboot(self, ref: str) -> None:
        """Restart a VM from inside, also while its host has no master."""
        pool_environment.guest_reboot(self, ref)

    def guest_shutdown(self, ref: str) -> None:
        """Stop a VM from inside, also while its host has no master."""
        pool_environment.guest_shutdown(self, ref)

    def reboot_host(self, down_seconds: float = 0.0) -> None:
        """Restart the master's host."""
        master = self.master
        self.lose_host(master)
        if not self.over.wait(down_seconds):
            self.return_host(master)

    def set_master(self, host: str) -> None:
        """Change the master in an orderly way."""
        self.designate_new_master(host)

    def lose_host(self, host: str, flushed_generation: Optional[int] = None) -> None:
        """Take a host's power away: its domains are gone, and no other host learns of it."""
        pool_environment.lose_host(self, self.nodes[host], flushed_generation)

    def declare_dead(self, host: str) -> List[Failure]:
        """Have the master write a host off; HA starts what it protects. Refusals come back."""
        return pool_environment.declare_dead(self, host)

    def return_host(self, host: str) -> None:
        """Switch a lost host on again; it finds its master, or is one."""
        pool_environment.return_host(self, self.nodes[host])

    def upgrade_host(self, host: str, root: Optional[str] = None, version: str = '26.2.0',
                     consumer: Optional[str] = None) -> None:
        """Reinstall a host from the ISO: what lies below its root is gone, XAPI's database is not;
        its consumer of device-model-args is then the one that is named."""
        pool_environment.upgrade_host(self, self.nodes[host], root, version, consumer)

    def take_over(self, host: str) -> None:
        """Make a host master by pool.emergency_transition_to_master: with its copy, alone."""
        pool_environment.take_over(self, self.nodes[host])

    def fail_over(self, host: str) -> None:
        """Make a host master with its copy of the database; all in its reach become its members."""
        pool_environment.take_over(self, self.nodes[host])
        self.recover(self.reigns[-1])

    def designate_new_master(self, host: str) -> None:
        """Change the master in an orderly way: with the newest database."""
        pool_environment.designate_new_master(self, self.nodes[host])

    def split(self, *sides: List[str]) -> None:
        """Cut the network: each side hears only itself."""
        pool_environment.split(self, [list(side) for side in sides])

    def heal(self, master: Optional[str] = None) -> None:
        """Mend the network; of two masters the newer one stays, or the one that is named."""
        pool_environment.heal(self, master)

    def recover(self, reign: Reign) -> List[str]:
        """Make every host within reach of a master its member; return which were not before."""
        return pool_environment.recover(self, reign)

    def follow(self, host: str, master: str) -> None:
        """Make a host the member of another."""
        reigns = [reign for reign in self.reigns if reign.master.ref == master]
        pool_environment.join(self, [self.nodes[host]], reigns[-1])

    def reaches(self, one: Node, other: Node) -> bool:
        """Ask whether two hosts hear each other."""
        if not (one.is_up and other.is_up):
            return False
        return one is other or not self.sides or any(
            one.ref in side and other.ref in side for side in self.sides)

    def reaches_master(self, node: Node) -> bool:
        """Ask whether a host's master answers it."""
        reign = node.reign
        return (reign is not None and not reign.is_over and reign.master.is_open
                and reign.master.emergency is None and self.reaches(node, reign.master))

    def find_address(self, address: str) -> Optional[str]:
        """Return the host that has an address, or None."""
        found = [ref for ref in self.nodes if self._address(ref) == address]
        return found[0] if found else None

    def found_reign(self, node: Node) -> Reign:
        """Begin a master's time with the copy of the database that lies on its disk."""
        assert node.copy is not None
        state = State(self.settings._replace(xapi_version=node.version), self.hardware)
        state.hosts, state.pool = list(self.nodes), self.state.pool
        state.database.load(node.copy)
        state.database.reload()
        methods = Methods(state, self.extra_methods)
        reign = self._crown(state, methods, node)
        state.database.write('pool', state.pool, 'master', node.ref)
        self.state, self.methods = state, methods
        self.reigns.append(reign)
        return reign

    def boot(self, nodes: List[Node], reign: Reign) -> None:
        """Restart xapi on hosts, which then have this master; for a while they only say so."""
        for node in nodes:
            node.close()
        for node in nodes:
            node.reign, node.emergency = reign, list(pool_environment.BOOTING)
            node.open(self)
        self.over.wait(self.settings.boot_seconds)
        world.follow_hosts(reign.state, [node.ref for node in nodes])
        for node in nodes:
            node.emergency = None
        self.state.tell()

    def run_master_scripts(self, node: Node) -> List[Tuple[str, int]]:
        """Run a host's master.d when its role has changed since they were last run."""
        if node.has_run_scripts == node.is_master:
            return []
        node.has_run_scripts = node.is_master
        return plugins.run_master_scripts(node.master_scripts_directory, is_master=node.is_master,
                                          environment=dict(node.plugin_environment))

    def light_fuse(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Do what restarts xapi a moment later: it has to answer first."""
        self.beside(self._burn, act, arguments)

    def beside(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Do something in a thread of its own."""
        threading.Thread(target=act, args=arguments, daemon=True).start()

    def _build_node(self, number: int, ref: str) -> Node:
        node = Node(ref, f'host-{number}', os.path.join(self.directory, f'host-{number}'),
                    self.settings.xapi_version)
        for path in (node.plugins_directory, node.master_scripts_directory):
            os.makedirs(path, exist_ok=True)
        node.plugin_environment = self.settings.plugin_environment
        self.hardware.files[ref] = HostFiles(node.directory, self.state.names.uuid(),
                                             self.settings)
        return node

    def _crown(self, state: State, methods: Methods, node: Node) -> Reign:
        reign = Reign(state, methods, node)
        state.reigning = node.ref
        state.host_access = PoolHostAccess(self, reign)
        return reign

    def _address(self, ref: str) -> str:
        return str(self.state.database.read('host', ref, 'address'))

    def _burn(self, act: Callable[..., Any], arguments: Any) -> None:
        if not self.over.wait(self.settings.fuse_seconds):
            act(*arguments)

    def _sync_for_ever(self, seconds: float) -> None:
        while not self.over.wait(seconds):
            self.sync_database()
