"""What the help of each command says beyond the table: its meaning, and more examples.

Read by `help` and by the man page; no other command pays for it.
"""

from typing import NamedTuple, Tuple


class Text(NamedTuple):
    """The prose of one command."""

    meaning: str
    """What it is for, in two sentences."""
    examples: Tuple[str, ...] = ()
    """Besides the one of the table."""


TEXTS = {
    'register-vm': Text(
        'Gives a VM a row in the registry: a vGPU pool, a priority and a number. A halted VM takes '
        'it at its next start; a running VM keeps running unless you say --restart.',
        ('register-vm web01', 'register-vm web01 web02 --pool=B --priority=high')),
    'show-vm': Text(
        'Shows one VM: its row, its power state, what it carries in XAPI and what its last boot '
        'took. With --at it shows the row as it was at a time.',
        ('show-vm web01', 'show-vm web01 --at=2026-11-29')),
    'remove-vm': Text(
        'Removes VMs from the registry, and our arguments from them. A running VM is stopped after '
        'a question, and started again only with --restart.',
        ('remove-vm web01', 'remove-vm web01 web02 --no-restart', 'remove-vm --gone --dry-run')),
    'transfer-vm': Text(
        'Gives the row and the number of one VM to another, such as its restored copy. With --gone '
        'it proposes this for every row whose VM is gone.',
        ('transfer-vm --from=2f4e6c9a-0b1d-4e8f-9a3c-5d7b8e1f2a4c --to=web01',
         'transfer-vm --gone --dry-run')),
    'set-pool': Text(
        'Moves VMs to another vGPU pool. A running VM is stopped and started after a question; '
        '--no-restart leaves it running; the change is taken when it is shut down and started.',
        ('set-pool web01 web02 --pool=B', 'set-pool web01 --pool=A --no-restart')),
    'set-priority': Text(
        'Changes the priority of VMs. A running VM is stopped and started after a question; '
        '--no-restart leaves it running; the change is taken when it is shut down and started.',
        ('set-priority web01 --priority=high', 'set-priority web01 web02 --priority=low --yes')),
    'set-vm-id': Text(
        'Gives a VM another number. A number that another VM has is refused, and the message '
        'names that VM.',
        ('set-vm-id web01 --vm-id=77', 'set-vm-id web01 --vm-id=77 --dry-run')),
    'update-vm': Text(
        'Changes vGPU pool, priority and number of VMs at once. A running VM is stopped and '
        'started after one question, not three.',
        ('update-vm web01 --pool=B --priority=high', 'update-vm web01 web02 --pool=A --dry-run')),
    'apply-pending': Text(
        'Restarts the VMs whose change waits for it, one after the other, and verifies each boot '
        'before the next. It stops at the first that fails; the others stay as they are.',
        ('apply-pending --dry-run', 'apply-pending web01 web02 --yes')),
    'list-vms': Text(
        'Lists the registered VMs with number, vGPU pool and priority. It reads the registry file '
        'only: XAPI is not asked.',
        ('list-vms', 'list-vms --priority=high')),
    'list-pools': Text(
        'Lists the vGPU pools, with the number of VMs in each. It reads the registry file only.'),
    'show-pool': Text(
        'Shows one vGPU pool and the VMs in it. It reads the registry file only.'),
    'scan-vms': Text(
        'Compares every VM in XAPI with the registry and shows its state. A terminal gets a table, '
        'a pipe the lines of the earlier tool; --format chooses.',
        ('scan-vms', 'scan-vms --format=lines --exit-code')),
    'status': Text(
        'Shows the control panel: daemon, XAPI, registry, mirror, vGPU pools, and what needs '
        'attention. What cannot be read is a line in it, with the cure.',
        ('status', 'status --json')),
    'history': Text(
        'Shows who changed what and when, in the registry and in XAPI. Times are UTC.',
        ('history', "history --who='another program' --limit=10")),
    'explain': Text(
        'Tells the story of the newest boot (or of --boot): what led to it since the boot before, '
        'what QEMU took then, and what is true now. --all tells the whole life of the VM.',
        ('explain web01', 'explain web01 --boot=12')),
    'watch': Text(
        'Shows boots and changes while they happen, until Ctrl-C. It reads the journal once a '
        'second, and asks XAPI for the names of hosts only.',
        ('watch', 'watch web01')),
    'plan': Text(
        'Says what the daemon would write to VMs now, and why. It changes nothing.',
        ('plan',)),
    'reconcile': Text(
        'Does once what the daemon would do, where no daemon runs. With --dry-run it only says '
        'what that is.',
        ('reconcile',)),
    'verify': Text(
        'Compares the registry, XAPI and the QEMU of every VM that runs on this host. With '
        '--exit-code the exit status is 6 when something differs.',
        ('verify',)),
    'update-pool': Text(
        'Changes name, description and state of a vGPU pool at once. The VMs of a disabled vGPU '
        'pool start without our arguments.',
        ("update-pool --pool-id=B --name='Render farm'",)),
    'set-pool-name': Text(
        "Renames a vGPU pool. Its letter and its VMs stay as they are; 'update-pool' does this "
        'too.'),
    'set-pool-description': Text(
        "Says what a vGPU pool is for. An empty text removes the description; 'update-pool' does "
        'this too.'),
    'enable-pool': Text(
        'Enables a vGPU pool: its VMs get their arguments again when they are halted. '
        "'update-pool --enable' does the same."),
    'disable-pool': Text(
        'Disables a vGPU pool: its VMs lose our arguments when they are halted. The rows stay, and '
        "'enable-pool' brings the arguments back."),
    'export': Text(
        'Writes the rows of the registry as JSON or CSV, to standard output or a file. What it '
        "writes is what 'import' and 'register-vm --from-file' read.",
        ('export > vms.json',)),
    'import': Text(
        'Adds and changes the VMs that a file names; other rows stay. All lines are done, or none.',
        ('import vms.csv',)),
    'adopt': Text(
        'Registers VMs by the arguments that they carry already, or brought from another resource '
        'pool. It shows what it will do, and asks.',
        ('adopt --dry-run', 'adopt')),
    'backup': Text(
        "Writes the whole registry to a file, consistently. 'restore' puts it back.",
        ('backup /root/vgpu.json', 'backup - > vgpu.json')),
    'restore': Text(
        'Makes the registry what a backup says, or what the history says it was at a time. It '
        'shows the difference, and asks.',
        ('restore /root/vgpu.json', 'restore --at=2026-11-29T12:00:00Z --dry-run')),
    'init': Text(
        'Creates an empty registry. It refuses where the mirror or the journal still holds '
        'assignments, and names the command that brings them back.',
        ('init', 'init --dry-run', 'init --empty')),
    'accept': Text(
        'Takes over a registry that another program created, or that lost rows. It shows what the '
        'daemon will then write, and asks.',
        ('accept --dry-run',)),
    'check': Text(
        'Validates structure and content of the registry file. The exit status is 1 when something '
        'is wrong.'),
    'registry': Text(
        'Compares the registry file of this host with its mirror in XAPI, and makes one like the '
        'other: rebuild takes the mirror, keep takes the file. copies lists the files that '
        'rebuilds have kept.',
        ('registry compare', 'registry rebuild --dry-run',
         'registry rebuild --source=history --at=2026-11-29')),
    'fence': Text(
        'Lifts the start blocks that a version before 0.2 left on VMs. Other blocks are not '
        'touched.'),
    'consumer': Text(
        'Switches our qemu-wrapper on this host on and off, pauses it, or tells its state. Without '
        'it, or a stock wrapper patched by hand, no VM gets its arguments.',
        ('consumer status', 'consumer enable', 'consumer pause')),
    'doctor': Text(
        'Checks this host: configuration, registry, daemon, consumer, mirror and XAPI. Each '
        'finding says what to do.',
        ('doctor',)),
    'completion': Text(
        'Prints the completion script for bash. The package installs it already.'),
    'complete': Text(
        'Prints the words that complete a command line. Only the completion script calls it.'),
    'help': Text(
        'Shows the everyday commands, a group of commands, or one command. --all lists every '
        'command.',
        ('help --all', 'help pools')),
    'version': Text('Shows the version. So do --version and -V, before or after a command.'),
}
