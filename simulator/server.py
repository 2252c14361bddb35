"""The simulator as a whole, for tests and for its program."""

import os
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from simulator.api import control
from simulator.api.dispatch import Call, Dispatcher
from simulator.api.listeners import Listener, open_tcp, open_unix
from simulator.api.methods import Caller, Method, Methods
from simulator.faults import Fault
from simulator.hypervisor.consumer import CONSUMERS
from simulator.hypervisor.domains import Boot, Cutoff
from simulator.hypervisor.host_files import HostFiles
from simulator.settings import Settings
from simulator.state.pool_state import State
from simulator.vms import environment
from simulator.wire.failures import Failure, XapiGone


class Spawned(threading.Thread):
    """A call that runs beside the test."""

    def __init__(self, simulator: 'Simulator', name: str, params: Tuple[Any, ...]) -> None:
        super().__init__(name=f'simulator-spawned-{name}', daemon=True)
        self._call = (simulator, name, params)
        self.result: Any = None
        self.error: Optional[Exception] = None

    def run(self) -> None:
        """Carry the call out, and keep what came of it."""
        simulator, name, params = self._call
        try:
            self.result = simulator.call(name, *params)
        except (Failure, XapiGone) as error:
            self.error = error


class Simulator:
    """A pool with its XAPI, on sockets and in process."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings
        self.state = State(settings)
        environment.populate(self.state)
        if settings.host_directory is not None:
            self.state.hardware.files[self.state.this_host] = HostFiles(
                settings.host_directory, self.state.names.uuid(), settings)
        self.faults = self.state.faults
        self.extra_methods = self.build_extra_methods()
        self.methods = Methods(self.state, self.extra_methods)
        self.dispatcher = Dispatcher(self.state, self.methods)
        self.address: Optional[Tuple[str, int]] = None
        self._listeners: List[Listener] = []
        self._sockets = threading.Lock()
        self._spawned: List[Spawned] = []

    @property
    def boots(self) -> List[Boot]:
        """What each QEMU took, in order."""
        return list(self.state.hypervisor.boots)

    @property
    def cutoffs(self) -> List[Cutoff]:
        """When each start read the platform map, and what it found there."""
        return list(self.state.hypervisor.cutoffs)

    @property
    def calls(self) -> List[Call]:
        """Every call that arrived over a socket since the last clear_calls."""
        return list(self.dispatcher.calls)

    @property
    def hosts(self) -> List[str]:
        """The pool's hosts; the first is the one whose socket this is."""
        return list(self.state.hosts)

    @property
    def pool(self) -> str:
        """The pool's reference."""
        return self.state.pool

    def build_extra_methods(self) -> Dict[str, Method]:
        """Build what only a simulator can do, for programs in other processes."""
        return control.build_methods(self)

    def clear_calls(self) -> None:
        """Forget the calls so far."""
        self.dispatcher.calls.clear()

    def start(self) -> None:
        """Listen, unless all ends meanwhile."""
        settings = self.settings
        with self._sockets:
            if self.state.stopping.is_set():
                return
            if settings.socket_path is not None:
                self._listen(open_unix(settings.socket_path), 'unix')
            if settings.listen is not None:
                listening = open_tcp(*(self.address or settings.listen))
                self.address = listening.getsockname()[:2]
                self._listen(listening, 'tcp')

    def stop(self) -> None:
        """Stop listening, cut all connections, and end what is under way."""
        self.state.stopping.set()
        self._close()
        self.faults.clear()
        self.state.end_waits()
        for spawned in self._spawned:
            spawned.join(5.0)

    def restart(self, mode: str = 'clean', down_seconds: float = 0.0,
                rollback_generations: int = 0, *, leaves_socket: bool = False,
                unaware_seconds: float = 0.0) -> None:
        """End xapi and start it again; a crash takes the last writes back, and may leave the
        file of the socket behind, which then refuses connections. For so long xapi answers before
        it has asked xenopsd what runs."""
        self._close(leaves_socket=leaves_socket)
        environment.restart_database(self.state, mode, rollback_generations)
        if self.state.stopping.wait(down_seconds):
            return
        if unaware_seconds:
            environment.release_locks(self.state)
            self.start()
            self.state.stopping.wait(unaware_seconds)
        environment.resynchronise(self.state)
        if not unaware_seconds:
            self.start()

    def set_emergency(self, code: Optional[str], *params: str) -> None:
        """Answer every call with one error, as a host that is starting or cut off; None ends it."""
        self.state.emergency = None if code is None else [code] + list(params)

    def call(self, method: str, *params: Any) -> Any:
        """Call a method as root, in process."""
        value = self.methods.call(Caller(), method, params)
        return value.fields if hasattr(value, 'fields') else value

    def spawn(self, method: str, *params: Any) -> Spawned:
        """Call a method beside the caller."""
        spawned = Spawned(self, method, params)
        self._spawned.append(spawned)
        spawned.start()
        return spawned

    def wait_for(self, condition: Callable[[], Any], timeout: float = 5.0) -> bool:
        """Wait until a condition holds; it is looked at after each write and each call."""
        return self.state.wait_for(condition, timeout)

    def create_vm(self, name: str = 'vm', uuid: Optional[str] = None,
                  platform: Optional[Dict[str, str]] = None, **fields: Any) -> str:
        """Add a halted ordinary VM; platform is added to the usual map, fields override."""
        return environment.create_vm(self.state, name, uuid, platform, **fields)

    def vm(self, ref: str) -> Dict[str, Any]:
        """Return a copy of a VM's record as it is now."""
        return dict(self.state.database.get('VM', ref).fields)

    def find(self, uuid: str) -> Optional[str]:
        """Return the reference of the VM with a UUID, or None."""
        return environment.find_vm(self.state, uuid)

    def set_field(self, ref: str, field: str, value: Any, table: str = 'VM') -> None:
        """Write a field directly, also one that has no setter."""
        self.state.database.write(table, ref, field, value)

    def guest_reboot(self, ref: str) -> None:
        """Restart a VM from inside."""
        environment.guest_reboot(self.state, ref)

    def guest_shutdown(self, ref: str) -> None:
        """Stop a VM from inside."""
        environment.guest_shutdown(self.state, ref)

    def guest_crash(self, ref: str) -> None:
        """Crash a guest."""
        environment.guest_crash(self.state, ref)

    def change_timeoffset(self, ref: str, offset: str) -> None:
        """Let a guest set its clock."""
        environment.change_timeoffset(self.state, ref, offset)

    def set_guest_clock(self, ref: str, offset: str) -> None:
        """Let a guest set its clock so late that xapi writes it when the VM halts."""
        self.state.hardware.clocks[ref] = offset

    def import_vm(self, name: str, uuid: Optional[str] = None,
                  platform: Optional[Dict[str, str]] = None, **fields: Any) -> str:
        """Import a VM, first under a fresh UUID and then under its own."""
        return environment.import_vm(self.state, name, uuid, platform, **fields)

    def arrive(self, name: str, uuid: str, platform: Optional[Dict[str, str]] = None,
               frozen: Optional[Dict[str, str]] = None, **fields: Any) -> str:
        """Take in a running VM from another pool."""
        return environment.arrive(self.state, name, uuid, platform, frozen, **fields)

    def host_fails(self, host: str, restart: bool = True) -> List[Failure]:
        """Lose a host; HA starts its VMs elsewhere, and what it could not start is returned."""
        return environment.start_all(self.state, environment.host_fails(self.state, host, restart))

    def set_master(self, host: str) -> None:
        """Make another host the master; this one is then a member, or the other way round."""
        self.state.database.write('pool', self.state.pool, 'master', host)

    def reboot_host(self, down_seconds: float = 0.0) -> None:
        """Restart this host: its domains are gone, its boot id is new, and so is xapi."""
        environment.end_domains(self.state, self.state.this_host)
        for files in self.state.hardware.files.values():
            files.set_boot_id(self.state.names.uuid())
        self.restart('clean', down_seconds)

    def auto_power_on(self) -> List[Failure]:
        """Start the VMs that want it, as xapi-domains does."""
        return environment.start_all(self.state, environment.list_auto_poweron(self.state))

    def set_consumer(self, consumer: str) -> None:
        """Change who reads device-model-args from now on: one of consumer.CONSUMERS."""
        if consumer not in CONSUMERS:
            raise ValueError(f'consumer is one of {", ".join(CONSUMERS)}, not {consumer!r}')
        self.state.hardware.consumer = consumer

    def add_fault(self, kind: str, **fields: Any) -> Fault:
        """Arm a fault."""
        return self.faults.add(Fault(kind, **fields))

    def _listen(self, listening: Any, transport: str) -> None:
        listener = Listener(self.state, self.dispatcher, listening, transport, self.run_fault)
        self._listeners.append(listener)
        listener.start()

    def _close(self, *, leaves_socket: bool = False) -> None:
        path = self.settings.socket_path
        with self._sockets:
            if path is not None and not leaves_socket and os.path.lexists(path):
                os.unlink(path)
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    def run_fault(self, fault: Fault) -> None:
        """Carry out what a fault wants done beside or before a call."""
        parameters = fault.parameters
        if 'run' in parameters:
            parameters['run']()
            return
        meanwhile = self.spawn(parameters['method'], *parameters.get('params', ()))
        if fault.kind.startswith('run'):
            # What is refused is no business of the call that is under way.
            meanwhile.join()
