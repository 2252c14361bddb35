"""Every order of steps up to a depth, breadth first, each state once; invariants at each.

Liveness comes out of the same exploration: in each state one step is the one that is taken when
nobody interferes. Where it leads is noted for each state; at the end every chain of them must
arrive at a state in which all is as desired.
"""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tests.verification.model_checker.invariants import find_problem, find_unfinished
from tests.verification.model_checker.steps import Step, list_disturbances, list_undisturbed
from tests.verification.model_checker.world import State, World


class Found(NamedTuple):
    """What an exploration has seen; `path` is the shortest way to what is wrong."""
    states: int = 0
    schedules: int = 0
    """Orders of steps that were taken: each leads from a state to another."""
    boots: int = 0
    chains: int = 0
    """States from which undisturbed work was followed to its end."""
    excused: int = 0
    depth: int = 0
    problem: str = ''
    path: Tuple[str, ...] = ()
    seconds: float = 0.0


_Path = Optional[Tuple[Any, str]]
# As long as undisturbed work may take, in steps.
_LONGEST_CHAIN = 400


class _Exploration:
    """The states seen so far, and where each leads when left alone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.following: Dict[int, int] = {}
        self.schedules = self.boots = self.excused = self.depth = 0
        self.problem, self.path = '', None  # type: str, _Path

    def run(self, depth: int, most_states: int) -> None:
        """Level by level; what the last level leads to is followed without disturbances."""
        level: List[Tuple[State, int, _Path]] = [(self.world.save(), self.world.key, None)]
        seen = {level[0][1]}
        for self.depth in range(1, depth + 1):
            deeper: List[Tuple[State, int, _Path]] = []
            for state, key, path in level:
                if not self._expand(state, key, path, seen, deeper):
                    return
            level = deeper
            if not level or len(seen) > most_states:
                break
        for state, key, path in level:
            if not self._follow(state, key, path):
                return
        self.states = len(seen)

    def _expand(self, state: State, key: int, path: _Path, seen: set, deeper: List[Any]) -> bool:
        world = self.world
        world.restore(state)
        steps = list_undisturbed(world)[:1]
        undisturbed = steps[0] if steps else None
        every: List[Step] = list_undisturbed(world) + list_disturbances(world)
        for number, (name, take) in enumerate(every):
            if number:
                world.restore(state)
            before = sum(vm.domids for vm in world.vms.values())
            take(world)
            self.schedules += 1
            self.boots += sum(vm.domids for vm in world.vms.values()) > before
            after = world.key
            if undisturbed is not None and number == 0:
                self.following[key] = after
            if after in seen:
                continue
            seen.add(after)
            if not self._judge(path, name):
                self.states = len(seen)
                return False
            deeper.append((world.save(), after, (path, name)))
        if undisturbed is None:
            world.restore(state)
            return self._judge_end(key, path)
        return True

    def _judge(self, path: _Path, name: str) -> bool:
        self.problem = find_problem(self.world)
        self.excused += bool(self.world.hidden.excused)
        if self.problem:
            self.path = (path, name)
        return not self.problem

    def _judge_end(self, key: int, path: _Path) -> bool:
        self.following[key] = key
        self.problem = find_unfinished(self.world)
        if self.problem:
            self.path = path
        return not self.problem

    def _follow(self, state: State, key: int, path: _Path) -> bool:
        """Let the world go on undisturbed until it comes to where somebody has been."""
        world = self.world
        world.restore(state)
        for _ in range(_LONGEST_CHAIN):
            if key in self.following:
                return True
            steps = list_undisturbed(world)
            if not steps:
                return self._judge_end(key, path)
            name, take = steps[0]
            take(world)
            after = world.key
            self.following[key] = after
            path, key = (path, name), after
            if not self._judge(path[0], name):
                return False
        self.problem, self.path = 'left alone it never comes to an end', path
        return False

    def count_chains(self) -> int:
        """Follow every chain to its end; 0 with a problem when one goes round in a circle."""
        good = {key for key, after in self.following.items() if key == after}
        for start in list(self.following):
            walked, key = [], start
            walked_set = set()
            while key not in good:
                if key in walked_set or key not in self.following:
                    self.problem = 'left alone it goes round in a circle for ever'
                    return 0
                walked.append(key)
                walked_set.add(key)
                key = self.following[key]
            good.update(walked)
        return len(self.following)


def explore(world: World, depth: int, most_states: int = 10 ** 9) -> Found:
    """Take every step in every state, up to a depth, or to so many states."""
    began = time.monotonic()
    exploration = _Exploration(world)
    exploration.states = 1
    exploration.run(depth, most_states)
    chains = 0 if exploration.problem else exploration.count_chains()
    return Found(exploration.states, exploration.schedules, exploration.boots, chains,
                 exploration.excused, exploration.depth, exploration.problem,
                 _unroll(exploration.path), time.monotonic() - began)


def _unroll(path: _Path) -> Tuple[str, ...]:
    names: List[str] = []
    while path is not None:
        path, name = path
        names.append(name)
    return tuple(reversed(names))


Take = Callable[[World], None]
