"""The commands of vgpu-admin as data: help, parsing and completion are made from this table."""

from collections import OrderedDict
from typing import NamedTuple, Optional, Tuple

from cli.commandline import options
from cli.commandline.options import Option


class Command(NamedTuple):
    """One command, and where its function is; modules are imported when they are needed."""

    name: str
    summary: str
    module: str
    """Below `cli`."""
    function: str
    options: Tuple[Option, ...] = ()
    required: Tuple[Option, ...] = ()
    needs_vm: bool = False
    any_of: Tuple[Option, ...] = ()
    """At least one of these must be given."""
    operand: Optional[Option] = None
    """The option whose value may also stand behind the command without its name."""
    takes_several: bool = False
    """Whether several VMs may be named, as bare words."""
    words: Tuple[str, ...] = ()
    """Words that stand behind the command, such as `fence clear`."""
    example: str = ''


_EXAMPLE_UUID = '2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c'


def _change(name: str, summary: str, value: Option, example: str) -> Command:
    return Command(name, summary, 'commands.update', 'change_vm',
                   options.VM + (value,) + options.RESTARTING + options.EDITING,
                   required=(value,), needs_vm=True, takes_several=True,
                   example=f'{name} --vm-name=web01 {example}')


def _pool(name: str, summary: str, values: Tuple[Option, ...], example: str) -> Command:
    answers = (options.YES,) if name == 'disable-pool' else ()
    waits = (options.NO_WAIT,) if name in ('enable-pool', 'disable-pool') else ()
    return Command(name, summary, 'commands.pools', name.replace('-', '_'),
                   (options.POOL_ID,) + values + answers + waits
                   + (options.POOL_VERBOSE, options.DRY_RUN),
                   required=(options.POOL_ID,) + values,
                   example=f'{name} --pool-id=B {example}'.rstrip())


COMMANDS = (
    Command('register-vm', 'register a VM and give it a number', 'commands.register', 'register_vm',
            options.VM + (options.NEW_POOL, options.NEW_PRIORITY, options.NEW_VM_ID,
                          options.RESTART, options.FORCE, options.TIMEOUT, options.FROM_FILE,
                          options.MISSING_OK) + options.EDITING,
            needs_vm=True, takes_several=True,
            example='register-vm web01 --pool=A --priority=high'),
    Command('show-vm', 'show one VM', 'commands.show', 'show_vm', options.VM + (options.AT,),
            needs_vm=True, example='show-vm web01 --json'),
    Command('remove-vm', 'remove the registration of a VM', 'commands.register', 'remove_vm',
            options.ROW + options.RESTARTING + (options.RESTART, options.GONE) + options.EDITING,
            needs_vm=True, takes_several=True, example='remove-vm --vm-name=web01'),
    Command('transfer-vm', 'give the row of a VM to another VM, such as a restored copy',
            'commands.transfer', 'transfer_vm',
            (options.FROM, options.TO, options.GONE, options.YES, options.NO_WAIT,
             options.DRY_RUN),
            example=f'transfer-vm --from={_EXAMPLE_UUID} --to=web01'),
    _change('set-pool', 'move a VM to another vGPU pool', options.POOL, '--pool=B'),
    _change('set-priority', 'change the priority of a VM', options.PRIORITY,
            '--priority=low'),
    _change('set-vm-id', 'give a VM another number', options.VM_ID, '--vm-id=12'),
    Command('update-vm', 'change several settings of a VM at once', 'commands.update', 'change_vm',
            options.VM + (options.POOL, options.PRIORITY, options.VM_ID) + options.RESTARTING
            + options.EDITING, needs_vm=True, takes_several=True,
            any_of=(options.POOL, options.PRIORITY, options.VM_ID),
            example='update-vm --vm-name=web01 --pool=B --priority=high --no-restart'),
    Command('apply-pending', 'restart the VMs whose change waits for it, one after the other',
            'commands.apply_pending', 'apply_pending',
            options.VM + (options.ONLY_POOL, options.COUNT, options.WINDOW,
                          options.YES, options.FORCE, options.TIMEOUT,
                          options.ACCEPT_UNVERIFIED, options.DRY_RUN),
            takes_several=True, example='apply-pending --pool=A --window=22:00-04:00'),
    Command('list-vms', 'list the registered VMs', 'commands.show', 'list_vms',
            (options.ONLY_POOL, options.ONLY_PRIORITY), example='list-vms --pool=A --json'),
    Command('list-pools', 'list the vGPU pools', 'commands.show', 'list_pools',
            (options.ONLY_POOL_ID,), example='list-pools'),
    Command('show-pool', 'show one vGPU pool and its VMs', 'commands.show', 'show_pool',
            (options.POOL_ID,), required=(options.POOL_ID,), example='show-pool --pool-id=A'),
    Command('scan-vms', 'compare all VMs in XAPI with the registry', 'commands.scan', 'scan_vms',
            (options.STATE, options.ONLY_POOL, options.SCAN_FORMAT, options.EXIT_CODE),
            example='scan-vms --state=pending --pool=A'),
    Command('status', 'show the control panel', 'commands.scan', 'status', example='status'),
    Command('history', 'show who changed what and when', 'commands.history', 'history',
            options.VM + (options.SINCE, options.UNTIL, options.WHO, options.LIMIT),
            example='history --vm-name=web01 --since=2026-11-29'),
    Command('explain', 'tell why a VM booted with its arguments', 'commands.explain', 'explain',
            options.VM + (options.BOOT, options.LIFE), needs_vm=True,
            example='explain --vm-name=web01 --all'),
    Command('watch', 'show boots and changes while they happen, until Ctrl-C', 'commands.watch',
            'watch', options.VM + (options.NEWEST,), example='watch --limit=20'),
    Command('plan', 'say what the daemon would do now', 'commands.plan', 'plan',
            (options.EXIT_CODE,), example='plan --exit-code'),
    Command('reconcile', 'do once what the daemon would do', 'commands.plan', 'reconcile',
            (options.DRY_RUN,), example='reconcile --dry-run'),
    Command('verify', 'compare the registry, XAPI and what runs on this host', 'commands.plan',
            'verify', (options.EXIT_CODE,), example='verify --exit-code'),
    Command('update-pool', 'rename, describe, enable or disable a vGPU pool', 'commands.pools',
            'update_pool', (options.POOL_ID, options.NAME, options.DESCRIPTION, options.ENABLE,
                            options.DISABLE, options.YES, options.NO_WAIT,
                            options.POOL_VERBOSE, options.DRY_RUN),
            required=(options.POOL_ID,),
            any_of=(options.NAME, options.DESCRIPTION, options.ENABLE, options.DISABLE),
            example="update-pool --pool-id=B --name='Render farm' --disable"),
    _pool('set-pool-name', 'rename a vGPU pool', (options.NAME,), "--name='Render farm'"),
    _pool('set-pool-description', 'describe a vGPU pool', (options.DESCRIPTION,),
          "--description='nightly jobs'"),
    _pool('enable-pool', 'enable a vGPU pool', (), ''),
    _pool('disable-pool', 'disable a vGPU pool: its VMs get no arguments', (), '--yes'),
    Command('export', 'write the registry as JSON or CSV', 'commands.import_export', 'export',
            (options.FORMAT, options.FILE), operand=options.FILE,
            example='export --format=csv vms.csv'),
    Command('import', 'add and change the VMs that a file names', 'commands.import_export',
            'import_vms', (options.FILE, options.YES, options.NO_WAIT, options.DRY_RUN),
            required=(options.FILE,), operand=options.FILE,
            example='import vms.csv --dry-run'),
    Command('adopt', 'register VMs by the args that they carry, or arrived with', 'commands.adopt',
            'adopt', (options.YES, options.NO_WAIT, options.DRY_RUN), example='adopt --dry-run'),
    Command('backup', 'write the whole registry to a file', 'commands.import_export', 'backup',
            (options.FILE,), required=(options.FILE,), operand=options.FILE,
            example='backup /root/vgpu.json'),
    Command('restore', 'make the registry what a backup says', 'commands.import_export', 'restore',
            (options.FILE, options.AT, options.YES, options.NO_WAIT, options.DRY_RUN),
            any_of=(options.FILE, options.AT), operand=options.FILE,
            example='restore /root/vgpu.json --dry-run'),
    Command('init', 'create the registry', 'commands.registry_file', 'init',
            (options.EMPTY, options.DRY_RUN),
            example='init'),
    Command('accept', 'take over a registry that another program created', 'commands.registry_file',
            'accept', (options.YES, options.DRY_RUN), example='accept'),
    Command('check', 'validate structure and content of the registry', 'commands.registry_file',
            'check', example='check'),
    Command('registry', 'compare the registry with its mirror, make one like the other',
            'commands.mirror', 'registry',
            (options.REGISTRY_ACTION, options.SOURCE, options.AT, options.YES, options.NO_WAIT,
             options.DRY_RUN, options.EXIT_CODE),
            required=(options.REGISTRY_ACTION,), operand=options.REGISTRY_ACTION,
            example='registry compare'),
    Command('fence', 'lift the start blocks that a version before 0.2 left',
            'commands.registry_file', 'clear_fences', words=('clear',), example='fence clear'),
    Command('consumer', 'have xenopsd run our qemu-wrapper on this host, or not',
            'consumer.command', 'consumer',
            (options.CONSUMER_ACTION, options.ROOT, options.CONSUMER_EXIT_CODE),
            required=(options.CONSUMER_ACTION,), operand=options.CONSUMER_ACTION,
            example='consumer status'),
    Command('doctor', 'check this host, the registry, the daemon and XAPI', 'doctor.command',
            'doctor', (options.ROOT, options.ALL_HOSTS), example='doctor --all-hosts'),
    Command('completion', 'print the completion script for bash', 'commands.completion',
            'completion', example='completion > /etc/bash_completion.d/vgpu-admin'),
    Command('complete', 'print the words that complete a line (for the script)',
            'commands.completion', 'complete', example='complete'),
    Command('help', 'show help, for all commands, a group or one command', 'commands.help',
            'show_help', (options.ALL,), example='help register-vm'),
    Command('version', 'show the version', 'commands.help', 'show_version', example='version'),
)
HIDDEN = 'complete'
"""The command that only the completion script calls."""
GROUPS = OrderedDict((
    ('everyday', ('register-vm', 'set-pool', 'set-priority', 'set-vm-id', 'update-vm',
                  'remove-vm', 'apply-pending')),
    ('see', ('status', 'list-vms', 'show-vm', 'scan-vms', 'history')),
    ('trouble', ('explain', 'doctor', 'verify', 'restore')),
    ('pools', ('list-pools', 'show-pool', 'update-pool', 'set-pool-name', 'set-pool-description',
               'enable-pool', 'disable-pool')),
    ('files', ('export', 'import', 'backup')),
    ('setup', ('init', 'accept', 'check', 'registry', 'adopt', 'transfer-vm')),
    ('daemon', ('watch', 'plan', 'reconcile', 'fence', 'consumer')),
    ('shell', ('help', 'version', 'completion', 'complete')),
))
"""The commands by what they are for; the first three groups are what `help` shows."""
FIRST_GROUPS = ('everyday', 'see', 'trouble')
EARLIER = OrderedDict((
    ('weight', "a VM's share of the GPU, column weight"),
    ('rate', "a limit of a VM's jobs a second, column max_jobs_per_sec"),
    ('queue', "a limit of a VM's queue, column max_queue_depth"),
    ('quarantine', 'keeping a VM off the GPU, column quarantined'),
))
"""What the scheduler commands of the earlier tool were about, by a word in their names."""
BY_NAME = {command.name: command for command in COMMANDS}
