"""The stage of the demo: verbs for the scenes, and one loop that watches while they wait."""

import json
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

from simulator.demo.ledger import Assignment, Boot, Entry, Ledger, Vm
from simulator.demo.programs import Programs
from simulator.demo.xapi_client import Errand, Unreachable, Xapi, carried

LOOK_SECONDS = 0.03
PATIENCE_SECONDS = 15.0
# When something is wrong already, what is waited for may never come.
LESS_PATIENCE_SECONDS = 3.0
# Without the daemon it will not; the boots show what that means.
NO_PATIENCE_SECONDS = 0.2
ADMINS_AT_ONCE = 4
# A receipt's line comes soon, or the VM boots so often that it is left out.
LINES_SECONDS = 1.5
BLOCK_TEXT = 'vgpu-watcher:'


class Stage:
    """The pool, the programs and the ledger; everything that scenes do goes through here."""

    def __init__(self, programs: Programs, display: Any, *, with_watcher: bool) -> None:
        self.programs = programs
        self.display = display
        self.with_watcher = with_watcher
        self.xapi = Xapi(programs.socket)
        self.ledger = Ledger(with_receipts=with_watcher)
        self.vms: List[Vm] = []
        self.pending: Dict[str, str] = {}
        self.dangers: Dict[str, str] = {}
        self._boots_read = 0
        self._unshown: List[Entry] = []

    # The pool.

    def create_vm(self, name: str, host: str, foreign: Optional[str]) -> Vm:
        """Add a halted VM whose arguments may hold foreign text."""
        fields: Dict[str, Any] = {'affinity': host}
        if foreign is not None:
            fields['platform'] = {'device-model-args': foreign}
        return self.take_in(self.xapi.sim('create_vm', name, fields), foreign)

    def take_in(self, ref: str, foreign: Optional[str]) -> Vm:
        """Follow a VM from now on."""
        record = self.xapi.sim('vm', ref)
        vm = Vm(ref, record['uuid'], record['name_label'], foreign)
        self.vms.append(vm)
        self.display.add_vm(vm, None)
        return vm

    def power_states(self, vms: Sequence[Vm]) -> List[str]:
        """Read what XAPI says of VMs."""
        records = self.xapi.records()
        return [records[vm.ref]['power_state'] for vm in vms]

    # The registry.

    def assign(self, vm: Vm, assignment: Optional[Assignment]) -> None:
        """Write a VM's assignment into the table of expectations, or take it out."""
        self.ledger.assignments.pop(vm.uuid, None)
        if assignment is not None:
            self.ledger.assignments[vm.uuid] = assignment
        self.display.add_vm(vm, assignment)

    def set_priority(self, vms: Iterable[Vm], priority: str) -> None:
        """Change priorities with vgpu-admin; VMs that run go on running."""
        commands = []
        for vm in vms:
            self.assign(vm, self.ledger.assignments[vm.uuid]._replace(priority=priority))
            commands.append(('set-priority', '--vm-uuid=' + vm.uuid, '--priority=' + priority,
                             '--no-restart'))
        self.administer(*commands)

    def administer(self, *commands: Sequence[str]) -> List[str]:
        """Run vgpu-admin, several at once; what each wrote to its standard output."""
        outputs: List[str] = []
        for first in range(0, len(commands), ADMINS_AT_ONCE):
            running = [self.programs.start_admin(*words)
                       for words in commands[first:first + ADMINS_AT_ONCE]]
            self.wait(lambda: all(process.poll() is not None for process in running),
                      PATIENCE_SECONDS)
            for process, words in zip(running, commands[first:]):
                output, errors = process.communicate(timeout=PATIENCE_SECONDS)
                outputs.append(output.decode('utf-8'))
                if process.returncode:
                    self.complain(f'vgpu-admin {" ".join(words)} ended with '
                                  f'{process.returncode}: {errors.decode("utf-8").strip()}')
        return outputs

    # Boots.

    def start(self, vms: Sequence[Vm], gap_seconds: float = 0.0) -> List[Errand]:
        """Start VMs that shall take what is desired."""
        for vm in vms:
            self.ledger.expect(vm, 'start', self.ledger.desired(vm))
        return [self.xapi.begin(gap_seconds * number, ('VM.start', vm.ref, False, False))
                for number, vm in enumerate(vms)]

    def start_and_wait(self, vms: Sequence[Vm]) -> None:
        """Start VMs and wait for their receipts."""
        self.finish(self.start(vms))

    def shut_down(self, vms: Sequence[Vm]) -> None:
        """Stop VMs, wait until all rest, and until they carry what is desired."""
        running = [vm for vm, state in zip(vms, self.power_states(vms)) if state == 'Running']
        self.finish([self.xapi.begin(('VM.clean_shutdown', vm.ref)) for vm in running])
        self.settle(vms)

    def operate(self, vm: Vm, kind: str, args: Optional[str], *call: Any) -> Errand:
        """Begin an operation that ends in a new QEMU which takes these arguments."""
        self.ledger.expect(vm, kind, args)
        return self.xapi.begin(call)

    def finish(self, errands: Sequence[Errand]) -> None:
        """Wait until errands are done, and the boots that were awaited have their receipts."""
        self.join(errands)
        if self.with_watcher and not self.wait(lambda: self.ledger.is_complete, LINES_SECONDS):
            self._ask_for_receipts()
        self.wait(lambda: self.ledger.is_complete,
                  LESS_PATIENCE_SECONDS if self.ledger.problems else PATIENCE_SECONDS)
        self.ledger.close({vm.uuid: vm.name for vm in self.vms})

    def _ask_for_receipts(self) -> None:
        """Read receipts by vgpu-admin: of a VM that boots often not every line is logged."""
        for entry in self.ledger.list_without_receipt():
            output, = self.administer(('show-vm', '--vm-uuid=' + entry.boot.vm_uuid, '--json'))
            boot = json.loads(output or '{}').get('vm', {}).get('last_boot')
            if boot and boot['verdict']:
                self.ledger.add_receipt(dict(boot, vm_uuid=entry.boot.vm_uuid))

    def join(self, errands: Sequence[Errand]) -> None:
        """Wait until errands are done; a refusal is a fault."""
        self.wait(lambda: not any(errand.is_alive() for errand in errands), PATIENCE_SECONDS)
        for errand in errands:
            if errand.problem:
                self.complain(errand.problem)

    # Waiting.

    @property
    def patience_seconds(self) -> float:
        """How long to wait for what the daemon shall do."""
        if not self.with_watcher:
            return NO_PATIENCE_SECONDS
        return LESS_PATIENCE_SECONDS if self.ledger.problems else PATIENCE_SECONDS

    def settle(self, vms: Sequence[Vm]) -> None:
        """Wait until VMs at rest carry what is desired, without a start block."""
        patience = self.patience_seconds
        if not self.expect_soon(lambda: not self._list_unsettled(vms)) and self.with_watcher:
            names = ', '.join(vm.name for vm in self._list_unsettled(vms))
            self.complain(f'not staged in {patience:g} s: {names}')

    def expect_soon(self, condition: Callable[[], Any]) -> bool:
        """Wait for something that the daemon shall do."""
        return self.wait(condition, self.patience_seconds)

    def wait(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Watch the pool until a condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            self.look()
            if condition():
                self.look()
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Take in what has booted and what the daemon has logged, and show it."""
        self.programs.check_watcher()
        for boot in self.xapi.boots(self._boots_read):
            self._boots_read += 1
            self._unshown.append(self.ledger.add_boot(_parse_boot(boot)))
        for line in self.programs.read_log():
            if line.get('event') == 'vm.booted':
                self.ledger.add_receipt(line)
            elif line.get('event') == 'vm.change_pending':
                self.pending[line['vm_uuid']] = line['desired']
            elif line.get('event') == 'vm.endangered':
                self.dangers[line['vm_uuid']] = line['danger']
        self._show(lambda entry: self.display.shows_at_once or not self.ledger.lacks(entry))
        self.display.refresh(self.ledger)

    # Verdicts.

    def complain(self, text: str) -> None:
        """Record a fault that is no boot."""
        self.ledger.problems.append(text)
        self.display.note('FAULT: ' + text)

    def check_left(self) -> None:
        """Look for what must not be left behind: start blocks, which nothing of ours puts up."""
        self._show(lambda entry: True)
        for record in self.xapi.records().values():
            if any(text.startswith(BLOCK_TEXT) for text in record['blocked_operations'].values()):
                self.complain(f'a start block was left on {record["name_label"]}')

    def _list_unsettled(self, vms: Sequence[Vm]) -> List[Vm]:
        try:
            records = self.xapi.records()
        except Unreachable:
            return list(vms)
        return [vm for vm in vms if carried(records[vm.ref]) != self.ledger.desired(vm)
                or records[vm.ref]['blocked_operations'] or records[vm.ref]['current_operations']]

    def _show(self, chosen: Callable[[Entry], bool]) -> None:
        for entry in list(self._unshown):
            if chosen(entry):
                self.display.show_boot(entry)
                self._unshown.remove(entry)


def _parse_boot(fields: Dict[str, Any]) -> Boot:
    """Read a boot from the wire, where None is the empty string."""
    return Boot(fields['vm_uuid'], fields['name'], fields['kind'], int(fields['domid']),
                fields['args'] or None, tuple(fields['qemu_arguments']))
