"""Every order of steps up to a depth, breadth first, each state once; invariants at each."""

from typing import Any, Callable, List, NamedTuple, Tuple

from tests.model.world import World
from tests.unit.watcher.builders import OTHER_SPAN, UUID
from watcher.fence import MARK
from watcher.records import PowerState

Step = Tuple[str, Callable[[World], None]]


class Found(NamedTuple):
    """What an exploration has seen; `wrong` is the shortest way to a broken invariant."""
    states: int
    steps: int
    wrong: Tuple[str, ...] = ()
    problem: str = ''


def list_steps(world: World) -> List[Step]:
    """What may happen next, whoever does it."""
    return _list_daemon_steps(world) + _list_fault_steps(world) + _list_other_steps(world)


def explore(world: World, depth: int) -> Found:
    """Take every step in every state, up to a depth."""
    level: List[Tuple[World, Tuple[str, ...]]] = [(world, ())]
    seen, steps = {world.key}, 0
    for _ in range(depth):
        following = []
        for before, path in level:
            for name, take in list_steps(before):
                after = before.copy()
                take(after)
                steps += 1
                key = after.key
                if key in seen:
                    continue
                seen.add(key)
                problem = find_problem(after)
                if problem:
                    return Found(len(seen), steps, path + (name,), problem)
                following.append((after, path + (name,)))
        level = following
    return _settle_all(level, len(seen), steps)


def find_problem(world: World) -> str:
    """The invariant that this state breaks; '' for none."""
    args, entry = world.xapi.args, world.books.journal.entries.get(UUID)
    if args is None and (entry is None or not (entry.after or '').startswith('-a')):
        return 'foreign text is neither in XAPI nor in the journal'
    if args is not None and not args.startswith('-a'):
        return 'foreign text was changed: %r' % args
    for promised, took in world.took[-1:]:
        if promised is not None and took != promised:
            return 'a boot took %r, although %r was staged while it rested' % (took, promised)
    return ''


def settle(world: World) -> str:
    """Let the daemon work undisturbed; what is wrong in the end, '' for nothing."""
    world = world.copy()
    for _ in range(80):
        if not world.is_alive:
            world.begin_daemon()
        steps = _list_daemon_steps(world)
        if steps:
            steps[0][1](world)
        elif world.xapi.boot_task is not None:
            _read_platform(world)
        elif world.xapi.task is not None:
            _come_up(world)
        elif world.staging.waiting:
            world.pass_time()
        elif world.xapi.power_state is PowerState.RUNNING:
            world.write(power_state=PowerState.HALTED, domid=-1)
        else:
            break
    if world.xapi.args != world.desired:
        return 'left alone it ends with %r' % world.xapi.args
    if any(text.startswith(MARK) for _operation, text in world.xapi.blocks):
        return 'left alone it ends behind a fence'
    return find_problem(world) or ('an entry stays in the journal'
                                   if world.books.journal.entries else '')


def _settle_all(level: List[Any], states: int, steps: int) -> Found:
    for world, path in level:
        problem = settle(world)
        if problem:
            return Found(states, steps, path, problem)
    return Found(states, steps)


def _list_daemon_steps(world: World) -> List[Step]:
    steps: List[Step] = []
    if world.is_alive:
        if world.job is not None:
            steps.append(('call', lambda world: world.step_job()))
        if world.fences_left and world.job is None:
            steps.append(('lift', lambda world: world.lift()))
        if world.must_reread:
            steps.append(('reread', lambda world: world.reread()))
        if world.event is not None:
            steps.append(('deliver', _deliver))
        elif world.is_changed:
            steps.append(('event', _make_event))
    return steps


def _list_fault_steps(world: World) -> List[Step]:
    steps: List[Step] = []
    if not world.is_alive:
        steps.append(('begin', lambda world: world.begin_daemon()))
    elif world.budget['crash']:
        steps.append(('crash', _spend('crash', lambda world: world.kill_daemon())))
    if world.job is not None and world.budget['cut']:
        for lost in ('request', 'answer'):
            steps.append(('lost ' + lost, _spend(
                'cut', lambda world, lost=lost: world.step_job(lost))))
    return steps


def _list_other_steps(world: World) -> List[Step]:
    steps: List[Step] = []
    xapi = world.xapi
    is_at_rest = xapi.power_state is PowerState.HALTED and xapi.task is None
    if is_at_rest and 'start' not in dict(xapi.blocks) and world.budget['start']:
        steps.append(('start', _spend('start', _start)))
    if xapi.boot_task is not None:
        steps.append(('cut-off', _read_platform))
    elif xapi.task is not None:
        steps.append(('running', _come_up))
    if xapi.power_state is PowerState.RUNNING:
        steps.append(('halt', lambda world: world.write(
            power_state=PowerState.HALTED, domid=-1)))
    if world.budget['edit']:
        steps.append(('edit', _spend('edit', _edit)))
    if world.budget['meddle']:
        steps.append(('meddle', _spend('meddle', _meddle)))
    # An event is on its way for milliseconds, and a call in flight ends: no time passes meanwhile.
    if world.event is None and not world.is_changed and world.job is None:
        steps.append(('time', lambda world: world.pass_time()))
    return steps


def _spend(name: str, take: Callable[[World], None]) -> Callable[[World], None]:
    def spend(world: World) -> None:
        world.budget[name] -= 1
        take(world)
    return spend


def _make_event(world: World) -> None:
    world.event, world.is_changed = world.xapi.record, False


def _deliver(world: World) -> None:
    vm, world.event = world.event, None
    world.take(vm)


def _start(world: World) -> None:
    """The operation is recorded. P2 promises this boot when the VM rested with the right value."""
    is_staged = world.xapi.args == world.desired and world.job is None
    world.promised = world.desired if is_staged else None
    task = 'OpaqueRef:task-%d' % world.budget['start']
    world.write(task=task, boot_task=task)


def _read_platform(world: World) -> None:
    world.took.append((world.promised, world.xapi.args))
    world.promised = None
    world.xapi = world.xapi._replace(boot_task=None)


def _come_up(world: World) -> None:
    world.write(power_state=PowerState.RUNNING, task=None, domid=7)


def _meddle(world: World) -> None:
    """Somebody writes another span of ours, and keeps the foreign text."""
    world.promised = None
    world.write(args='-a ' + OTHER_SPAN)


def _edit(world: World) -> None:
    """The administrator changes the row, and the daemon notices."""
    assignment = world.books.assignments[UUID]
    world.books.assignments[UUID] = assignment._replace(priority=0)
    world.promised = None
    if world.is_alive:
        world.look()
