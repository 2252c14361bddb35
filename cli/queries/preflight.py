"""What XAPI says of a VM before an edit: does it run, who bears which number, may we edit here."""

from typing import TYPE_CHECKING, Any, FrozenSet, Mapping, NamedTuple, Optional

from cli.errors import CommandError, Kind
from cli.output.text import escape, say_unasked
from cli.queries.overtaken import refuse_overtaken
from registry.values import Contents
from watcher.errors import MalformedRecord, XapiError
from watcher.vm.record import PowerState, VmKind, VmRecord

if TYPE_CHECKING:
    from registry.edit import Edit


class Situation(NamedTuple):
    """One VM as XAPI has it, or why XAPI could not be asked."""

    record: Optional[VmRecord] = None
    taken: Mapping[int, str] = {}
    """number -> the VM that has it without its row's saying so, in words."""
    largest: int = 0
    """The largest number on any VM, template or snapshot."""
    problem: str = ''
    records: Mapping[str, VmRecord] = {}
    """UUID -> record of every VM, where all were read."""

    @property
    def was_asked(self) -> bool:
        """Whether XAPI answered."""
        return not self.problem

    @property
    def is_running(self) -> bool:
        """Whether the VM runs, as far as we know."""
        return self.record is not None and self.record.power_state is PowerState.RUNNING

    @property
    def kind_problem(self) -> str:
        """What keeps the VM from being registered; '' when nothing does."""
        if self.record is None or self.record.kind is VmKind.VM:
            return ''
        return f"is a {self.record.kind.value.replace('_', ' ')}, not an ordinary VM"


def read_situation(context: Any, contents: Optional[Contents], vm_uuid: str, *,
                   with_numbers: bool, own: FrozenSet[str] = frozenset()) -> Situation:
    """Ask XAPI about a VM; an XAPI that cannot be asked is not an error, a member host is.

    The numbers that the VM itself, and those in `own`, carry do not count as taken.
    """
    try:
        refuse_unless_editable(context)
        live = context.live()
        with live.hurried():
            if with_numbers:
                return _read_all(context, live, contents, vm_uuid, own | {vm_uuid})
            return Situation(live.find_vm(vm_uuid))
    except XapiError as error:
        context.lose_live(error)
        return Situation(problem=str(error))
    except MalformedRecord as error:
        return Situation(problem=str(error))


def claim_numbers(edit: 'Edit', situation: Situation) -> None:
    """Have rows hold their numbers from the commit on, where XAPI was asked who else has them.

    Otherwise the daemon notes it when it sees the row; a VM that bears the number by then was first
    (P10).
    """
    if situation.was_asked and situation.records:
        edit.claim_numbers(situation.taken)


def refuse_unless_editable(context: Any, *, is_cure: bool = False) -> None:
    """Refuse an edit where this registry is not edited, and name where or what comes first.

    That is on a pool member that is not the master, also while XAPI is away, and, unless the edit
    is a cure for that, on a master without a daemon when the mirror has overtaken the registry.
    """
    try:
        master = context.live().master
    except XapiError as error:
        context.lose_live(error)
        from cli.queries.member import is_noted_member
        if is_noted_member(context):
            raise CommandError(Kind.FAILED, 'this host is a member of its pool, and the registry '
                               'is edited on the master, to which XAPI leads; '
                               f'{say_unasked(error)}: edit there, or repeat it when XAPI answers; '
                               'nothing was changed') from error
        return
    if master is not None:
        raise CommandError(Kind.FAILED, 'this host is a member of its pool, and the registry is '
                           f'edited on the master, {escape(master)}; nothing was changed')
    if not is_cure:
        refuse_overtaken(context)


def _read_all(context: Any, live: Any, contents: Optional[Contents], vm_uuid: str,
              own: FrozenSet[str]) -> Situation:
    from cli.queries.pool_snapshot import find_numbers
    vms = live.read_vms(may_be_old=True)
    contents = contents or Contents(1, (), ())
    numbers = find_numbers(context, contents, vms, own)
    record = next((vm for vm in vms if vm.uuid == vm_uuid), None)
    return Situation(record, numbers.taken, numbers.largest, live.odd.get(vm_uuid, ''),
                     {vm.uuid: vm for vm in vms})
