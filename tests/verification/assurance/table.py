"""The figures of all parts as one table, and which goals they miss.  Pure."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from tests.verification.assurance.parts import Part

BOOTS = 100000
STATES = 100000
MUTANTS = 20
# P14: from the moment in which a login succeeds again.
RECOVERY_SECONDS = 5.0


# P28 and P30; of a quarrel some lines come before it is one.
GAP_SECONDS, DELAY_SECONDS, HOURLY_LINES = 5.0, 2.0, 75
ATTACKS = {
    'forgeries': 'entries and codes of the mirror that were forged, moved, cut, mixed, put back or '
                 'taken away',
    'accepted': 'assignments that one of them changed',
    'watchdog_gap': 'longest time between two signs of life, with 64 KB of hostile text on each of '
                    '900 VMs (s)',
    'edit_delay': 'longest delay of an edit meanwhile (s)',
    'quarrels': 'kinds of quarrels, an hour of virtual time each',
    'quarrel_lines': 'log lines of the VM, or of one kind, in such an hour, at most',
    'quarrel_entries': 'lines of history in it, at most',
    'real_lines': 'log lines in 6 s of a real quarrel, behind its warning, at most',
    'clock_steps': 'steps of the wall clock, by 30 s to 56 years'}


class Total(NamedTuple):
    """All parts together; what no part has told is None."""
    boots: Dict[str, int]
    wrong: Optional[int]
    unreported: Optional[int]
    faults: Dict[str, int]
    recoveries: Dict[str, float]
    restarts: Dict[str, float]
    figures: Dict[str, Any]
    problems: Tuple[str, ...]


def add_up(parts: Sequence[Part]) -> Total:
    """Put the parts together."""
    boots: Dict[str, int] = {}
    faults: Dict[str, int] = {}
    recoveries: Dict[str, float] = {}
    restarts: Dict[str, float] = {}
    figures: Dict[str, Any] = {}
    for part in parts:
        boots.update(part.figures.get('boots', {}))
        faults.update(part.figures.get('faults', {}))
        recoveries.update(part.figures.get('recoveries', {}))
        restarts.update(part.figures.get('restarts', {}))
        figures.update(part.figures)
    return Total(boots, _sum(parts, 'wrong'), _sum(parts, 'unreported'), faults, recoveries,
                 restarts, figures, tuple(problem for part in parts for problem in part.problems))


def list_missed(parts: Sequence[Part], boots: int = BOOTS) -> List[str]:
    """The goals that were missed; a part that did not run has none, one that broke misses its."""
    total, missed = add_up(parts), []
    if total.problems:
        missed.append('a part has problems')
    for part in parts:
        missed += [goal for goal, is_met in _GOALS[part.name]
                   if not is_met(part.figures, boots)]
    if total.recoveries and max(total.recoveries.values()) > RECOVERY_SECONDS:
        missed.append('each recovery within %g s' % RECOVERY_SECONDS)
    return missed


def render(parts: Sequence[Part]) -> List[str]:
    """The one table, and three that say of what it is made."""
    total = add_up(parts)
    lines = ['| | |', '|---|---|']
    lines += ['| %s | %s |' % (name, value) for name, value in _list_figures(total)]
    for title, values in (('boots', total.boots), ('faults injected', total.faults),
                          ("starts, by the time from the first event to XAPI's reading of the map",
                           total.figures.get('windows', {}))):
        if any(values.values()):
            lines += ['', '| %s | |' % title, '|---|---|']
            lines += ['| %s | %d |' % (name, values[name])
                      for name in sorted(values, key=_in_order) if values[name]]
    if all(name in total.figures for name in ATTACKS):
        lines += ['', '| attacked | |', '|---|---|'] + [
            '| %s | %s |' % (text, total.figures[name]) for name, text in ATTACKS.items()]
    if total.recoveries:
        lines += ['', '| longest recovery from (s) | from the login on | from the end of the '
                  'fault, or the start of a new daemon, on |', '|---|---|---|']
        lines += ['| %s | %.2f | %.2f |' % (kind, seconds, total.restarts.get(kind, seconds))
                  for kind, seconds in sorted(total.recoveries.items())]
    lines += ['', 'Took: %s.' % ', '.join('%s %.0f s' % (part.name, part.seconds)
                                          for part in parts)]
    return lines + ['PROBLEM: %s' % problem for problem in total.problems]


def render_mutants(figures: Dict[str, Any]) -> List[str]:
    """Which deliberate fault was caught by which test."""
    if not figures:
        return ['The list was not run whole on this version.']
    lines = ['%s of %s were caught.' % (figures.get('caught', 0), figures.get('mutants', 0)), '',
             '| | deliberate fault | in | caught by |', '|---|---|---|---|']
    return lines + ['| %d | %s | `%s` | %s |' % (
        item['number'], item['name'], item['path'],
        item['problem'] or ', '.join('`%s`' % name for name in item['caught_by']))
        for item in figures.get('verdicts', ())]


def _list_figures(total: Total) -> List[Tuple[str, str]]:
    found, model = total.figures, total.figures.get('model')
    rows: List[Tuple[str, Any]] = []
    if total.boots:
        rows += [('boots simulated', sum(total.boots.values())),
                 ('wrong', '**%s**' % total.wrong), ('unreported', '**%s**' % total.unreported)]
    if 'outrun' in found:
        rows += [('took the old arguments, whole, because the restart was quicker than the '
                  'staging; each told `pending`', found['outrun']),
                 ('had none, because the key was absent when the start began; each told `missing`',
                  found['bare'])]
    if 'repeated' in found:
        rows += [('told once more by the next daemon, which found no receipt', found['repeated'])]
    if 'unsaid' in found:
        rows += [('told by the receipt alone: a VM that boots more than five times in a minute has '
                  'one line in it', found['unsaid'])]
    if model:
        rows += [('distinct states of %d worlds' % model['worlds'], model['states']),
                 ('schedules (steps taken, each from a state)', model['schedules']),
                 ('boots in them', model['boots']),
                 ('states from which undisturbed work was followed to its good end',
                  model['chains']), ('deepest schedule', '%d steps' % model['depth']),
                 ('invariants broken', '**0**')]
    pools = found.get('pools')
    if pools:
        rows += [('distinct states of %d resource pools of several hosts' % pools['worlds'],
                  pools['states']),
                 ('schedules in them, each invariant held', pools['schedules'])]
    if 'mutants' in found:
        rows += [('mutants caught of made', '**%d of %d**' % (found['caught'], found['mutants']))]
    if total.faults:
        rows += [('faults injected', '%d of %d kinds' % (sum(total.faults.values()),
                                                        len(total.faults)))]
    if 'calls' in found:
        rows += [('system calls that write, each tried with SIGKILL', found['calls'])]
    if 'deaths' in found:
        rows += [("writes of edits, each tried with the death of the master's host, by what the "
                  'next master knew', found['deaths'])]
    if 'commands' in found:
        rows += [('commands of vgpu-admin, each killed at every system call that writes',
                  found['commands']),
                 ('of them died, leaving all or nothing', found['command_kills']),
                 ('met a full disk, leaving all or nothing', found['command_full'])]
    if found.get('registry_orders'):
        rows += [('orders of what people, programs and faults do to a registry, nothing lost',
                  found['registry_orders']),
                 ('commands of vgpu-admin in them', found['registry_commands'])]
    if total.recoveries:
        kind = max(total.recoveries, key=total.recoveries.__getitem__)
        rows += [('longest recovery', '%.2f s (%s)' % (total.recoveries[kind], kind))]
    return [(name, str(value)) for name, value in rows]


def _in_order(name: str) -> Tuple[int, str]:
    """By the number in front, where there is one."""
    number = name.split(' ')[0]
    return (int(number) if number.isdigit() else 0), name


def _sum(parts: Sequence[Part], name: str) -> Optional[int]:
    told = [part.figures[name] for part in parts if name in part.figures]
    return sum(told) if told else None


_Goal = Tuple[str, Callable[[Dict[str, Any], int], bool]]
_GOALS: Dict[str, Tuple[_Goal, ...]] = {
    'storm': (
        ('so many boots as asked for', lambda found, boots: sum(found['boots'].values()) >= boots),
        ('no boot wrong', lambda found, _boots: found['wrong'] == 0),
        ('no boot unreported', lambda found, _boots: found['unreported'] == 0)),
    'model': (('%d states' % STATES,
               lambda found, _boots: found.get('model', {}).get('states', 0) >= STATES),),
    'pools': (('states of several hosts',
               lambda found, _boots: found.get('pools', {}).get('states', 0) > 0),),
    'kills': (('a SIGKILL at each call', lambda found, _boots: found.get('kills', 0) > 0),),
    'masters': (('a death of the master at each write',
                 lambda found, _boots: found.get('deaths', 0) > 0),),
    'commands': (('a SIGKILL at each call of each command',
                  lambda found, _boots: found.get('command_kills', 0) > 0),),
    'registry': (('orders of what may happen to the registry',
                  lambda found, _boots: found.get('registry_orders', 0) > 0),),
    'attacked': (
        ('each attack', lambda found, _boots: set(ATTACKS) <= set(found) and all(
            found[name] > 0 for name in ('forgeries', 'quarrels', 'clock_steps'))),
        ('no forgery accepted', lambda found, _boots: found.get('accepted', 0) == 0),
        ('signs of life within %g s' % GAP_SECONDS,
         lambda found, _boots: found.get('watchdog_gap', 0.0) <= GAP_SECONDS),
        ('each edit within %g s' % DELAY_SECONDS,
         lambda found, _boots: found.get('edit_delay', 0.0) <= DELAY_SECONDS),
        ('a line a minute of a quarrel', lambda found, _boots: max(
            found.get('quarrel_lines', 0), found.get('quarrel_entries', 0)) <= HOURLY_LINES)),
    'mutants': (
        ('%d mutants' % MUTANTS, lambda found, _boots: found['mutants'] >= MUTANTS),
        ('each mutant caught', lambda found, _boots: found['caught'] == found['mutants'])),
}
