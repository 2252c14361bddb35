"""Who bears and who has which number, and how VMs stand to each other by it (P6, P10, P12).

A number has one owner, the row that has it, whatever has become of the row's VM. Others may carry
it all the same: a copy, which loses it, or a VM that bore it before, which is left alone. The
journal remembers who began when; this module keeps it up to date with what XAPI shows, and answers
for one VM at a time, by the pure functions of `numbers.py`.
"""

from typing import (Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Set,
                    Tuple)

from registry.journal.journal import Bearer, Boot, Journal
from watcher.state.inventory import Inventory, find_standing
from watcher.state.number_answers import NumberAnswers
from watcher.state.registry_view import RegistryView
from watcher.vm.hazards import Having, build_having
from watcher.vm.numbers import (Owner, Run, Spans, find_holders, find_interim, find_numbers,
                                find_parking, find_spans, find_taken, follow_holders,
                                is_blocked_by_others, is_live, steps_aside)
from watcher.vm.plan import Beside, Plan, Standing
from watcher.vm.record import VmKind, VmRecord

_UNVERIFIED = (None, 'unverified')
_Spans = Tuple[Optional[str], Optional[str]]


class NumberClaims:
    """The claims of all VMs on numbers."""

    def __init__(self, view: RegistryView, inventory: Inventory,
                 write: Callable[[Callable[[Journal], Any]], None],
                 find_boot: Callable[[str], Optional[Boot]] = lambda _vm_uuid: None) -> None:
        self._view = view
        self._inventory = inventory
        self._write = write
        self._find_boot = find_boot
        self.policy: Any = None
        """The Policy; set before anything is asked, and again when the configuration changes."""
        self._unproven: Dict[str, _Spans] = {}
        """Of VMs (UUIDs) that were written to: what stood there, and what shall."""
        self._unproven_at: Dict[int, Set[str]] = {}
        """The same by number: a storm of starts asks for each of its VMs."""
        self._ran_with: Dict[str, FrozenSet[int]] = {}
        self._runners: Dict[int, Set[str]] = {}
        self._stirred: Set[int] = set()
        self._answers = NumberAnswers()

    def find(self, vm: VmRecord) -> Standing:
        """How the VM stands to those that carry the same number."""
        assignment = self._view.assignments.get(vm.uuid)
        if assignment is None:
            return self._find_unregistered(vm)
        others = (self._inventory.find(ref)
                  for ref in self._inventory.carriers_of(assignment.vm_id))
        is_contested = any(other is not None and other.uuid not in self._view.assignments
                           and self._find_unregistered(other) is Standing.CONTESTED
                           for other in others)
        return Standing.CONTESTED if is_contested else Standing.CLEAR

    def find_beside(self, vm: VmRecord) -> Beside:
        """What the decision about a VM needs to know besides its record and its row."""
        if vm.uuid not in self._view.assignments:
            owner_uuid = self._view.owners.get(self._inventory.number_of(vm.ref) or 0)
            return Beside(owner=owner_uuid, is_blocked_by_others=is_blocked_by_others(vm))
        runs = find_taken(vm, self._find_run(vm), self.find_spans(vm)) if is_live(vm) else None
        found = Beside(runs=runs, removed=self._view.removed.get(vm.uuid))
        owner = self._build_owner(vm)
        holders = () if self._is_in_place(owner) else self._find_holders(owner)
        if not holders:
            return found
        return found._replace(holder=holders[0].vm_uuid, interim=self._find_interim(vm, owner))

    def find_spans(self, vm: VmRecord) -> Spans:
        """The spans that a VM has, or may have (P6)."""
        return find_spans(vm, self.policy.read(vm).managed, self._find_run(vm),
                          self._view.staged_values.get(vm.uuid) if is_live(vm) else None,
                          frozenset(self._unproven.get(vm.uuid, ())))

    def find_numbers(self, vm: VmRecord) -> FrozenSet[int]:
        """The numbers that an ordinary VM has, or may have."""
        if vm.kind is not VmKind.VM:
            return frozenset()  # templates and snapshots have no numbers
        if not is_live(vm) and vm.uuid not in self._unproven:
            number = self._inventory.number_of(vm.ref)
            return frozenset() if number is None else frozenset([number])
        return find_numbers(self.find_spans(vm), self.policy)

    def list_having(self, vm_id: int) -> Tuple[VmRecord, ...]:
        """The ordinary VMs that have a number, or may have it."""
        answers = self._recall_answers()
        if vm_id not in answers.vms:
            answers.vms[vm_id] = self._list_having(vm_id)
        return answers.vms[vm_id]

    def find_having(self, vm_id: int) -> Having:
        """The same, summed up."""
        answers = self._recall_answers()
        if vm_id not in answers.having:
            answers.having[vm_id] = build_having(self.list_having(vm_id))
        return answers.having[vm_id]

    def forget_answers(self) -> None:
        """What some VM has was changed in place, and by no record: nothing shows it of itself."""
        self._answers.forget()

    def note_all(self, *, is_complete: bool = True) -> None:
        """Hold every bearer that the journal knows against what XAPI shows.

        Unless all could be read: then none is forgotten. A VM that bears a number now bore it
        before the rows that are new.
        """
        self.note(tuple(self._inventory.vms))
        for vm_uuid in tuple(self._view.bearers) if is_complete else ():
            if self._inventory.find_by_uuid(vm_uuid) is None:
                self._forget(vm_uuid)
        found, gone = self._view.order_claims() if self._view.is_available else ((), ())
        if found or gone:
            self._write(lambda journal: journal.note_claims(found, gone))

    def note(self, vms: Iterable[VmRecord], *, is_fresh: bool = False) -> Tuple[VmRecord, ...]:
        """Note what the records show; those that began or ceased to bear a number."""
        changed: List[VmRecord] = []
        for vm in vms:
            if vm.kind is VmKind.CONTROL_DOMAIN:
                continue
            if vm.uuid in self._unproven:
                self._note_proof(vm, is_fresh)
            is_registered = vm.uuid in self._view.assignments
            number = None if is_registered else self._inventory.number_of(vm.ref)
            claim = self._view.bearers.get(vm.uuid)
            known = (claim.vm_id, self._view.bearer_kinds.get(vm.uuid)) if claim else None
            if known != (None if number is None else (number, vm.kind.value)):
                self._note(vm, number)
                changed.append(vm)
        return tuple(changed)

    def note_gone(self, vm: VmRecord) -> None:
        """The VM does not exist any more, unless another record has its UUID by now."""
        if self._inventory.find_by_uuid(vm.uuid) is None:
            self._prove(vm.uuid)
            if vm.uuid in self._view.bearers:
                self._forget(vm.uuid)

    def recall_writes(self) -> None:
        """Take up the writes that an earlier program left unproven."""
        for vm_uuid, written in self._view.written.items():
            self._unproven.setdefault(vm_uuid, (written.before or None, written.value or None))
            self.forget_answers()
            vm = self._inventory.find_by_uuid(vm_uuid)
            if vm is not None:
                self._note_proof(vm, is_fresh=False)

    def note_boot(self, vm_uuid: str) -> None:
        """The newest boot of a VM has changed, or there is none any more."""
        boot = self._find_boot(vm_uuid)
        numbers = frozenset() if boot is None else find_numbers(
            (boot.found, boot.carried, boot.desired), self.policy)
        self.forget_answers()
        before = self._ran_with.pop(vm_uuid, frozenset())
        self._stir(vm_uuid, before | numbers)
        for number in before - numbers:
            self._runners.get(number, set()).discard(vm_uuid)
        for number in numbers - before:
            self._runners.setdefault(number, set()).add(vm_uuid)
        if numbers:
            self._ran_with[vm_uuid] = numbers

    def note_writing(self, plan: Plan) -> None:
        """A write begins: until it is proven, a start may take what was, or what is written."""
        policy = self.policy
        if plan.holder is None:
            self.claim(plan.vm.uuid)
        after = policy.read(plan.vm._replace(args=plan.value)).managed
        self._prove(plan.vm.uuid)
        spans = self._unproven[plan.vm.uuid] = policy.read(plan.vm).managed, after
        for number in find_numbers(spans, policy):
            self._unproven_at.setdefault(number, set()).add(plan.vm.uuid)
        self.forget_answers()

    def note_written(self, plan: Plan, *, is_settled: bool) -> None:
        """The write is over; settled when nothing was sent, or a record at rest was read after."""
        if is_settled:
            self._settle(plan.vm.uuid)

    def note_left(self, vm_id: int) -> None:
        """A VM rests with another number than before: who waits for this one deserves a look."""
        self._stirred.add(vm_id)

    def claim(self, vm_uuid: str) -> None:
        """The number of the VM's row is, or is about to be, in place: no other VM had it."""
        assignment = self._view.assignments.get(vm_uuid)
        if assignment is not None and self._view.claim(assignment.vm_id):
            self._write(lambda journal: journal.note_claims([assignment.vm_id]))

    def is_unproven(self, vm_uuid: str) -> bool:
        """Whether a start under way may have taken something else than what was written."""
        return vm_uuid in self._unproven

    def take_stirred(self) -> Tuple[VmRecord, ...]:
        """Whose numbers were found to run, or not to: they and their peers stand differently."""
        numbers, self._stirred = self._stirred, set()
        owners = (self._inventory.find_by_uuid(self._view.owners.get(number, ''))
                  for number in sorted(numbers))
        return tuple(vm for vm in owners if vm is not None)

    def find_concerned(self, vm: VmRecord) -> FrozenSet[int]:
        """The numbers by which others may stand differently when this VM changes or goes."""
        assignment = self._view.assignments.get(vm.uuid)
        found = {self.policy.number_of(vm), assignment.vm_id if assignment is not None else None}
        return self.find_numbers(vm) | frozenset(vm_id for vm_id in found if vm_id is not None)

    def list_peers(self, concerned: Mapping[int, str]) -> Tuple[str, ...]:
        """The refs of those that have these numbers or wait for them, and so on along a circle.

        `concerned` has by number the ref of the only VM by which it is, which is left out, or ''.
        """
        peers: Set[str] = set()
        waiting, seen = set(concerned), set(concerned)
        while waiting:
            vm_id = waiting.pop()
            changed = concerned.get(vm_id, '')
            peers |= self._inventory.carriers_of(vm_id) - {changed}
            owner = self._inventory.find_by_uuid(self._view.owners.get(vm_id, ''))
            if owner is not None and owner.ref != changed and owner.ref not in peers:
                peers.add(owner.ref)
                waiting |= self.find_numbers(owner) - seen
                seen |= waiting
        return tuple(sorted(peers))

    def _recall_answers(self) -> NumberAnswers:
        """What still holds of the answers that were worked out."""
        view = self._view
        self._answers.rest_on(self._inventory.version, view.assignments, view.staged_values,
                              self.policy)
        return self._answers

    def _list_having(self, vm_id: int) -> Tuple[VmRecord, ...]:
        refs = set(self._inventory.carriers_of(vm_id))
        uuids = (self._view.list_staged_at(vm_id) | self._runners.get(vm_id, set())
                 | self._unproven_at.get(vm_id, set()))
        found = [self._inventory.find(ref) for ref in refs]
        found += [self._inventory.find_by_uuid(vm_uuid) for vm_uuid in uuids]
        unique = {vm.uuid: vm for vm in found if vm is not None}
        return tuple(vm for _uuid, vm in sorted(unique.items()) if vm_id in self.find_numbers(vm))

    def _find_holders(self, owner: Owner) -> Tuple[Owner, ...]:
        """Who keeps a VM from the number of its row; not a copy that others keep from starting."""
        if owner.wanted is None:
            return ()
        answers = self._recall_answers()
        if owner.wanted not in answers.holders:
            answers.holders[owner.wanted] = tuple(
                self._build_owner(vm) for vm in self.list_having(owner.wanted)
                if not self._is_blocked_copy(vm))
        return find_holders(owner, answers.holders[owner.wanted])

    def _is_in_place(self, owner: Owner) -> bool:
        """Whether the VM has its number already, and not by the hand of others: copies lose it."""
        staged = self._view.staged.get(owner.vm_uuid)
        return owner.wanted in owner.had and (staged is None or staged.vm_id == owner.wanted)

    def _is_blocked_copy(self, vm: VmRecord) -> bool:
        return (vm.uuid not in self._view.assignments and not is_live(vm)
                and is_blocked_by_others(vm))

    def _build_owner(self, vm: VmRecord) -> Owner:
        assignment = self._view.assignments.get(vm.uuid)
        wanted = assignment.vm_id if assignment and assignment.is_pool_enabled else None
        is_movable = vm.is_at_rest and self.policy.is_accepted
        return Owner(vm.uuid, wanted, self.find_numbers(vm), is_movable)

    def _find_mover(self, vm: VmRecord, owner: Owner) -> Optional[str]:
        """Who steps aside in the circle in which a VM waits (UUID), if it is time for that."""
        # The answers are those of the records that we know: not of one that is only supposed.
        answers = self._recall_answers()
        known = answers.movers if self._inventory.find(vm.ref) is vm else {}
        if vm.uuid not in known:
            path, circle = follow_holders(
                owner, lambda one: self._find_holders(one) if one.is_movable else (), known)
            known.update(dict.fromkeys([one.vm_uuid for one in path]))
            known.update(dict.fromkeys([one.vm_uuid for one in circle], steps_aside(circle)))
        return known[vm.uuid]

    def _find_interim(self, vm: VmRecord, owner: Owner) -> Optional[int]:
        """The number that the VM has until that of its row is free."""
        if self._find_mover(vm, owner) == vm.uuid:
            parking = find_parking(lambda number: number in self._view.owners
                                   or bool(self.list_having(number)))
            if parking is not None:
                return parking
        staged = self._view.staged.get(vm.uuid)

        def is_free(number: int) -> bool:
            return all(other.uuid == vm.uuid for other in self.list_having(number))
        return find_interim(staged.vm_id if staged else None, self.find_numbers(vm), is_free)

    def _note_proof(self, vm: VmRecord, is_fresh: bool) -> None:
        """A record may prove what became of a write; an event may show what stood before it."""
        carried, run = self.policy.read(vm).managed, self._find_run(vm)
        if is_live(vm):
            is_proven = run is not None and run.is_verified and vm.domain == run.domain
        else:
            is_proven = vm.is_at_rest and (is_fresh or carried == self._unproven[vm.uuid][1])
        if is_proven:
            self._settle(vm.uuid)

    def _settle(self, vm_uuid: str) -> None:
        self._stirred |= self._prove(vm_uuid)

    def _prove(self, vm_uuid: str) -> FrozenSet[int]:
        """Nothing that was written to a VM is open any more; the numbers that were."""
        spans = self._unproven.pop(vm_uuid, ())
        numbers = find_numbers(spans, self.policy)
        for number in numbers:
            self._unproven_at.get(number, set()).discard(vm_uuid)
            if not self._unproven_at.get(number):
                self._unproven_at.pop(number, None)
        self.forget_answers()
        return numbers

    def _stir(self, vm_uuid: str, numbers: FrozenSet[int]) -> None:
        """What a VM has is known better now: the owners of those numbers deserve a look."""
        assignment = self._view.assignments.get(vm_uuid)
        self._stirred |= numbers | ({assignment.vm_id} if assignment is not None else set())

    def _find_run(self, vm: VmRecord) -> Optional[Run]:
        boot = self._find_boot(vm.uuid)
        return None if boot is None else Run(
            (boot.host or '', -1 if boot.domid is None else boot.domid),
            boot.verdict not in _UNVERIFIED, boot.found, boot.carried, boot.desired,
            boot.verdict != 'not_consumed')

    def _find_unregistered(self, vm: VmRecord) -> Standing:
        number = self._inventory.number_of(vm.ref)
        return find_standing(vm, number, self._view.claims, number in self._view.owners,
                             self._view.bearers, self._view.orphans)

    def _note(self, vm: VmRecord, number: Optional[int]) -> None:
        if number is None:
            self._forget(vm.uuid)
            return
        self._view.note_bearer(vm.uuid, number, vm.kind.value)
        bearer = Bearer(vm.uuid, vm.name, number, vm.kind.value)
        self._write(lambda journal: journal.note_bearers([bearer]))

    def _forget(self, vm_uuid: str) -> None:
        self._view.note_bearer(vm_uuid, None, '')
        self._write(lambda journal: journal.note_bearers([], [vm_uuid]))

