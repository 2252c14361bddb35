"""The demo: what it says of a service that works, and of one that is switched off."""

import io
import os
import re
import subprocess
import sys
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

import pytest

from simulator.demo.__main__ import main
from simulator.demo.display import LiveDisplay, PlainDisplay, build_display, cut
from simulator.demo.ledger import Assignment, Boot, Ledger, Verdict, Vm

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE_SECONDS = 200
VM = Vm('OpaqueRef:1', 'uuid-1', 'vm-01', '-global  x')
HIGH = Assignment('A', 'high', 1)
SPAN = '-device vgpu-stub,pool_id=A,priority=high,vm_id=1'
LOW = SPAN.replace('high', 'low')


class Run(NamedTuple):
    """How one run of the demo ended, and what it said."""
    status: int
    out: str
    err: str


@pytest.fixture(scope='module')
def runs() -> Iterator[Dict[str, Run]]:
    """Both runs, side by side: they wait for most of their time."""
    processes = {name: _start(*options) for name, options in (
        ('with', ()), ('without', ('--without-watcher',)))}
    try:
        yield {name: _finish(process) for name, process in processes.items()}
    finally:
        for process in processes.values():
            if process.poll() is None:
                # Ended by SIGTERM it ends what it has started, which holds the pipes open.
                process.terminate()
                process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def ledger() -> Ledger:
    """A ledger with one registered VM."""
    built = Ledger(with_receipts=True)
    built.assignments[VM.uuid] = HIGH
    return built


def test_no_boot_is_wrong_and_nothing_is_left_behind(runs: Dict[str, Run]) -> None:
    run = runs['with']
    assert run.status == 0, run.out + run.err
    counts = _read_summary(run.out)
    assert counts['wrong'] == 0 and counts['right'] + counts['pending'] == counts['boots'] > 50
    assert counts['receipts'] == counts['registered'] > 50
    assert run.out.endswith('No boot was wrong, and nothing was left behind.\n')


def test_each_boot_is_shown_with_its_verdict_and_its_receipt(runs: Dict[str, Run]) -> None:
    shown = re.findall(r' s  \S+ +(\w+)  .*  (right|pending|WRONG) +receipt: (.+)',
                       runs['with'].out)
    assert len(shown) == _read_summary(runs['with'].out)['boots']
    assert {kind for kind, _, _ in shown} == {
        'start', 'reboot', 'guest_reboot', 'resume', 'migration'}
    assert {receipt for _, _, receipt in shown} >= {
        'as_desired', 'pending', 'frozen', 'unverified', '-'}


def test_with_the_watcher_switched_off_boots_are_wrong(runs: Dict[str, Run]) -> None:
    run = runs['without']
    assert run.status == 1, run.out + run.err
    assert _read_summary(run.out)['wrong'] > 10
    assert 'Traceback' not in run.err
    assert run.out.endswith('Something was wrong.\n')


def test_plain_lines_have_no_escape_sequences(runs: Dict[str, Run]) -> None:
    assert '\x1b' not in runs['with'].out + runs['without'].out


@pytest.mark.parametrize('taken, expected, or_else, verdict', [
    pytest.param(SPAN, SPAN, None, Verdict.RIGHT, id='as-expected'),
    pytest.param(None, None, None, Verdict.RIGHT, id='nothing-expected'),
    pytest.param(LOW, SPAN, LOW, Verdict.PENDING, id='the-one-before-where-that-is-allowed'),
    pytest.param(LOW, SPAN, None, Verdict.WRONG, id='the-one-before'),
    pytest.param(None, SPAN, LOW, Verdict.WRONG, id='none'),
    pytest.param(SPAN, None, None, Verdict.WRONG, id='one-too-many'),
    pytest.param('-x ' + SPAN, SPAN, None, Verdict.WRONG, id='text-of-others-added'),
    pytest.param(SPAN + ' ' + SPAN, SPAN, None, Verdict.WRONG, id='twice'),
])
def test_a_boot_is_judged_by_what_qemu_took(ledger: Ledger, taken: Optional[str],
                                            expected: Optional[str], or_else: Optional[str],
                                            verdict: Verdict) -> None:
    ledger.expect(VM, 'start', expected, or_else)
    assert ledger.add_boot(_build_boot(taken)).verdict is verdict


def test_what_the_record_carried_and_qemu_did_not_get_is_wrong(ledger: Ledger) -> None:
    ledger.expect(VM, 'start', SPAN)
    boot = _build_boot(SPAN)._replace(qemu_arguments=('qemu', '-priv'))
    assert ledger.add_boot(boot).verdict is Verdict.WRONG


@pytest.mark.parametrize('given, verdict', [((), Verdict.RIGHT), (SPAN.split(), Verdict.WRONG)])
def test_a_stolen_number_may_stand_in_the_record_and_not_in_qemu(
        ledger: Ledger, given: Any, verdict: Verdict) -> None:
    ledger.expect_withheld(VM)
    boot = _build_boot(SPAN)._replace(qemu_arguments=('qemu', '-priv') + tuple(given))
    assert ledger.add_boot(boot).verdict is verdict
    assert ledger.count_withheld([VM]) == (verdict is Verdict.RIGHT)


def test_a_boot_with_the_value_before_must_be_told(ledger: Ledger) -> None:
    for domid, verdict in ((1, 'pending'), (2, 'as_desired')):
        assert not ledger.problems
        ledger.expect(VM, 'start', SPAN, LOW)
        ledger.add_boot(_build_boot(LOW)._replace(domid=domid))
        ledger.add_receipt({'vm_uuid': VM.uuid, 'domid': domid, 'verdict': verdict,
                            'rescued': False})
    assert len(ledger.problems) == 1


def test_a_boot_that_nobody_asked_for_is_wrong(ledger: Ledger) -> None:
    assert ledger.add_boot(_build_boot(SPAN)).verdict is Verdict.WRONG


def test_a_boot_of_another_kind_is_wrong(ledger: Ledger) -> None:
    ledger.expect(VM, 'resume', SPAN)
    assert ledger.add_boot(_build_boot(SPAN)).verdict is Verdict.WRONG


def test_a_boot_that_does_not_come_is_a_problem(ledger: Ledger) -> None:
    ledger.expect(VM, 'start', SPAN)
    assert not ledger.is_complete
    ledger.close({VM.uuid: VM.name})
    assert ledger.problems == ['vm-01 did not boot (start)']


def test_a_receipt_belongs_to_the_boot_with_its_domid(ledger: Ledger) -> None:
    for domid in (1, 2):
        ledger.expect(VM, 'start', SPAN)
        ledger.add_boot(_build_boot(SPAN)._replace(domid=domid))
    ledger.add_receipt({'vm_uuid': VM.uuid, 'domid': 2, 'verdict': 'as_desired',
                        'rescued': True})
    assert [entry.receipt for entry in ledger.entries] == ['', 'as_desired, rescued']
    assert not ledger.is_complete


def test_the_desired_value_keeps_the_text_of_others(ledger: Ledger) -> None:
    assert ledger.desired(VM) == '-global  x ' + SPAN
    ledger.disabled_pools.append('A')
    assert ledger.desired(VM) == '-global  x'


@pytest.mark.parametrize('is_terminal, environment, plain, expected', [
    pytest.param(True, {'TERM': 'xterm'}, False, LiveDisplay, id='terminal'),
    pytest.param(True, {'TERM': 'xterm'}, True, PlainDisplay, id='terminal-and-plain'),
    pytest.param(True, {'TERM': 'dumb'}, False, PlainDisplay, id='dumb-terminal'),
    pytest.param(True, {}, False, PlainDisplay, id='terminal-of-no-kind'),
    pytest.param(True, {'TERM': 'xterm', 'NO_COLOR': '1'}, False, PlainDisplay, id='no-colour'),
    pytest.param(False, {'TERM': 'xterm'}, False, PlainDisplay, id='file'),
])
def test_the_table_is_for_terminals_that_can(monkeypatch: Any, is_terminal: bool,
                                             environment: Dict[str, str], plain: bool,
                                             expected: type) -> None:
    for name in ('TERM', 'NO_COLOR'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(build_display(_Screen(is_terminal), plain=plain)) is expected


@pytest.mark.parametrize('size', [(80, 24), (40, 10), (200, 60)])
def test_the_table_stays_within_the_terminal(monkeypatch: Any, ledger: Ledger,
                                             size: Tuple[int, int]) -> None:
    monkeypatch.setenv('COLUMNS', str(size[0]))
    monkeypatch.setenv('LINES', str(size[1]))
    screen = _Screen(True)
    display = LiveDisplay(screen)
    display.begin_scene(1, 3, 'a storm')
    for number in range(30):
        display.add_vm(VM._replace(uuid=str(number), name='vm-%02d' % number), HIGH)
    ledger.expect(VM, 'start', SPAN)
    display.add_vm(VM, HIGH)
    display.show_boot(ledger.add_boot(_build_boot(SPAN)))
    display.close(ledger)
    lines = [re.sub(r'\x1b\[[?0-9;]*[A-Za-z]', '', line)
             for line in screen.getvalue().split('\n')]
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert any(line.startswith('vm-01') and 'start' in line for line in lines)


def test_a_line_is_cut_without_cutting_a_colour() -> None:
    assert cut('\x1b[32mright\x1b[0m', 3) == '\x1b[32mrig\x1b[0m'
    assert cut('\x1b[32mright\x1b[0m', 9) == '\x1b[32mright\x1b[0m'


@pytest.mark.parametrize('count', ['8', '-1', 'many'])
def test_too_few_vms_are_refused(count: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        main(['--vms=' + count])
    assert left.value.code == 2 and 'is not a number from 9' in capsys.readouterr().err


class _Screen(io.StringIO):
    """What was written to a terminal, or to what is none."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Say what we are."""
        return self._is_terminal


def _build_boot(args: Optional[str]) -> Boot:
    return Boot(VM.uuid, VM.name, 'start', 1, args, ('qemu', '-priv') + tuple(
        (args or '').split()))


def _start(*options: str) -> subprocess.Popen:
    environment = dict(os.environ, TERM='xterm')
    return subprocess.Popen(
        [sys.executable, '-m', 'simulator.demo', '--vms=9', '--seed=7'] + list(options), cwd=ROOT,
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)


def _finish(process: subprocess.Popen) -> Run:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Run(process.returncode, out.decode('utf-8'), err.decode('utf-8'))


def _read_summary(out: str) -> Dict[str, int]:
    found = re.search(r'(\d+) boots of \d+ VMs in \d+ s: (\d+) right, (\d+) pending, (\d+) wrong; '
                      r'receipts: (\d+) of (\d+)\.', out)
    assert found is not None, out
    return dict(zip(('boots', 'right', 'pending', 'wrong', 'receipts', 'registered'),
                    map(int, found.groups())))
