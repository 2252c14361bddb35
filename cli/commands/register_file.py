"""register-vm --from-file: registers the VMs that a file lists, all of them or none.

The file is what `export` writes (CSV or JSON), or a plain list: one VM on a line, by UUID or by
name. What a line does not say is taken from the command line, and then from the defaults.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.commands.held_assignments import refuse_to_forget
from cli.context import Context
from cli.effects.follow_up import Follow, needs_restart
from cli.effects.proposals import create, document_of, rehearse
from cli.effects.staged_sets import name_all, stage_each
from cli.errors import CommandError, ExitStatus, Kind
from cli.exchange.files import read_file
from cli.exchange.registry_format import VmRow, is_json, is_table, parse
from cli.output.edit_messages import say_assignment, say_dry_run, say_lines, say_many, say_unknown
from cli.output.result import Result, build_document
from cli.output.text import Style, brief_name, escape, name_vm, plural, say_unasked
from cli.queries.pool_snapshot import describe_rows, find_numbers
from cli.queries.preflight import Situation, refuse_unless_editable
from cli.queries.vm_lookup import name_alike
from registry.edit import Edit
from registry.errors import Conflict, InvalidValue, Reason, RegistryUnavailable
from registry.proposal import Proposal
from registry.values import Contents, Priority, Vm, clean_name, parse_uuid
from watcher.errors import XapiError
from watcher.vm.record import VmKind, VmRecord

COMMENT = '#'
# A name that only contains the character is no comment.
_COMMENT_BEHIND = re.compile(r'\s+#')
# Others that Python takes for line ends may stand in a name.
_LINE_END = re.compile('\r\n|\r|\n')
# Of more new VMs it is not said one by one what was made by hand.
_FEW = 12


class _Pool(NamedTuple):
    """What XAPI says of the VMs, or why it could not be asked."""

    vms: Mapping[str, VmRecord] = {}
    problem: str = ''


class _Listed(NamedTuple):
    """What a file says: rows, names to be looked up, and lines that say nothing good."""

    rows: List[VmRow]
    names: List[Tuple[int, str]]
    problems: List['_Problem']
    unit: str = 'line'
    """What is counted in it; '' for words of the command line, which name their VM."""


class _Problem(NamedTuple):
    """Why one line cannot be done."""

    kind: Kind
    text: str


def register_listed(arguments: Arguments, context: Context) -> Result:
    """Register all VMs of a file in one transaction; every bad line is reported."""
    is_dry = bool(arguments.get(options.DRY_RUN))
    if arguments.get(options.VMS):
        listed = _read_words(arguments)
    else:
        listed = _read(read_file(arguments.get(options.FROM_FILE))
                       if arguments.file_text is None else arguments.file_text)
    contents = _read_contents(context)
    pool = _ask(context)
    found, problems = _find_named(listed, contents, pool)
    found = [row._replace(vm_id=arguments.get(options.VM_ID)) for row in found] \
        if arguments.get(options.VMS) else found
    rows = sorted(listed.rows + found, key=lambda row: row.line)
    problems = listed.problems + problems + _find_repeated(rows, listed.unit)
    problems += _check(rows, listed.unit, contents, pool,
                       may_be_missing=bool(arguments.get(options.MISSING_OK)))
    proposal, done = _register(arguments, context,
                               listed._replace(rows=rows, problems=problems), pool, contents)
    if proposal.creates:
        context.note(f'the registry {context.registry.path} '
                     + ('would be created' if is_dry else 'is created'))
    running = _find_running(context, [vm for vm, _is_new in done], pool) \
        if arguments.get(options.RESTART) else []
    return _answer(context, proposal, done, pool, running, is_dry)


def _find_running(context: Context, vms: Sequence[Vm], pool: _Pool) -> List[Vm]:
    """The VMs that run without what their rows say."""
    return [vm for vm in vms if needs_restart(context, vm, Situation(pool.vms.get(vm.vm_uuid)))]


def _restart(context: Context, vms: Sequence[Vm], pool: _Pool) -> Dict[str, Follow]:
    """Restart them, one after the other."""
    if not vms:
        return {}
    from cli.commands.register import ways_on
    from cli.effects.restart import Job, restart_all
    return restart_all(context, [Job(pool.vms[vm.vm_uuid], ways_on(vm), vm) for vm in vms])


def _read_words(arguments: Arguments) -> _Listed:
    """The VMs that several bare words name."""
    listed = _Listed([], [], [], '')
    for number, word in enumerate(arguments.get(options.VMS), 1):
        try:
            listed.rows.append(VmRow(number, parse_uuid(word), vm_id=arguments.get(options.VM_ID)))
        except InvalidValue:
            listed.names.append((number, word))
    return listed


def _read_contents(context: Context) -> Contents:
    """Read the registry; the first VMs that are registered create it."""
    try:
        return context.registry.read()
    except RegistryUnavailable as error:
        if error.reason not in (Reason.MISSING, Reason.EMPTY):
            raise
    refuse_to_forget(context, "'vgpu-admin init --empty' gives them up")
    return Contents(1, (), ())


def _read(text: str) -> _Listed:
    if is_json(text) or is_table(text):
        parsed = parse(text)
        return _Listed(list(parsed.rows), [],
                       [_Problem(Kind.USAGE, item) for item in parsed.problems], parsed.unit)
    rows: List[VmRow] = []
    names: List[Tuple[int, str]] = []
    for number, line in enumerate(_LINE_END.split(text), 1):
        word = line.strip()
        if not word or word.startswith(COMMENT):
            continue
        try:
            rows.append(VmRow(number, parse_uuid(_without_comment(word))))
        except InvalidValue:
            names.append((number, word))
    problems = [] if rows or names else [_Problem(Kind.USAGE, 'line 1: no line names a VM')]
    return _Listed(rows, names, problems)


def _without_comment(text: str) -> str:
    """What stands before a comment, if there is one behind it."""
    return _COMMENT_BEHIND.split(text, 1)[0]


def _ask(context: Context) -> _Pool:
    """Read all VMs once; an XAPI that cannot be asked is not an error, as for one VM."""
    refuse_unless_editable(context)
    try:
        live = context.live()
        with live.hurried():
            return _Pool({vm.uuid: vm for vm in live.read_vms()})
    except XapiError as error:
        context.lose_live(error)
        return _Pool(problem=str(error))


def _find_named(listed: _Listed, contents: Contents,
                pool: _Pool) -> Tuple[List[VmRow], List[_Problem]]:
    rows: List[VmRow] = []
    problems: List[_Problem] = []
    for number, text in listed.names:
        # A name may hold what looks like a comment: what fits as it stands goes first.
        found, name = _find_vms(text, contents, pool), text
        if not found:
            name = _without_comment(text)
            found = _find_vms(name, contents, pool)
        if len(found) == 1:
            rows.append(VmRow(number, found.pop()))
            continue
        problems.append(_describe_name(_at(listed.unit, number), str(clean_name(name)),
                                       sorted(found), pool))
    return rows, problems


def _find_vms(text: str, contents: Contents, pool: _Pool) -> Set[str]:
    """The VMs that have a name, by UUID."""
    name = clean_name(text)
    found = {vm.vm_uuid for vm in contents.vms if vm.vm_name == name}
    return found | {vm.uuid for vm in pool.vms.values()
                    if vm.kind is VmKind.VM and clean_name(vm.name) == name}


def _describe_name(place: str, name: str, found: Sequence[str], pool: _Pool) -> _Problem:
    if found:
        return _Problem(Kind.CONFLICT, f"{place}the name '{escape(name)}' fits "
                        f"{len(found)} VMs: {', '.join(found)}; name the VM by its UUID")
    if pool.problem:
        return _Problem(Kind.UNAVAILABLE, f"{place}the name '{escape(name)}' is not in "
                        f'the registry, and {say_unasked(pool.problem)}')
    known = {clean_name(vm.name) or '': vm.uuid for vm in pool.vms.values()
             if vm.kind is VmKind.VM}
    return _Problem(Kind.NOT_FOUND, f"{place}no VM has the name '{escape(name)}'"
                    f'{name_alike(name, known)}')


def _check(rows: Sequence[VmRow], unit: str, contents: Contents, pool: _Pool, *,
           may_be_missing: bool) -> List[_Problem]:
    """What keeps a VM from being registered, as XAPI has it."""
    problems: List[_Problem] = []
    for row in rows:
        record = pool.vms.get(row.vm_uuid)
        if pool.problem or row.vm_uuid in contents.by_uuid:
            continue
        if record is None and may_be_missing:
            continue
        if record is None:
            problems.append(_Problem(Kind.NOT_FOUND,
                                     f'{_at(unit, row.line)}XAPI has no VM {row.vm_uuid}'))
        elif record.kind is not VmKind.VM:
            problems.append(_Problem(Kind.FAILED, f'{_at(unit, row.line)}VM {row.vm_uuid} '
                                     + Situation(record).kind_problem))
    return problems


def _find_repeated(rows: Sequence[VmRow], unit: str) -> List[_Problem]:
    first: Dict[str, int] = {}
    problems: List[_Problem] = []
    for row in rows:
        if first.setdefault(row.vm_uuid, row.line) != row.line:
            where = f'stands in {unit} {first[row.vm_uuid]} already' if unit else 'is named twice'
            problems.append(_Problem(Kind.USAGE,
                                     f'{_at(unit, row.line)}VM {row.vm_uuid} {where}'))
    return problems


def _register(arguments: Arguments, context: Context, listed: _Listed, pool: _Pool,
              contents: Contents) -> Tuple[Proposal, List[Tuple[Vm, bool]]]:
    """Register all in one transaction; each VM, and whether it is new."""
    taken, largest = _find_numbers(context, contents, pool, listed.rows)
    largest = max([largest] + [row.vm_id for row in listed.rows if row.vm_id is not None])
    done: List[Tuple[Vm, bool]] = []

    def build(edit: Edit) -> None:
        """Register the VMs; raise what keeps any of them from it."""
        problems = list(listed.problems)
        done.clear()
        for row in listed.rows:
            try:
                vm = edit.add_vm(vm_id=row.vm_id, taken=taken, floor=largest,
                                 **_fields(arguments, row, pool))
            except Conflict as error:
                problems.append(_Problem(Kind.CONFLICT, f'{_at(listed.unit, row.line)}{error}'))
                continue
            done.append((vm, vm.vm_uuid not in contents.by_uuid))
        if not pool.problem:
            edit.claim_numbers(taken)
        conflicts = edit.find_conflicts()
        problems += [_Problem(Kind.CONFLICT,
                              _at(listed.unit, row.line) + conflicts[row.vm_uuid])
                     for row in listed.rows if row.vm_uuid in conflicts]
        _refuse(problems)

    proposal = rehearse(context, build, may_create=True)
    if arguments.get(options.DRY_RUN):
        return proposal, done
    said = 'the VMs of the file are registered'
    if create(context, proposal, done=said):
        return proposal, done
    with context.editing(done=said) as edit:
        build(edit)
    return edit.proposal, done


def _at(unit: str, number: int) -> str:
    """Where a VM is named."""
    return f'{unit} {number}: ' if unit else ''


def _refuse(problems: List[_Problem]) -> None:
    """One line that cannot be done undoes the others; all such lines are reported."""
    if problems:
        problems.sort(key=_line_of)
        raise CommandError(problems[0].kind, '\n'.join(
            [item.text for item in problems] + ['nothing was changed']))


def _line_of(problem: _Problem) -> int:
    """Where it stands in the file: each step has looked at all lines."""
    number = re.match(r'(?:line|entry) (\d+)', problem.text)
    return int(number.group(1)) if number is not None else 0


def _fields(arguments: Arguments, row: VmRow, pool: _Pool) -> Dict[str, Any]:
    """The line first, then the command line, then the defaults."""
    record = pool.vms.get(row.vm_uuid)
    given = arguments.get(options.PRIORITY)
    default = Priority.MEDIUM if given is None else given
    return {'vm_uuid': row.vm_uuid, 'vm_name': record.name if record else row.vm_name,
            'pool_id': row.pool_id or arguments.get(options.POOL) or 'A',
            'priority': default if row.priority is None else row.priority}


def _find_numbers(context: Context, contents: Contents, pool: _Pool,
                  rows: Sequence[VmRow]) -> Tuple[Mapping[int, str], int]:
    if not pool.vms:
        return {}, 0
    numbers = find_numbers(context, contents, pool.vms.values(),
                           frozenset(row.vm_uuid for row in rows))
    return numbers.taken, numbers.largest


def _answer(context: Context, proposal: Proposal, done: Sequence[Tuple[Vm, bool]], pool: _Pool,
            running: Sequence[Vm], is_dry: bool) -> Result:
    new = [vm for vm, is_new in done if is_new]
    if len(new) <= _FEW:
        from cli.commands.register import note_replaced
        for vm in new:
            note_replaced(context, vm, pool.vms.get(vm.vm_uuid), is_dry=is_dry)
    words = {True: 'would be registered' if is_dry else 'registered', False: 'already registered'}
    before = len(done) - len(new)
    count = (f'{plural(len(new), "VM")} {words[True]}'
             + (f', {before} already registered.' if before else '.'))
    difference = document_of(proposal.difference)
    difference['counts'] = {'registered': len(new), 'already_registered': before}
    document = build_document(result=words[bool(new)].replace(' ', '_'), **difference)
    said: Dict[str, str] = {}
    last, status = [count], ExitStatus.DONE
    if is_dry:
        names = ', '.join(brief_name(vm.vm_name, vm.vm_uuid) for vm in running)
        also = f'{names} would be stopped and started' if names else ''
        last.append(say_dry_run(say_unknown(pool.problem) if pool.problem else also))
    else:
        groups, said, status = _follow(context, proposal, new, pool, running, document)
        last += groups
    document['vms'] = describe_rows(context, [vm for vm, _is_new in done], proposal.vms_after)

    def render(_style: Style) -> List[str]:
        return [line for vm, is_new in done for line in say_lines(
            f'{name_vm(vm.vm_name, vm.vm_uuid)}: {words[is_new]} with {say_assignment(vm)}',
            said.get(vm.vm_uuid))] + last
    return Result(document, render, status, tuple(vm.vm_uuid for vm, _new in done))


def _follow(context: Context, proposal: Proposal, new: Sequence[Vm], pool: _Pool,
            running: Sequence[Vm], document: Dict[str, Any]) \
        -> Tuple[List[str], Dict[str, str], ExitStatus]:
    """Stage what is new, and restart what is to be restarted: what is said of all together, and of
    each VM that was named or restarted."""
    stopping = {vm.vm_uuid for vm in running}
    if pool.problem:
        context.note(f'{say_unasked(pool.problem)}; nothing was checked there, and the VMs are '
                     'staged when it answers and they are halted')
        return [], {}, ExitStatus.DONE
    staged = stage_each(context, [vm.vm_uuid for vm in new if vm.vm_uuid not in stopping],
                        proposal, document) if new else {}
    restarted = _restart(context, running, pool)
    for vm_uuid, followed in restarted.items():
        document.setdefault('staging', {})[vm_uuid] = followed.word
    said = {vm_uuid: followed.message for vm_uuid, followed in restarted.items()}
    failed = [item.status for item in restarted.values() if item.status is not ExitStatus.DONE]
    status = failed[0] if failed else ExitStatus.DONE
    if context.arguments.get(options.VMS):
        return [], dict(staged, **said), status
    return say_many(staged, name_all(proposal)), said, status
