"""The twelve VMs that the playground begins with: what an administrator may find in a pool."""

from typing import Any, Dict, List, NamedTuple, Optional

from simulator.demo.xapi_client import Xapi

KEY = 'device-model-args'


class Vm(NamedTuple):
    """One VM: its home, whether it runs, and what others wrote into its arguments before."""
    name: str
    host: int
    is_running: bool = False
    args: Optional[str] = None


VMS = (
    Vm('web01', 1), Vm('web02', 1, is_running=True), Vm('web03', 1),
    Vm('db01', 1, is_running=True), Vm('db02', 1, args='-global isa-debugcon.iobase=0x402'),
    Vm('build01', 1, is_running=True),
    Vm('desk01', 2, is_running=True), Vm('desk02', 2, is_running=True), Vm('desk03', 2),
    Vm('desk04', 2), Vm('desk05', 2),
    # Set by hand before there was a service.
    Vm('desk06', 2, args='-device vgpu-stub,pool_id=B,priority=low,vm_id=1'),
)


def create_vms(xapi: Xapi) -> None:
    """Create all VMs, and start those that run."""
    hosts: List[str] = xapi.sim('hosts')
    for vm in VMS:
        host = hosts[vm.host - 1]
        fields: Dict[str, Any] = {'affinity': host}
        if vm.args is not None:
            fields['platform'] = {KEY: vm.args}
        ref = xapi.sim('create_vm', vm.name, fields)
        if vm.is_running:
            xapi.call('VM.start_on', ref, host, False, False)
