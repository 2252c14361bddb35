"""A pool of several hosts, one real daemon and one registry on each.

Everything of a host lies below its own directory: xapi's socket, what it shows of its domains,
and its file system, root/, with root/etc/vgpu for the registry and the configuration. What booted
right is judged by what QEMU took on the host that ran it, never by what a daemon says.
"""

import os
import signal
from typing import Any, Callable, Dict, List, Optional, Tuple

from registry.errors import RegistryError
from registry.store import Registry
from registry.values import Priority
from simulator.pool import PoolSimulator
from simulator.settings import Settings as SimulatorSettings
from tests.integration.daemon.world import KEY, PATIENCE_SECONDS, Daemon, wait_until

FAST = {'boot_seconds': 0.05, 'member_patience_seconds': 0.3, 'cutoff_seconds': 0.05}
Assignments = Dict[str, Tuple[int, str, Priority]]
# The methods that change a map or a set, of VMs and of the pool.
WRITES = '*.[ar]*_*o*_*'
EDITS = ('platform', 'blocked_operations', 'other_config')


class Host:
    """One host: its place, its registry, its daemon."""

    def __init__(self, xapi: PoolSimulator, ref: str, number: int) -> None:
        self.ref = ref
        self.number = number
        self.node = xapi.nodes[ref]
        self.etc = os.path.join(self.node.root, 'etc', 'vgpu')
        self.registry_path = os.path.join(self.etc, 'vgpu_config.db')
        self.config_path = os.path.join(self.etc, 'vgpu-watcher.conf')
        self.registry = Registry(self.registry_path, timeout_seconds=10.0)
        self.daemon = Daemon(self.config_path)

    def install(self, extra: str = '', interval_seconds: int = 60) -> None:
        """Write the configuration, as installing the package does."""
        os.makedirs(self.etc, exist_ok=True)
        with open(self.config_path, 'w', encoding='utf-8') as stream:
            stream.write(
                '[xapi]\nurl = unix:%s\n[registry]\npath = %s\n[host]\nxenstore_read = %s\n'
                'proc = %s\n[scan]\ninterval_seconds = %d\n[log]\nlevel = debug\n%s' % (
                    self.node.socket_path, self.registry_path,
                    os.path.join(self.node.directory, 'bin', 'xenstore-read'),
                    os.path.join(self.node.directory, 'proc'), interval_seconds,
                    extra if '[mirror]' in extra else extra + self._share_secret()))

    def _share_secret(self) -> str:
        """The pool's secret, with which the mirror is signed: the same on all hosts."""
        path = os.path.join(self.node.root, 'ptoken')
        with open(path, 'w', encoding='ascii') as stream:
            stream.write('the secret of the pool')
        os.chmod(path, 0o600)
        return '[mirror]\nkey_file = %s\n' % path

    def start_daemon(self) -> None:
        """Start the daemon and wait until it has taken its first snapshot."""
        self.daemon.start()
        self.daemon.wait_for('stream.resynced')

    def wipe(self) -> None:
        """Take the registry away, and all that is beside it but for the configuration."""
        self.daemon.kill()
        for name in os.listdir(self.etc):
            if name.startswith(('vgpu_config.db', 'vgpu_journal.db')):
                os.remove(os.path.join(self.etc, name))

    def assignments(self) -> Assignments:
        """What this host's registry says now; nothing when there is none."""
        try:
            contents = self.registry.read()
        except RegistryError:
            return {}
        return {vm.vm_uuid: (vm.vm_id, vm.pool_id, vm.priority) for vm in contents.vms}

    def runs(self, uuid: str) -> Optional[List[str]]:
        """The arguments of a VM's QEMU here, as the host shows them; None when none runs."""
        base = os.path.join(self.node.directory, 'xenstore/local/domain')
        for domid in os.listdir(base):
            shown = _read(os.path.join(base, domid, 'vm'))
            pid = _read(os.path.join(base, domid, 'qemu-pid'))
            if shown is not None and pid and shown.split('/')[-1] == uuid:
                text = _read(os.path.join(self.node.directory, 'proc', pid, 'cmdline'))
                return None if text is None else text.split('\0')[:-1]
        return None


class PoolWorld:
    """A pool, its hosts, their daemons."""

    def __init__(self, directory: str, hosts: int = 3, **settings: Any) -> None:
        self.directory = directory
        self.xapi = PoolSimulator(directory, SimulatorSettings(
            **dict(FAST, hosts=hosts, **settings)))
        self.hosts = [Host(self.xapi, ref, number)
                      for number, ref in enumerate(self.xapi.hosts, 1)]

    def start(self, with_daemons: bool = True, extra: str = '') -> 'PoolWorld':
        """Start all: the registry is created on the master only."""
        self.xapi.start()
        for host in self.hosts:
            host.install(extra)
        self.master.registry.create('test')
        if with_daemons:
            for host in self.hosts:
                host.daemon.start()
            for host in self.hosts:
                host.daemon.wait_for('stream.resynced')
        return self

    def close(self) -> None:
        """End everything, however the test went."""
        for host in self.hosts:
            host.daemon.kill()
        self.xapi.stop()

    @property
    def master(self) -> Host:
        """The host that is master now."""
        return self.host(self.xapi.master)

    @property
    def members(self) -> List[Host]:
        """The other hosts."""
        return [host for host in self.hosts if host is not self.master]

    def host(self, ref: str) -> Host:
        """A host by its reference."""
        return [host for host in self.hosts if host.ref == ref][0]

    def lose(self, host: Host, flushed_generation: Optional[int] = None) -> None:
        """Take a host's power away, its daemon with it."""
        host.daemon.kill()
        self.xapi.lose_host(host.ref, flushed_generation)

    def bring_back(self, host: Host, with_daemon: bool = True) -> None:
        """Switch a lost host on again; its disk is as it was."""
        self.xapi.return_host(host.ref)
        if with_daemon:
            host.start_daemon()

    def upgrade(self, host: Host, version: str = '26.2.0', extra: str = '',
                after_wipe: Callable[[], None] = lambda: None) -> None:
        """Install a host anew from the ISO: its file system is empty, then the package is on it."""
        if host.daemon.process is not None and host.daemon.process.poll() is None:
            host.daemon.stop(signal.SIGTERM)
        self.xapi.upgrade_host(host.ref, version=version)
        after_wipe()
        host.install(extra)
        host.start_daemon()

    def create_vm(self, name: str = 'vm', args: Optional[str] = None, **fields: Any) -> str:
        """A Halted VM; its ref."""
        return self.xapi.create_vm(name, platform={} if args is None else {KEY: args}, **fields)

    def uuid(self, ref: str) -> str:
        """The UUID of a VM."""
        return str(self.xapi.vm(ref)['uuid'])

    def args(self, ref: str) -> Optional[str]:
        """What the VM record carries now, in the newest database."""
        return self.xapi.vm(ref)['platform'].get(KEY)

    def register(self, ref: str, vm_id: Optional[int] = None, pool: str = 'A',
                 priority: Priority = Priority.MEDIUM, host: Optional[Host] = None) -> int:
        """Give the VM a row in the master's registry, as vgpu-admin does there; its number."""
        with (host or self.master).registry.edit(who='test', command='register-vm') as edit:
            return edit.add_vm(self.uuid(ref), vm_name=self.xapi.vm(ref)['name_label'],
                               pool_id=pool, priority=priority, vm_id=vm_id).vm_id

    def change(self, ref: str, host: Optional[Host] = None, **changes: Any) -> None:
        """Change the VM's row in the master's registry."""
        with (host or self.master).registry.edit(who='test', command='update-vm') as edit:
            edit.change_vm(self.uuid(ref), **changes)

    def remove(self, ref: str, host: Optional[Host] = None) -> None:
        """Remove the VM's row from the master's registry."""
        with (host or self.master).registry.edit(who='test', command='remove-vm') as edit:
            edit.remove_vm(self.uuid(ref))

    def wait_agreed(self, expected: Optional[Assignments] = None) -> Assignments:
        """Wait until all hosts that are up have these assignments, or those of the master."""
        up = [host for host in self.hosts if host.node.is_up]

        def agree() -> bool:
            wanted = self.master.assignments() if expected is None else expected
            return all(host.assignments() == wanted for host in up)

        wait_until(agree, lambda: 'hosts disagree, the master is %s\n%s' % (
            self.master.node.name, '\n'.join('%s %r\n%s' % (
                host.node.name, host.assignments(), '\n'.join(host.daemon.raw[-12:]))
                for host in up)))
        return self.master.assignments()

    def wait_mirrored(self, seen: int) -> None:
        """Wait for more lines that tell of the mirror than were seen before."""
        daemon = self.master.daemon
        wait_until(lambda: len(daemon.events('mirror.written')) > seen, lambda: 'the mirror:\n%s'
                   % '\n'.join(daemon.raw[-20:]))

    def kill_master_at(self, number: int, new: Host, *, is_fresh: bool) -> Callable[[], bool]:
        """Have the master's host die at its so-many-th write from now, before it is carried out;
        the new master's copy is of that instant, or whatever it had. Tells whether it happened."""
        old, struck = self.master, []

        def strike() -> None:
            struck.append(old)
            if is_fresh:
                self.xapi.sync_database(new.ref)
            self.lose(old)

        fault = self.xapi.add_fault('run_before', method=WRITES, skip=number, count=1,
                                    parameters={'run': strike})

        def disarm() -> bool:
            self.xapi.faults.remove(fault)
            return bool(struck)

        return disarm

    def wait_args(self, ref: str, value: Optional[str],
                  timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the VM carries exactly this value, and no fence stands."""
        wait_until(lambda: self.args(ref) == value and not self.xapi.vm(ref)['blocked_operations'],
                   lambda: '%s carries %r, not %r; log of the master:\n%s' % (
                       ref, self.args(ref), value, '\n'.join(self.master.daemon.raw[-30:])),
                   timeout_seconds)

    def start_vm(self, ref: str, host: Optional[Host] = None) -> Any:
        """Start the VM, here or on a named host; the boot as the simulator saw it."""
        if host is None:
            self.xapi.call('VM.start', ref, False, False)
        else:
            self.xapi.call('VM.start_on', ref, host.ref, False, False)
        return self.last_boot(ref)

    def last_boot(self, ref: str) -> Any:
        """The newest boot of a VM."""
        return [boot for boot in self.xapi.boots if boot.ref == ref][-1]

    def qemu(self, ref: str) -> List[str]:
        """What the VM's QEMU took, as the host that runs it shows."""
        for host in self.hosts:
            words = host.runs(self.uuid(ref))
            if words is not None:
                return words
        raise AssertionError('%s runs nowhere' % ref)

    def took(self, ref: str, value: str) -> bool:
        """Whether the VM's running QEMU took exactly this span, and nothing of ours beside it."""
        words, wanted = self.qemu(ref), value.split(' ')
        return words[-len(wanted):] == wanted and words.count('-device') == 2

    def writes_of(self, host: Host) -> List[str]:
        """The methods of the calls that changed anything of ours, by host."""
        return [call.method for call in self.xapi.calls_of(host.ref)
                if not call.method.split('.')[1].startswith('get_')
                and any(word in call.method for word in EDITS)]


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding='utf-8') as stream:
            return stream.read()
    except OSError:
        return None
