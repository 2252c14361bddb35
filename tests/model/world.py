"""One VM, one daemon, and everybody else, as a state that can be copied, compared and moved on.

The real `Staging`, `plan_vm`, `plan_restore` and `carry_out` decide and act. XAPI, the journal and
the clock are models. `carry_out` is run one call at a time: it is started again from the top with
the answers it has had so far, and left where it asks for the next one.

Time passes in steps that are longer than quiet time, echo and hold-off of a first failure.
"""

import copy
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tests.model.calls import Client, Paused
from tests.unit.watcher.builders import ASSIGNMENT, HOST, POLICY, REF, UUID, build_vm
from watcher.fence import MARK, Owner, list_fences, without_fences
from watcher.injector import carry_out
from watcher.inventory import Inventory
from watcher.plan import Plan, Standing
from watcher.records import PowerState, VmRecord
from watcher.staging import Staging

STEP_SECONDS = 1.3
OWNER = Owner('dom0', 1)
# What may happen a limited number of times.
KINDS = ('start', 'edit', 'meddle', 'crash', 'cut')


class Xapi(NamedTuple):
    """What XAPI holds of the VM; `boot_task` is set until the start has read the platform map."""
    args: Optional[str] = None
    blocks: Tuple[Tuple[str, str], ...] = ()
    power_state: PowerState = PowerState.HALTED
    task: Optional[str] = None
    boot_task: Optional[str] = None
    domid: int = -1

    @property
    def record(self) -> VmRecord:
        """The record that a read or an event shows."""
        return build_vm(
            self.args, power_state=self.power_state, start_blocks=self.blocks, domid=self.domid,
            operations=((self.task, 'start'),) if self.task else (),
            resident_on=HOST if self.domid >= 0 else None)


class Job(NamedTuple):
    """A plan being carried out, with the answers it has had: (error, value) each."""
    plan: Plan
    answers: Tuple[Tuple[Optional[str], Any], ...] = ()


class Journal:
    """The journal, as far as replacements go."""

    def __init__(self) -> None:
        self.entries: Dict[str, Any] = {}

    def begin_replacement(self, replacement: Any) -> None:
        """As the real one."""
        self.entries[replacement.vm_uuid] = replacement

    def end_replacement(self, vm_uuid: str) -> None:
        """As the real one."""
        self.entries.pop(vm_uuid, None)

    def replacements(self) -> Tuple[Any, ...]:
        """As the real one."""
        return tuple(self.entries.values())

    def note_staged(self, *_staged: Any) -> None:
        """Claims on numbers are not part of this model."""

    def add_history(self, *_entry: Any, **_fields: Any) -> None:
        """The history is not part of this model."""


class Books:
    """The registry in memory: one row."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.assignments = {UUID: ASSIGNMENT}
        self.is_available = True
        self.faulty = self.orphans = frozenset()  # type: Any
        self.staged: Dict[str, Any] = {}
        self.staged_values: Dict[str, str] = {}

    def open_journal(self) -> None:
        """It is open."""

    def note_staged(self, *_staged: Any) -> None:
        """Claims on numbers are not part of this model."""


class Standings:
    """Nobody else carries the number."""

    def find(self, _vm: VmRecord) -> Standing:
        """As the real one."""
        return Standing.CLEAR


class World:
    """The whole state; every method that changes it is a step that somebody takes."""

    def __init__(self, args: Optional[str], **budget: int) -> None:
        self.xapi = Xapi(args)
        self.books = Books()
        self.budget = {name: budget.get(name, 0) for name in KINDS}
        self.now = 100.0
        self.event: Optional[VmRecord] = None
        self.is_changed = True
        self.must_reread = False
        self.fences_left = False
        self.job: Optional[Job] = None
        self.is_alive = False
        self.promised: Optional[str] = None
        self.took: List[Tuple[Optional[str], Optional[str]]] = []
        self._deferred: List[Callable[[Journal], Any]] = []
        self._build_daemon()

    def copy(self) -> 'World':
        """A world that goes its own way from here."""
        twin = copy.copy(self)
        twin.books = copy.copy(self.books)
        twin.books.journal = Journal()
        twin.books.journal.entries = dict(self.books.journal.entries)
        twin.books.assignments = dict(self.books.assignments)
        twin.budget, twin.took, twin._deferred = dict(self.budget), list(self.took), []
        twin._build_daemon()
        for ours, theirs in ((twin.inventory, self.inventory), (twin.staging, self.staging),
                             (twin.staging.replacements, self.staging.replacements)):
            for name, value in vars(theirs).items():
                if isinstance(value, dict):
                    setattr(ours, name, value.copy())
        twin.inventory._carriers = {key: set(refs) for key, refs in
                                    self.inventory._carriers.items()}
        return twin

    @property
    def key(self) -> Any:
        """What tells this state from others; times are relative, and the past is the past."""
        return self._freeze((
            self.xapi, self.books.journal.entries, self.books.assignments, self.event,
            self.is_changed, self.must_reread, self.fences_left, self.job, self.is_alive,
            self.budget, self.promised,
            {name: value for name, value in vars(self.staging).items()
             if isinstance(value, dict) and name != '_told'},
            self.staging.replacements._entries,
            self.inventory._vms, self.inventory._rest_since))

    @property
    def desired(self) -> str:
        """The whole value that the VM should carry: the foreign text of all these worlds first."""
        assignment = self.books.assignments[UUID]
        return '-a ' + POLICY.template.render(assignment.pool_id, assignment.priority,
                                              assignment.vm_id)

    # XAPI and the host.

    def write(self, **changes: Any) -> None:
        """XAPI writes; an event will tell of it."""
        self.xapi = self.xapi._replace(**changes)
        self.is_changed = True

    def execute(self, name: str, *params: Any) -> Tuple[Optional[str], Any]:
        """Carry out a call: (code of the error, value)."""
        if name == 'read_vm':
            return None, self.xapi.record
        if name == 'remove_args':
            self.write(args=None)
        elif name == 'add_args':
            if self.xapi.args is not None:
                return 'MAP_DUPLICATE_KEY', None
            self.write(args=params[0])
        elif name == 'add_block':
            if params[0] in dict(self.xapi.blocks):
                return 'MAP_DUPLICATE_KEY', None
            self.write(blocks=tuple(sorted(self.xapi.blocks + (params,))))
        else:
            self.write(blocks=tuple(pair for pair in self.xapi.blocks if pair[0] != params[0]))
        return None, None

    # The daemon.

    def begin_daemon(self) -> None:
        """Start it: the journal is read, and the first batch shows the VM as it is."""
        self._build_daemon()
        self.is_alive = True
        self.staging.replacements.recall()
        self.event, self.is_changed = None, False
        self.fences_left = bool(list_fences(self.xapi.record))
        self.take(self.xapi.record, is_fresh=True)

    def kill_daemon(self) -> None:
        """End it where it is; what it has in memory is gone."""
        self.is_alive = False
        self.job, self.event = None, None
        self.must_reread = self.fences_left = False
        self._build_daemon()

    def take(self, vm: VmRecord, is_fresh: bool = False) -> None:
        """A record arrives."""
        self.inventory.update(vm, POLICY, self.now)
        self.staging.settle_restored(vm, is_fresh=is_fresh)
        self.look(is_fresh)

    def look(self, is_fresh: bool = False) -> None:
        """Decide about the VM; what was learned goes into the journal at the end of the turn."""
        self.staging.look(REF, self.now, may_write=not self.fences_left, is_fresh=is_fresh)
        for write in self._deferred:
            write(self.books.journal)
        self._deferred.clear()

    def step_job(self, fault: str = '') -> None:
        """Let the injector make its next call; `fault` has the request or the answer lost."""
        client = Client(self, fault)
        try:
            outcome = carry_out(client, self.job.plan, OWNER, clock=lambda: self.now)
        except Paused:
            self.job = self.job._replace(answers=client.answers)
            return
        self.job = None
        self.staging.finish(outcome, self.now)
        self.fences_left = self.fences_left or bool(outcome.fences_left)
        self.look(is_fresh=outcome.vm is not None)

    def reread(self) -> None:
        """Read the record on purpose."""
        self.must_reread = False
        self.take(self.xapi.record, is_fresh=True)

    def lift(self) -> None:
        """Lift the fences that the record shows as ours."""
        self.write(blocks=tuple(pair for pair in self.xapi.blocks
                                if not pair[1].startswith(MARK)))
        self.fences_left = False
        self.take(without_fences(self.xapi.record), is_fresh=True)

    def pass_time(self) -> None:
        """Wait; the daemon looks at what is due."""
        self.now += STEP_SECONDS
        if self.is_alive:
            for _ref in self.staging.take_due(self.now):
                self.look()

    def _build_daemon(self) -> None:
        self.inventory = Inventory()
        self.staging = Staging(
            self.books, self.inventory, Standings(), carry_out=self._begin_job,
            reread=self._note_reread, write=self._deferred.append)
        self.staging.policy = POLICY

    def _begin_job(self, plan: Plan, _is_first_attempt: bool) -> None:
        self.job = Job(plan)

    def _note_reread(self, _vm: VmRecord) -> None:
        self.must_reread = True

    def _freeze(self, value: Any) -> Any:
        if isinstance(value, float):
            return round(max(value - self.now, -1.5 * STEP_SECONDS), 1)
        if isinstance(value, dict):
            return tuple((key, self._freeze(value[key])) for key in sorted(value))
        if isinstance(value, tuple):
            return tuple(map(self._freeze, value))
        return value
