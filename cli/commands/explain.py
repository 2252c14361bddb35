"""explain: why a VM booted with its arguments.

What led to the boot, what was true then and what is true now stand apart.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.history import describe_entry, find_past_target
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.output.result import Result, build_document, plain
from cli.output.tables import (GOOD_STATES, describe_boot, describe_outcome, describe_state,
                               is_open, is_unasked)
from cli.output.text import escape, name_vm, plural, say_unasked, spell_vm, utc
from cli.output.vm_view import boot_document, entry_document, view_record
from cli.queries.vm_names import find_names
from registry.errors import RegistryUnavailable
from registry.journal.clock_steps import correct
from watcher.errors import MalformedRecord, XapiError

_ALL = 20000
_SHOWN_BOOTS = 10
# A boot that has just begun has its verdict soon.
_VERDICT_SECONDS = 3.0
_AGAIN_SECONDS = 0.1
# What the history says of a VM's row, by the beginning of its name.
_OF_THE_ROW = 'vm_'


class Life(NamedTuple):
    """All that the journal has of one VM."""

    boots: Tuple[Any, ...]
    """The newest first."""
    entries: Tuple[Any, ...]
    """What was changed, the oldest first."""
    clock_steps: Sequence[Any] = ()
    name: Optional[str] = None
    """What the VM is called now, or was last."""

    def when(self, at: str) -> str:
        """A time as it would stand there if the clock had always been right."""
        return correct(at, self.clock_steps)

    def list_entries(self, until: str) -> List[Any]:
        """What was changed up to a time."""
        return [entry for entry in self.entries if self.when(entry.at) <= self.when(until)]


class Now(NamedTuple):
    """What has become of a VM since its newest boot."""

    said: str
    """As a sentence."""
    document: Optional[Dict[str, Any]] = None
    """None where that is not known."""
    state: str = ''
    """What is odd about the VM, as `show-vm` says it; '' where nothing is."""

    @property
    def lines(self) -> List[str]:
        """The lines of it."""
        return ['Now:'] + _indent(list(filter(None, (self.said, self.state))))


def explain(arguments: Arguments, context: Context) -> Result:
    """Tell why a VM booted with its arguments: from the registry's change to the verdict."""
    vm_uuid = find_past_target(context, arguments)
    life = _read_settled(context, vm_uuid)
    if arguments.get(options.LIFE):
        return _tell_life(context, life, vm_uuid)
    typed = arguments.get(options.VM_NAME)
    whole = f"'vgpu-admin explain {spell_vm(typed, vm_uuid)} --all'"
    boot = _choose(life, arguments.get(options.BOOT), name_vm(typed or life.name, vm_uuid), whole)
    # Of a VM that was found running, what was changed later led to nothing.
    entries = life.list_entries(boot.opened_at if boot.kind == 'unknown' or not boot.closed_at
                                else boot.closed_at)
    now = _find_now(context, boot) if boot is life.boots[0] else None
    host_name = context.find_host_name(boot.host)
    lines = [f'{name_vm(boot.vm_name, vm_uuid)}: boot {boot.id}, {describe_boot(boot, host_name)}',
             f'Meaning: {_describe_meaning(boot)}',
             'Changed before it was found running:' if boot.kind == 'unknown' else
             'What led to it:']
    lines += _indent(_describe_cause(life, boot, entries))
    lines += ['Then:'] + _indent(_describe_then(boot))
    if now is not None:
        lines += now.lines
    lines += _count_rest(life, boot, entries, whole)
    return _build(vm_uuid, life.name, boot, host_name, entries, now, lines)


def _describe_meaning(boot: Any) -> str:
    if is_open(boot):
        return 'what QEMU runs with has not been inspected yet; ask again.'
    if is_unasked(boot):
        return 'it had no row when it came up, so nothing was assigned.'
    return _MEANINGS.get(boot.verdict or '', 'the boot has no verdict.')


def _read_settled(context: Context, vm_uuid: str) -> Life:
    """Read a life; the verdict on a boot that has just begun is waited for."""
    until = context.clock() + _VERDICT_SECONDS
    life = _read_life(context, vm_uuid)
    while life.boots and is_open(life.boots[0]) and context.clock() < until:
        context.sleep(_AGAIN_SECONDS)
        life = _read_life(context, vm_uuid)
    return life


def _read_life(context: Context, vm_uuid: str) -> Life:
    with context.journal(is_needed=True) as journal:
        if journal is None:
            return Life((), ())
        names = find_names(context.registry.path, journal, [vm_uuid])
        return Life(tuple(journal.list_boots(vm_uuid, _ALL)),
                    tuple(reversed(journal.list_history(vm_uuid, _ALL))), journal.clock_steps(),
                    names.get(vm_uuid))


def _choose(life: Life, number: Optional[int], name: str, whole: str) -> Any:
    if not life.boots:
        hint = f'; {whole} shows what was changed' if life.entries else ''
        raise CommandError(Kind.NOT_FOUND, f'no boot of {name} is recorded: the daemon records '
                           'those that it sees of VMs that have a row, or carry our '
                           f"arguments{hint}; 'vgpu-admin show-vm' shows how it is now")
    if number is None:
        return life.boots[0]
    for boot in life.boots:
        if boot.id == number:
            return boot
    shown = life.boots[:_SHOWN_BOOTS]
    which = f'the newest of its {len(life.boots)} boots' if len(life.boots) > len(shown) else \
        'its boots'
    known = ', '.join(str(boot.id) for boot in shown)
    raise CommandError(Kind.NOT_FOUND, f'{name} has no boot {number}; {which}: {known}')


def _build(vm_uuid: str, name: Optional[str], boot: Any, host_name: Optional[str],
           entries: Sequence[Any], now: Optional[Now], lines: List[str], **more: Any) -> Result:
    document = build_document(vm_uuid=vm_uuid, boot=boot_document(boot, host_name),
                              history=[entry_document(entry, name) for entry in entries],
                              now=now.document if now is not None else None, **more)
    return Result(document, plain(lines))


# The story of one boot.

def _describe_cause(life: Life, boot: Any, entries: Sequence[Any]) -> List[str]:
    """What was changed since the boot before; the row as it was, where it was not changed."""
    before = _find_before(life, boot)
    found = [entry for entry in entries
             if before is None or life.when(entry.at) > life.when(before.opened_at)]
    lines = [describe_entry(entry, life.name, names_vm=False) for entry in found]
    if before is not None and not any(entry.what.startswith(_OF_THE_ROW) for entry in found):
        last = [entry for entry in entries if entry.what.startswith(_OF_THE_ROW)][-1:]
        lines = [f'{describe_entry(entry, life.name, names_vm=False)} (before boot {before.id})'
                 for entry in last] + lines
    return lines or ['nothing is recorded']


def _find_before(life: Life, boot: Any) -> Optional[Any]:
    """The boot before one."""
    position = life.boots.index(boot) + 1
    return life.boots[position] if position < len(life.boots) else None


def _describe_then(boot: Any) -> List[str]:
    began = 'found running' if boot.kind == 'unknown' else f'{boot.kind} began'
    first = (f'{utc(boot.opened_at)}  {began}; the VM record carried '
             f'{escape(boot.carried) or "nothing of ours"}')
    if is_open(boot):
        return [first, f'(not yet)  verdict: desired {escape(boot.desired) or "nothing"}']
    looked_at = utc(boot.closed_at or boot.opened_at)
    if is_unasked(boot):
        return [first, f'{looked_at}  found {escape(boot.found) or "nothing of ours"}']
    return [first,
            f'{looked_at}  verdict {boot.verdict or "none"}: desired '
            f'{escape(boot.desired) or "nothing"}, found {_say_found(boot)}'
            + (' (written after the start was seen)' if boot.rescued else '')]


def _say_found(boot: Any) -> str:
    if boot.verdict == 'unverified':
        return 'is not known'
    return escape(boot.found) or 'nothing'


def _count_rest(life: Life, boot: Any, entries: Sequence[Any], whole: str) -> List[str]:
    """Name what is not told, and how to have it told."""
    boots, later = len(life.boots) - 1, len(life.entries) - len(entries)
    before = _find_before(life, boot)
    earlier = 0 if before is None else sum(
        1 for entry in entries if life.when(entry.at) <= life.when(before.opened_at))
    others = [plural(number, what) for number, what in (
        (boots, 'other boot'), (earlier + later, 'other change')) if number]
    return [f"{' and '.join(others)}: see {whole}"] if others else []


# The story of a life.

def _tell_life(context: Context, life: Life, vm_uuid: str) -> Result:
    if not life.boots and not life.entries:
        raise CommandError(Kind.NOT_FOUND, f'nothing is recorded of {name_vm(life.name, vm_uuid)}')
    newest = life.boots[0] if life.boots else None
    now = _find_now(context, newest) if newest is not None else None
    told = [(life.when(entry.at), 0, describe_entry(entry, life.name, names_vm=False))
            for entry in life.entries]
    told += [(life.when(boot.opened_at), boot.id, f'{utc(boot.opened_at)}  boot {boot.id}, '
              f'{describe_outcome(boot)}')
             for boot in reversed(life.boots)]
    lines = [f"{name_vm(life.name, vm_uuid)}: {plural(len(life.boots), 'boot')}, "
             f"{plural(len(life.entries), 'change')}, the oldest first"]
    lines += _indent([line for _at, _number, line in sorted(told, key=lambda item: item[:2])])
    if now is not None:
        lines += now.lines
    host_name = context.find_host_name(newest.host) if newest is not None else None
    return _build(vm_uuid, life.name, newest, host_name, life.entries, now, lines,
                  boots=[boot_document(boot) for boot in reversed(life.boots)])


def _indent(lines: Sequence[str]) -> List[str]:
    return ['  ' + line for line in lines]


# What is true now.

def _find_now(context: Context, boot: Any) -> Now:
    """What has become of the VM since its newest boot, where registry and XAPI can be asked."""
    try:
        contents = context.registry.read()
        context.live()
        from cli.queries.pool_snapshot import read_around
        pool = read_around(context, contents, boot.vm_uuid)
    except XapiError as error:
        return Now(f'not known: {escape(say_unasked(error))}')
    except (RegistryUnavailable, MalformedRecord) as error:
        return Now(f'not known: {escape(str(error))}')
    vm = pool.inventory.find_by_uuid(boot.vm_uuid)
    if vm is None:
        return Now('the VM was destroyed; it is no longer in XAPI.', {'kind': None})
    if vm.kind.value != 'vm':
        return Now(f"it was made a {vm.kind.value.replace('_', ' ')}.", {'kind': vm.kind.value})
    plan = pool.plan(vm)
    document = {'kind': 'vm', 'power_state': vm.power_state.value,
                'state': plan.state.value if plan else None,
                'carried': plan.carried if plan else None,
                'desired': plan.desired if plan else None}
    view = view_record(contents.by_uuid.get(vm.uuid), vm, plan, pool.policy.names, '',
                       contents.by_uuid)
    # That a change waits for a shutdown is said of a VM that runs.
    is_well = view.state in GOOD_STATES or view.state == 'pending' and vm.is_up
    return Now(_say_now(boot, vm, plan), document,
               '' if is_well else f'State: {describe_state(view)}')


def _say_now(boot: Any, vm: Any, plan: Any) -> str:
    if boot.host is None or vm.domain != (boot.host, boot.domid):
        return f'that domain has ended; the VM is {vm.power_state.value}.'
    if plan is not None and plan.state.value == 'pending':
        return (f"{escape(plan.desired) or 'nothing'} is assigned; this waits until the VM is "
                'shut down and started.')
    return 'the VM runs.' if is_open(boot) else 'it still runs like that.'


_MEANINGS = {
    'as_desired': 'it took what was assigned then.',
    'pending': 'it took what was staged when it was last halted, while a change waited.',
    'frozen': 'a resume or a migration kept the arguments of the boot before.',
    'stale': 'it took arguments that were not those of the registry, nor those staged last.',
    'missing': 'it took no arguments of ours, and should have.',
    'withheld': 'the consumer on that host withheld the arguments: their number belongs to the row '
                "of another VM, and this VM had no row. Give it one ('vgpu-admin register-vm'), or "
                "move the row to it ('vgpu-admin transfer-vm'), and start it again.",
    'not_consumed': 'XAPI delivered the arguments and QEMU did not run with them: see to the '
                    'consumer (qemu-wrapper) on that host.',
    'unverified': 'what it ran with could not be inspected; that is not success.',
}
