"""What the demo shows: a table that updates in place on a terminal, plain lines elsewhere."""

import os
import shutil
import time
from collections import OrderedDict
from typing import Any, Dict, List, Optional

from simulator.demo.ledger import Assignment, Entry, Ledger, Verdict, Vm, find_devices

REFRESH_SECONDS = 0.1
BAR_WIDTH = 30
COLOURS = {Verdict.RIGHT: '32', Verdict.PENDING: '33', Verdict.WRONG: '1;31'}
ROW = '{:<8}  {:<12}  {:>2}  {:<12}  {:<12}  '
HEAD = ROW.format('VM', 'ASSIGNED', 'N', 'LAST BOOT', 'TOOK') + 'VERDICT  RECEIPT'


def is_live(stream: Any, environment: Dict[str, str]) -> bool:
    """Ask whether a stream is a terminal on which the cursor may be moved."""
    return bool(stream.isatty() and not environment.get('NO_COLOR')
                and environment.get('TERM', 'dumb') != 'dumb')


class PlainDisplay:
    """One line per boot, with its verdict."""

    shows_at_once = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._began = time.monotonic()

    def add_vm(self, vm: Vm, assignment: Optional[Assignment]) -> None:
        """Take note of a VM: its boots will name it."""

    def begin_scene(self, number: int, count: int, title: str) -> None:
        """Say what comes."""
        self.say(f'[{number}/{count}] {title}')

    def note(self, text: str) -> None:
        """Say what just happened."""
        self.say('  ' + text)

    def show_boot(self, entry: Entry) -> None:
        """Show a boot whose receipt is there, or is not to be."""
        boot = entry.boot
        self.say(f'  {self._seconds():5.1f} s  {boot.name:<8}  {boot.kind:<12}  '
                 f'{describe_taken(entry):<12}  {entry.verdict.value:<5}  '
                 f'receipt: {describe_receipt(entry)}')

    def refresh(self, ledger: Ledger) -> None:
        """Do nothing: lines stand as they were written."""

    def close(self, ledger: Ledger) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Write one line."""
        self._stream.write(text + '\n')
        self._stream.flush()

    def _seconds(self) -> float:
        return time.monotonic() - self._began


class LiveDisplay:
    """The table of VMs with their last boots, a progress bar, and what is going on."""

    shows_at_once = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._drawn = 0
        self._rows: Dict[str, Any] = OrderedDict()
        self._boots: Dict[str, List[Entry]] = {}
        self._scene = (0, 1, '')
        self._note = ''
        stream.write('\x1b[?25l')

    def add_vm(self, vm: Vm, assignment: Optional[Assignment]) -> None:
        """Show a VM, or its new assignment."""
        self._rows[vm.uuid] = (vm, assignment)

    def begin_scene(self, number: int, count: int, title: str) -> None:
        """Move the bar on."""
        self._scene, self._note = (number, count, title), ''

    def note(self, text: str) -> None:
        """Show what just happened."""
        self._note = text

    def show_boot(self, entry: Entry) -> None:
        """Show a boot in the VM's row."""
        boots = self._boots.setdefault(entry.boot.vm_uuid, [])
        if entry not in boots:
            boots.append(entry)
        if entry.boot.vm_uuid in self._rows:
            self._rows[entry.boot.vm_uuid] = self._rows.pop(entry.boot.vm_uuid)

    def refresh(self, ledger: Ledger, *, is_last: bool = False) -> None:
        """Draw, ten times a second at most."""
        now = time.monotonic()
        if now - self._drawn_at < REFRESH_SECONDS and not is_last:
            return
        self._drawn_at = now
        size = shutil.get_terminal_size()
        lines = self._build(ledger, size.lines - 1, is_last)
        up = f'\x1b[{self._drawn}F' if self._drawn else ''
        self._stream.write(up + ''.join(cut(line, size.columns) + '\x1b[K\n' for line in lines)
                           + '\x1b[J')
        self._stream.flush()
        self._drawn = len(lines)

    def close(self, ledger: Ledger) -> None:
        """Leave the last table standing, and the cursor visible."""
        self.refresh(ledger, is_last=True)
        self._stream.write('\x1b[?25h')
        self._stream.flush()

    def say(self, text: str) -> None:
        """Write one line below the table."""
        self._stream.write(text + '\n')
        self._stream.flush()

    def _build(self, ledger: Ledger, height: int, is_last: bool) -> List[str]:
        number, count, title = self._scene
        done = count if is_last else number - 1
        filled = BAR_WIDTH * done // count
        wrong = ledger.count(Verdict.WRONG)
        colour = COLOURS[Verdict.WRONG if wrong else Verdict.RIGHT]
        bar = f'\x1b[{colour}m' + '#' * filled + '\x1b[0m' + '-' * (BAR_WIDTH - filled)
        head = [f'[{bar}] {number}/{count}  {time.monotonic() - self._began:4.1f} s  '
                f'{len(ledger.entries)} boots, {wrong} wrong',
                f'\x1b[1m{title}\x1b[0m', '  ' + self._note, HEAD]
        # What happened last is what one wants to see when the terminal is small.
        shown = list(self._rows.values())[-max(1, height - len(head)):]
        return head + sorted(self._row(vm, assignment) for vm, assignment in shown)

    def _row(self, vm: Vm, assignment: Optional[Assignment]) -> str:
        boots = self._boots.get(vm.uuid, [])
        assigned = f'{assignment.pool} {assignment.priority} {assignment.vm_id}' \
            if assignment is not None else '-'
        if not boots:
            return ROW.format(vm.name, assigned, 0, '', '')
        last = boots[-1]
        verdict = f'\x1b[{COLOURS[last.verdict]}m{last.verdict.value:<7}\x1b[0m'
        return ROW.format(vm.name, assigned, len(boots), last.boot.kind, describe_taken(last)) \
            + f'{verdict}  {describe_receipt(last)}'


def describe_taken(entry: Entry) -> str:
    """Say in short what a QEMU took of ours."""
    devices = find_devices(entry.boot.qemu_arguments)
    return ' and '.join(' '.join(part.partition('=')[2] for part in device.split(',')[1:])
                        for device in devices) or 'none of ours'


def describe_receipt(entry: Entry) -> str:
    """Say what the daemon found; a dash where it is not to look."""
    return entry.receipt or ('none' if entry.needs_receipt else '-')


def cut(text: str, width: int) -> str:
    """Cut a line at the edge of the terminal; escape sequences take no room."""
    shown, position = 0, 0
    while position < len(text) and shown < width:
        if text[position] == '\x1b':
            position = text.index('m', position)
        else:
            shown += 1
        position += 1
    return text[:position] + ('\x1b[0m' if position < len(text) else '')


def build_display(stream: Any, *, plain: bool) -> Any:
    """Choose how to show it."""
    return LiveDisplay(stream) if not plain and is_live(stream, dict(os.environ)) \
        else PlainDisplay(stream)
