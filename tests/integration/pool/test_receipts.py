"""The master's daemon verifies the boots of all hosts, through their plugins."""

from registry.journal.journal import Journal
from tests.integration.daemon.world import span, wait_until
from tests.integration.pool.plugin import install_plugin


def read_boot(pool, ref):
    """The newest receipt of a VM in the master's journal, once it has a verdict."""
    def find():
        with Journal(pool.master.registry.journal_path, timeout_seconds=5.0) as journal:
            boot = journal.last_boot(pool.uuid(ref))
        return boot if boot is not None and boot.closed_at else None
    return wait_until(find, 'the receipt')


def count_looks(pool):
    return len([call for call in pool.xapi.calls_of(pool.master.ref)
                if call.method == 'host.call_plugin'])


def test_boots_on_every_host_are_verified_on_the_master_with_one_call_each(pool):
    for host in pool.hosts:
        install_plugin(host.node.plugins_directory, host.config_path)
    refs = [pool.create_vm('vm-%d' % number) for number in range(3)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    for ref, host in zip(refs, pool.hosts):
        pool.start_vm(ref, host)
    for number, (ref, host) in enumerate(zip(refs, pool.hosts), 1):
        boot = read_boot(pool, ref)
        assert (boot.verdict, boot.found, boot.host) == ('as_desired', span(number), host.ref)
    assert count_looks(pool) == 2, 'nobody asks XAPI about a VM of the master itself'


def test_host_without_the_plugin_gives_unverified_and_is_not_asked_again(pool):
    refs = [pool.create_vm('vm-%d' % number) for number in range(2)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
    for ref in refs:
        pool.start_vm(ref, pool.members[0])
        assert read_boot(pool, ref).verdict == 'unverified'
    assert count_looks(pool) == 1


def test_first_start_of_a_member_is_quiet(pool):
    refs = [pool.create_vm('vm-%d' % number) for number in range(3)]
    for number, ref in enumerate(refs, 1):
        pool.register(ref, vm_id=number)
        pool.wait_args(ref, span(number))
        pool.start_vm(ref, pool.master)
    member = pool.members[0]
    member.daemon.kill()
    member.wipe()
    member.install()
    member.start_daemon()
    for ref in refs:
        wait_until(lambda ref=ref: member.daemon.events('vm.booted', vm_uuid=pool.uuid(ref)),
                   'the boot, which the master verifies')
    loud = [line for line in member.daemon.lines if line['level'] in ('warning', 'error')]
    assert {line['event'] for line in loud} == {'role.read_only', 'registry.rebuilt'}
