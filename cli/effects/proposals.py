"""The one way by which commands change many rows: compare, show, ask, and do just that.

A command makes up what it wants in an Edit that is taken back (`rehearse`). What comes of it is a
proposal: shown to people, printed for programs, asked about, and then applied as it is, to a
registry that still says what it said (`Context.carry_out`).
"""

import contextlib
from typing import Any, Callable, Dict, List, Optional, Sequence

from cli.context import Context
from cli.output.edit_messages import say_assignment, say_change
from cli.output.text import escape, name_vm, plural
from registry.difference import ADDED, MOVED, REMOVED, Difference, PoolChange, RowChange
from registry.edit import Edit
from registry.errors import Conflict, Reason, RegistryUnavailable
from registry.proposal import Proposal
from registry.values import Pool, Vm

# What is set aside and created again; anything else is mended in place.
REPLACEABLE = (Reason.MISSING, Reason.EMPTY, Reason.CORRUPT, Reason.FOREIGN, Reason.TOO_NEW)
QUESTION = 'Do you want to apply these changes?'


def rehearse(context: Context, build: Callable[[Edit], Any], *, allow_loss: bool = False,
             may_create: bool = False, may_replace: bool = False) -> Proposal:
    """Find out what a change comes to, with everything checked and nothing kept.

    With `may_create` a registry that is not there is one without rows, which is created; with
    `may_replace` one that is of no use is as well.
    """
    replaceable = REPLACEABLE if may_replace else (Reason.MISSING, Reason.EMPTY)
    try:
        with context.editing(dry_run=True, allow_loss=allow_loss) as edit:
            build(edit)
        return edit.proposal
    except RegistryUnavailable as error:
        if not may_create or error.reason not in replaceable:
            raise
    draft = context.registry.draft()
    build(draft)
    return draft.settle()._replace(creates=True)


def ask(context: Context, lines: List[str], question: str) -> bool:
    """Have a change agreed to, or tell it with --yes; whether it has been shown."""
    context.confirm(lines, question)
    return not context.is_json


def create(context: Context, proposal: Proposal, *, done: str) -> bool:
    """Create the registry, where that was proposed; False where another program was quicker."""
    if proposal.creates:
        with contextlib.suppress(Conflict):
            context.carry_out(proposal, done=done)
            return True
    return False


def list_affected(proposal: Proposal) -> List[str]:
    """The VMs whose arguments a change concerns: those of rows, and of a vGPU pool switched."""
    switched = [change.after.pool_id for change in proposal.difference.pools
                if change.before.enabled != change.after.enabled]
    found = dict.fromkeys(proposal.difference.vm_uuids)
    found.update(dict.fromkeys(vm.vm_uuid for vm in proposal.vms_after
                               if vm.pool_id in switched))
    return list(found)


# What is shown.

def describe(proposal: Proposal) -> List[str]:
    """All that changes, for people: a line for each row, more for each vGPU pool."""
    lines = [list_row(row) for row in proposal.difference.rows]
    for change in proposal.difference.pools:
        lines += describe_pool_change(change, proposal.vms_after)
    return lines


def describe_difference(difference: Difference) -> List[str]:
    """The same where there is no proposal: nothing is about to be done."""
    return [list_row(row) for row in difference.rows] + [
        describe_pool(change) for change in difference.pools]


def invert(difference: Difference) -> Difference:
    """The same the other way round: what makes the second like the first."""
    other = {ADDED: REMOVED, REMOVED: ADDED}
    return Difference(
        tuple(row._replace(what=other.get(row.what, row.what), before=row.after, after=row.before)
              for row in difference.rows),
        tuple(PoolChange(after, before) for before, after in difference.pools))


def list_row(row: RowChange) -> str:
    """What becomes of one row, on one line."""
    before, after = row.before, row.after
    vm = after or before
    assert vm is not None
    name = name_vm(vm.vm_name, vm.vm_uuid)
    said = say_assignment(vm)
    if row.what == MOVED and before is not None:
        name = f'{name_vm(before.vm_name, before.vm_uuid)} → {name}'
    elif row.problem:
        said = f'a row that is not valid ({escape(row.problem)})' + (
            '' if row.what == REMOVED else f' → {said}')
    elif before is not None and after is not None:
        said = say_change(before, after)
    return f'{row.what:8} {name}: {said}'


def describe_pool_change(change: PoolChange, vms: Sequence[Vm]) -> List[str]:
    """What becomes of one vGPU pool, and which VMs that concerns."""
    return [describe_pool(change)] + describe_affected(change, vms)


def describe_affected(change: PoolChange, vms: Sequence[Vm]) -> List[str]:
    """The VMs that enabling or disabling a vGPU pool concerns."""
    if change.before.enabled == change.after.enabled:
        return []
    affected = [vm for vm in vms if vm.pool_id == change.after.pool_id]
    if not affected:
        return [f'No VM is in vGPU pool {change.after.pool_id}.']
    count = plural(len(affected), 'VM')
    if change.after.enabled:
        their = 'gets its arguments' if len(affected) == 1 else 'get their arguments'
        head = (f'Enabling vGPU pool {change.after.pool_id} affects {count}, which {their} '
                'again:')
    else:
        lose = 'loses its arguments when it is' if len(affected) == 1 else \
            'lose their arguments when they are'
        head = (f'Disabling vGPU pool {change.after.pool_id} affects {count}, which {lose} '
                'halted:')
    return [head] + [f'  {name_vm(vm.vm_name, vm.vm_uuid)}' for vm in affected]


def describe_pool(change: PoolChange) -> str:
    """What becomes of one vGPU pool, on one line."""
    return f'changed  vGPU pool {change.after.pool_id}: {say_pool_change(change)}'


def say_pool_change(change: PoolChange) -> str:
    """What of a vGPU pool changes: `name Pool B → Render farm`."""
    before, after = change
    pairs = (('name', escape(before.pool_name), escape(after.pool_name)),
             ('description', escape(before.description) or '-', escape(after.description) or '-'),
             ('', _word(before), _word(after)))
    return ', '.join(f'{what} {old} → {new}'.lstrip()
                     for what, old, new in pairs if old != new)


def describe_counts(difference: Difference, unchanged: int = 0, *, is_done: bool) -> str:
    """How many changes there are of each kind, done or to be done; '' when there is none."""
    verb = '' if is_done else 'to be '
    parts = [f'{count} {verb}{what}' for what, count in sorted(difference.counts.items())]
    parts += [f'{unchanged} unchanged'] if unchanged else []
    if difference.pools:
        parts.append(f'{plural(len(difference.pools), "vGPU pool")} {verb}changed')
    return ', '.join(parts)


def document_of(difference: Difference, unchanged: int = 0) -> Dict[str, Any]:
    """The same for programs: `counts`, `changes` and `pool_changes`."""
    counts = difference.counts
    if unchanged:
        counts['unchanged'] = unchanged
    if difference.pools:
        counts['pools_changed'] = len(difference.pools)
    return {'counts': counts,
            'changes': [_row_document(row) for row in difference.rows],
            'pool_changes': [{'pool_id': after.pool_id, 'before': _pool_document(before),
                              'after': _pool_document(after)}
                             for before, after in difference.pools]}


def _row_document(row: RowChange) -> Dict[str, Any]:
    document = {'change': row.what, 'vm_uuid': row.vm_uuid, 'before': _vm_document(row.before),
                'after': _vm_document(row.after)}
    if row.what == MOVED and row.before is not None:
        document['from_uuid'] = row.before.vm_uuid
    if row.problem:
        document['problem'] = row.problem
    return document


def _vm_document(vm: Optional[Vm]) -> Optional[Dict[str, Any]]:
    if vm is None:
        return None
    return {'vm_name': vm.vm_name, 'vm_id': vm.vm_id, 'pool_id': vm.pool_id,
            'priority': vm.priority.word}


def _pool_document(pool: Pool) -> Dict[str, Any]:
    return {'pool_name': pool.pool_name, 'description': pool.description,
            'enabled': pool.enabled}


def _word(pool: Pool) -> str:
    return 'enabled' if pool.enabled else 'disabled'
