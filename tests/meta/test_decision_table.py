"""docs/decision-table.md says what `plan_vm` decides; this regenerates it and compares.

`python -m tests.meta.test_decision_table --write` writes it anew. The table is made by asking
`plan_vm` about every combination and by leaving out what makes no difference.
"""

import collections
import itertools
import os
import sys

from tests.unit.watcher.builders import ASSIGNMENT, OTHER_SPAN, POLICY, SPAN, build_vm, uuid_of
from watcher.vm.plan import Action, Beside, Standing, plan_vm
from watcher.vm.record import PowerState, VmKind

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                    'docs', 'decision-table.md')

RUNS_OTHERWISE = 'Running, otherwise'
OTHER_UUID = uuid_of(20)
# Each dimension: its heading, and what may stand there, in the order of the columns.
DIMENSIONS = collections.OrderedDict([
    ('Record', ['ordinary VM', 'template', 'snapshot', 'control domain']),
    ('Row', ['enabled pool', 'disabled pool', 'no row']),
    ('Number', ['clear', 'held', 'contested', 'copied', 'copied, blocked', 'row deleted']),
    ('Value', ['absent', 'foreign', 'right', 'right + foreign', 'wrong', 'wrong + foreign',
               'several spans', 'unreadable', 'unreadable, foreign', 'foreign, no room']),
    ('VM', ['at rest', 'starting', 'Halted, busy', 'Halted, resident', 'Running',
            RUNS_OTHERWISE, 'Paused', 'Suspended']),
    ('Map', ['complete', 'to be completed']),
    ('QEMU', ['yes', 'none']),
    ('Registry', ['accepted', 'not accepted']),
])
# What stands for each of these when the code is asked.
KINDS = dict(zip(DIMENSIONS['Record'], VmKind))
ROWS = {'enabled pool': ASSIGNMENT, 'disabled pool': ASSIGNMENT._replace(is_pool_enabled=False),
        'no row': None}
NUMBERS = dict(zip(DIMENSIONS['Number'], [
    (Standing.CLEAR, Beside()), (Standing.CLEAR, Beside(holder=OTHER_UUID, interim=7)),
    (Standing.CONTESTED, Beside()), (Standing.COPY, Beside()),
    (Standing.COPY, Beside(is_blocked_by_others=True)), (Standing.ORPHAN, Beside())]))
VALUES = dict(zip(DIMENSIONS['Value'], [
    None, '-foo', SPAN, '-foo ' + SPAN, OTHER_SPAN, '-foo ' + OTHER_SPAN,
    SPAN + ' ' + OTHER_SPAN, '"' + SPAN, '"foo', 'x' * 1000]))
LIVES = dict(zip(DIMENSIONS['VM'], [
    {}, {'operation': 'start'}, {'operation': 'clone'}, {'resident_on': 'OpaqueRef:host-1'},
    {'power_state': PowerState.RUNNING}, {'power_state': PowerState.RUNNING},
    {'power_state': PowerState.PAUSED}, {'power_state': PowerState.SUSPENDED}]))

HEAD = """\
# What is decided about one VM

Generated from `watcher/vm/plan.py` by `python -m tests.meta.test_decision_table --write`; a test compares.
%(count)s combinations were asked; a cell says "any" where it makes no difference.

* **Record**: what the row of XAPI's VM table is. **Row**: the VM's row in the registry, and whether
  its vGPU pool is enabled. **Number**: *held* when another VM still has the number of the row: what
  is written then has the old number, and is not *right*; *contested* when an unregistered VM bore
  the number before (it, and the registered VM); *copied* when the unregistered VM began to carry the
  number of a row after that was committed, *blocked* when others keep that VM from starting; *row
  deleted* when our span outlived the row.
* **Value** of `platform:device-model-args`: *right* is exactly the desired span; *foreign* is text
  that is not ours; *no room* means that the value would become too long.
* **VM**: *at rest* is Halted without operations and on no host, *starting* is Halted in `start` or
  `start_on` and nothing else, *busy* is any other operation, *resident* is Halted without operations
  while a host still has it. *Running, otherwise* is with a QEMU that was found to have something else
  than the desired span, whatever the record carries.
* **Registry**: *accepted* when our programs created it, or an administrator took it over.
* **Map**: *complete* unless XAPI will complete it at the VM's next start, by writing all of it (no
  `device-model`, `qemu-trad`, or `secureboot=auto`). **QEMU**: a PV or PVH guest has none.
* **Done**: each is one call that writes. *add* happens at once, also while the VM starts; *remove*
  and *replace* wait until the VM has been at rest for 60 ms.

"""


def decide(record, row, number, value, life, platform, qemu, registry):
    """What the code decides: (done, reason, state)."""
    vm = build_vm(VALUES[value], kind=KINDS[record], settles_platform=platform != 'complete',
                  has_qemu=qemu == 'yes', **LIVES[life])
    policy = POLICY._replace(is_accepted=registry == 'accepted')
    standing, beside = NUMBERS[number]
    if life == RUNS_OTHERWISE:
        beside = beside._replace(runs=frozenset([OTHER_SPAN]))
    plan = plan_vm(vm, ROWS[row], standing, policy, beside)
    done = '–' if plan.action is Action.NONE else plan.action.value
    if plan.is_rescue:
        done += ', at once'
    return done, plan.reason.value, plan.state.value


def is_possible(record, row, number, value):
    """Whether the combination can come about."""
    return row == 'no row' or number in ('clear', 'held', 'contested')


def list_combinations():
    """Every combination that is possible."""
    return [combination for combination in itertools.product(*DIMENSIONS.values())
            if is_possible(*combination[:4])]


def collapse(combinations, index=0):
    """The rows that say the same as the combinations: ((values of each column), outcome)."""
    if index == len(DIMENSIONS):
        return (((), decide(*combinations[0])),)
    by_value = collections.OrderedDict()
    for combination in combinations:
        by_value.setdefault(combination[index], []).append(combination)
    alike = collections.OrderedDict()
    for value, part in by_value.items():
        alike.setdefault(collapse(part, index + 1), []).append(value)
    possible = list(by_value)
    return tuple(((render_cell(values, possible),) + cells, outcome)
                 for rows, values in alike.items() for cells, outcome in rows)


def render_cell(values, possible):
    """The values that stand together, in words."""
    return 'any' if len(values) == len(possible) else '; '.join(values)


def render_document():
    """The whole file."""
    combinations = list_combinations()
    lines = ['| %s |' % ' | '.join(list(DIMENSIONS) + ['Done', 'Reason', 'State']),
             '|%s' % ('---|' * (len(DIMENSIONS) + 3))]
    for cells, (done, reason, state) in collapse(combinations):
        lines.append('| %s | %s | `%s` | `%s` |' % (' | '.join(cells), done, reason, state))
    return HEAD % {'count': '{:,}'.format(len(combinations))} + '\n'.join(lines) + '\n'


def test_decision_table_says_what_the_code_decides():
    with open(PATH, encoding='utf-8') as stream:
        assert stream.read() == render_document(), (
            'run: python -m tests.meta.test_decision_table --write')


def test_collapsed_rows_stand_for_every_combination_once():
    covered = []
    for cells, outcome in collapse(list_combinations()):
        choices = [values if cell == 'any' else cell.split('; ')
                   for cell, values in zip(cells, DIMENSIONS.values())]
        for combination in itertools.product(*choices):
            if is_possible(*combination[:4]):
                covered.append(combination)
                assert decide(*combination) == outcome
    assert sorted(covered) == sorted(list_combinations())


if __name__ == '__main__':
    if sys.argv[1:] != ['--write']:
        sys.exit('usage: python -m tests.meta.test_decision_table --write')
    with open(PATH, 'w', encoding='utf-8') as target:
        target.write(render_document())
