"""What happens to the hosts of a pool: power, network, masters that change.

The rules are XAPI's: a member never takes over by itself, a master that comes back and finds
another becomes its member, and who becomes master does so with its own copy of the database.
"""

import os
from typing import Any, List, Optional

from simulator.database.rows import Copy
from simulator.hosts import reinstall
from simulator.hosts.node import Node, Reign
from simulator.hypervisor.hardware import Domain
from simulator.vms import environment
from simulator.wire.failures import Failure

PROTECTED = ('restart', 'best-effort')
BOOTING = ['HOST_STILL_BOOTING']
UNREACHABLE = ['INTERNAL_ERROR', 'Xmlrpc_client.Stunnel_connection_failed']


def lose_host(pool: Any, node: Node, flushed_generation: Optional[int] = None) -> None:
    """Take a host's power away; a master's disk may have an earlier generation of the database."""
    node.is_up = False
    node.close()
    with pool.hardware.lock:
        for domains in list(pool.hardware.domains.values()):
            for domain in domains:
                if domain.host == node.ref and node.reign is not None:
                    node.reign.state.hypervisor.destroy(domain)
        if node.is_master and node.reign is not None:
            node.reign.end()
            if flushed_generation is not None:
                node.reign.state.database.roll_back(flushed_generation)
            node.copy = node.reign.state.database.copy()
    pool.state.tell()
    _lose_patience(pool)


def declare_dead(pool: Any, host: str) -> List[Failure]:
    """Write a host off: live goes, its VMs are halted, what HA protects is started elsewhere."""
    state = pool.state
    lost = environment.host_fails(state, host)
    return environment.start_all(state, [
        ref for ref in lost if state.database.read('VM', ref, 'ha_restart_priority') in PROTECTED])


def return_host(pool: Any, node: Node) -> None:
    """Switch a host on: a former master that finds another becomes its member."""
    node.is_up = True
    pool.hardware.forget_numbers(node.ref)
    pool.hardware.files[node.ref].set_boot_id(pool.hardware.names.uuid())
    masters = [reign for reign in pool.reigns
               if not reign.is_over and pool.reaches(node, reign.master)]
    if masters:
        join(pool, [node], masters[-1])
    elif node.is_master:
        begin_reign(pool, node)
        recover(pool, pool.reigns[-1])
    else:
        _strand(pool, [node])


def upgrade_host(pool: Any, node: Node, root: Optional[str], version: str,
                 consumer: Optional[str]) -> None:
    """Shut a host down, reinstall its file system, and start it with a newer xapi."""
    lose_host(pool, node)
    reinstall.wipe(root or node.root)
    for path in (node.plugins_directory, node.master_scripts_directory):
        os.makedirs(path, exist_ok=True)
    if consumer is not None:
        pool.hardware.consumers[node.ref] = consumer
    node.version, node.has_run_scripts = version, False
    return_host(pool, node)
    with pool.hardware.lock:
        software = dict(pool.state.database.read('host', node.ref, 'software_version'))
        software.update(xapi='.'.join(version.split('.')[:2]), xapi_build=version)
        pool.state.database.write('host', node.ref, 'software_version', software)


def take_over(pool: Any, node: Node) -> None:
    """Make a host master with its own copy of the database."""
    former = node.reign
    if node.is_master and former is not None and not former.is_over:
        return
    begin_reign(pool, node)


def begin_reign(pool: Any, node: Node) -> Reign:
    """Have a host come up as master: records follow what runs on it, operations are over."""
    with pool.turn:
        reign = pool.found_reign(node)
        node.reign = reign
        environment.resynchronise(reign.state)
        pool.boot([node], reign)
        pool.run_master_scripts(node)
    return reign


def designate_new_master(pool: Any, node: Node) -> None:
    """Change the master with both alive: first the database, then xapi restarts everywhere."""
    with pool.turn:
        former = pool.reigns[-1]
        if former.master is node:
            return
        former.end()
        node.copy = former.state.database.copy()
        begin_reign(pool, node)
        recover(pool, pool.reigns[-1])


def restore_database(pool: Any, copy: Copy) -> None:
    """Restart the master with another database; members restart with it."""
    with pool.turn:
        former = pool.reigns[-1]
        former.end()
        former.master.copy = copy
        begin_reign(pool, former.master)
        recover(pool, pool.reigns[-1])


def guest_reboot(pool: Any, ref: str) -> None:
    """Restart a VM from inside; without a master no xapi learns of it, until there is one again."""
    domain = _find_domain(pool, ref)
    ruler = pool.state.host_access.find_ruler(domain.host)
    if ruler is not None:
        environment.guest_reboot(ruler, ref)
        return
    with pool.hardware.lock:
        hypervisor = pool.nodes[domain.host].reign.state.hypervisor
        hypervisor.destroy(domain)
        platform = hypervisor.pushed(ref)
    launched = hypervisor.launch(
        ref, {'uuid': domain.uuid, 'name_label': domain.name}, domain.host, platform,
        'guest_reboot', pool.hardware.consumer_of(domain.host))
    with pool.hardware.lock:
        hypervisor.build(launched, 'guest_reboot', None)


def guest_shutdown(pool: Any, ref: str) -> None:
    """Stop a VM from inside; without a master no xapi learns of it, until there is one again."""
    domain = _find_domain(pool, ref)
    ruler = pool.state.host_access.find_ruler(domain.host)
    if ruler is not None:
        environment.guest_shutdown(ruler, ref)
        return
    with pool.hardware.lock:
        pool.nodes[domain.host].reign.state.hypervisor.destroy(domain)


def _find_domain(pool: Any, ref: str) -> Domain:
    with pool.hardware.lock:
        found = pool.hardware.domains.get(ref)
        if not found:
            raise Failure('VM_BAD_POWER_STATE', [ref, 'running', 'halted'])
        return found[0]


def split(pool: Any, sides: List[List[str]]) -> None:
    """Cut the network; a host that has lost its master loses patience after a while."""
    pool.sides = sides
    pool.state.tell()
    _lose_patience(pool)


def heal(pool: Any, master: Optional[str]) -> None:
    """Mend the network, and leave one master."""
    pool.sides = []
    alive = [reign for reign in pool.reigns if not reign.is_over
             and (master is None or reign.master.ref == master)]
    if alive:
        if pool.reigns[-1] is not alive[-1]:
            pool.reigns.remove(alive[-1])
            pool.reigns.append(alive[-1])
            pool.state, pool.methods = alive[-1].state, alive[-1].methods
        recover(pool, alive[-1])


def recover(pool: Any, reign: Reign) -> List[str]:
    """Make every host within reach a member; those that are in order already stay as they are."""
    with pool.turn:
        # Those who have begun to lose patience have lost it by now: none is left in its emergency.
        nodes = [node for node in pool.nodes.values()
                 if node is not reign.master and pool.reaches(reign.master, node)
                 and not (node.reign is reign and node.is_open and node.emergency is None)]
        join(pool, nodes, reign)
    return [node.ref for node in nodes]


def join(pool: Any, nodes: List[Node], reign: Reign) -> None:
    """Restart xapi on hosts as members; a domain that runs twice keeps running where it was."""
    with pool.turn:
        for node in nodes:
            if node.is_master and node.reign is not None:
                node.reign.end()
        _end_doubles(pool, nodes, reign)
        pool.boot(nodes, reign)
        for node in nodes:
            pool.run_master_scripts(node)


def _end_doubles(pool: Any, nodes: List[Node], reign: Reign) -> None:
    joining = [node.ref for node in nodes]
    with pool.hardware.lock:
        for domains in list(pool.hardware.domains.values()):
            kept = [domain for domain in domains if reign.state.host_access.rules(domain.host)
                    and domain.host not in joining]
            for domain in domains:
                if kept and domain.host in joining:
                    reign.state.hypervisor.destroy(domain)


def _lose_patience(pool: Any) -> None:
    """Let the members without a master restart, once their patience is at an end."""
    pool.beside(_wait_and_strand, pool, [
        (node, node.life) for node in pool.nodes.values()
        if node.is_up and not node.is_master and not pool.reaches_master(node)])


def _wait_and_strand(pool: Any, waiting: List[Any]) -> None:
    if pool.over.wait(pool.settings.member_patience_seconds):
        return
    with pool.turn:
        _strand(pool, [node for node, life in waiting if node.is_up and node.life is life
                       and not life.is_set() and not pool.reaches_master(node)])


def _strand(pool: Any, nodes: List[Node]) -> None:
    """Restart xapi on hosts that find no master: they answer nothing but an error."""
    for node in nodes:
        node.close()
        node.emergency = list(BOOTING)
        node.open(pool)
    pool.over.wait(pool.settings.boot_seconds)
    for node in nodes:
        node.emergency = list(UNREACHABLE)
