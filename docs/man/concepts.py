"""vgpu(7): the words of the service, its states, verdicts, dangers and log events, with the cures.

The tables are those of the guides, read from them, so that page and guides say the same.
"""

import os
import re
from typing import Any, List, Tuple

from docs.man.layout import escape, finish, head, items

DOCS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUIDES = '/usr/share/doc/vgpu-watcher'
WORDS = (
    ('registered', 'the VM has a row in the registry, with a vGPU pool, a priority and a number '
     '(vm_id) of its own'),
    ('assigned', 'what the registry says'),
    ('staged', 'written to the VM, taken at its next start'),
    ('pending', 'waits until the VM is shut down; a reboot is not enough'),
    ('receipt', 'what one boot really took, and the verdict on it'),
    ('withheld', "a copy that was started with another VM's number got no device"),
    ('consumer', 'the qemu-wrapper of this package, which hands the arguments to QEMU; without one '
     'nothing has any effect: vgpu-admin consumer enable'),
    ('mirror', "the copy of the registry in XAPI's database, from which a new master or a wiped "
     'host goes on'),
)
TRIALS = (
    ('vgpu-admin status', 'the whole panel: daemon, XAPI, registry, mirror, consumer, what is '
     'pending, what is wrong, and what to do'),
    ('vgpu-admin explain VM', 'why a VM booted with its arguments'),
    ('vgpu-admin doctor', 'examines this host, and names the cure of each fault'),
    ('vgpu-admin plan', 'what the daemon would do now, and why'),
)
_PLAIN = {'\u2026': '...', '\u2192': '->', '\u2013': '-', '\u26a0': '!', '\u2713': '+'}


def render_concepts() -> str:
    """The page."""
    lines = head('vgpu', 7, 'vGPU arguments of VMs: words, states, verdicts and log events')
    lines += ['.SH DESCRIPTION', escape(
        'vgpu-watcher makes every registered VM of an XCP-ng pool boot with its assigned vGPU '
        'arguments. A registry says which VM gets what. The daemon writes it into the platform '
        'map of the VM (device-model-args) while the VM is halted, so that any start takes it, '
        'and looks afterwards at what QEMU runs with. No start is ever blocked or delayed.')]
    lines += ['.SH WORDS'] + items(WORDS)
    lines += ['.SH WHEN SOMETHING IS WRONG'] + items(TRIALS)
    lines += ['.SH STATES', 'As vgpu\\-admin scan\\-vms, show\\-vm and status show them.']
    lines += items(read_rows('operations', 'state'))
    lines += ['.SH VERDICTS', 'On a boot, in its receipt and in the log event vm.booted.']
    lines += items(_with_cures(read_rows('log-events', 'verdict')))
    lines += ['.SH DANGERS', 'What the daemon sees and cannot prevent.']
    lines += items(_with_cures(read_rows('log-events', 'danger')))
    lines += ['.SH LOG EVENTS', escape('In /var/log/vgpu-watcher.log. Those of level info, the '
                                       'fields and the reasons are in log-events.md.')]
    lines += items(_with_cures([(row[0], row[3], row[4])
                                for row in read_rows('log-events', 'event') if row[1] != 'info']))
    lines += ['.SH FILES'] + items((
        (GUIDES, 'the guides: troubleshooting.md, operations.md, consumer.md, pool-wide.md and '
         'others; alert rules and a dashboard in monitoring'),))
    return finish(lines, 'vgpu-admin (1)', 'vgpu-watcher (8)', 'vgpu-watcher.conf (5)')


def read_rows(guide: str, first_head: str) -> List[Tuple[str, ...]]:
    """Read the rows of a guide's tables whose first column has this head."""
    with open(os.path.join(DOCS, guide + '.md'), encoding='utf-8') as stream:
        lines = stream.read().splitlines()
    rows, is_wanted = [], False
    for line, following in zip(lines, lines[1:] + ['']):
        if following.startswith('|---'):
            is_wanted = _split(line)[0] == first_head
        elif line.startswith('|') and not line.startswith('|---') and is_wanted:
            rows.append(_split(line))
        elif not line.startswith('|'):
            is_wanted = False
    return rows


def _with_cures(rows: List[Tuple[str, ...]]) -> List[Tuple[str, str]]:
    return [(name, f'{_end(meaning)} What to do: {_end(cure)}') for name, meaning, cure in rows]


def _end(text: str) -> str:
    return text if text.endswith('.') else text + '.'


def _split(line: str) -> Tuple[str, ...]:
    """Take a row apart, and its cells to plain ASCII."""
    cells = line.replace('\\|', '\0').strip().strip('|').split('|')
    return tuple(_make_plain(cell.replace('\0', '|').strip()) for cell in cells)


def _make_plain(text: str) -> str:
    text = re.sub(r'\[([^\]]+)\]\(([^)#]*)[^)]*\)', _name_target, text)
    for letter, plain in _PLAIN.items():
        text = text.replace(letter, plain)
    return text.replace('`', '').replace('**', '')


def _name_target(link: Any) -> str:
    target = link.group(2)
    return link.group(1) if not target else f'"{link.group(1)}" in {os.path.basename(target)}'
