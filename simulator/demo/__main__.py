"""make demo: a simulated pool goes through everything we know of, and each boot gets a verdict.

The embedded XAPI, the daemon and vgpu-admin run as programs in a temporary directory. Verdicts
come from what the simulated QEMUs took, compared with the demo's own table (ledger.py);
the daemon's receipts stand beside them.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, Callable, List, NamedTuple, Optional

from simulator.demo import fault_scenes, scenes as demo_scenes
from simulator.demo.display import build_display
from simulator.demo.ledger import Verdict
from simulator.demo.programs import Ended, Programs
from simulator.demo.stage import Stage
from simulator.demo.xapi_client import Refused, Unreachable

FEWEST_VMS = 9
EXAMPLE = 'example: python -m simulator.demo --vms 40 --plain'


class Scene(NamedTuple):
    """One scene: what it is called, and what happens."""
    title: str
    play: Callable[[Stage], None]


SCENES = (
    Scene('Boot storm: everything starts at once', demo_scenes.storm),
    Scene('Changes of running VMs, restarted at once', demo_scenes.restart_quickly),
    Scene('Reboots, from inside and outside', demo_scenes.reboot),
    Scene('Changes of running and suspended VMs, resumed, stopped, started', demo_scenes.change),
    Scene('Live migration, there and back', demo_scenes.migrate),
    Scene('A clone, a snapshot, a revert', demo_scenes.copy),
    Scene('Clones are started at once, with the number of their parent',
          demo_scenes.start_clones),
    Scene('Two VMs that run swap their numbers', demo_scenes.swap_numbers),
    Scene('Another tool takes the arguments away, again and again', demo_scenes.quarrel),
    Scene('A vGPU pool is disabled, a registration removed', demo_scenes.disable_pool),
    Scene('Another tool edits the arguments', demo_scenes.edit_by_others),
    Scene('The toolstack restarts in a boot storm', fault_scenes.restart_in_storm),
    Scene('The toolstack crashes in a boot storm and forgets', fault_scenes.crash_in_storm),
    Scene('A clone of a suspended VM carries the number of its parent',
          fault_scenes.clone_suspended),
    Scene('HTTP 500, dropped and torn answers, refused logins', fault_scenes.spoil_calls),
    Scene('The daemon is killed while it replaces arguments', fault_scenes.kill_watcher),
    Scene('A host dies, and high availability restarts its VMs', fault_scenes.lose_host),
)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the demo; 0 when no boot was wrong and nothing was left behind."""
    arguments = build_parser().parse_args(argv)
    place = tempfile.mkdtemp(prefix='vgpu-demo-')
    programs = Programs(place)
    is_right = False
    # What was started is ended also when we are ended.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    try:
        is_right = play(arguments, programs)
    except KeyboardInterrupt:
        return 130
    finally:
        programs.close()
        if is_right or arguments.without_watcher:
            shutil.rmtree(place, ignore_errors=True)
        else:
            print(f'The log of the daemon is {programs.log}', file=sys.stderr)
    return 0 if is_right else 1


def play(arguments: argparse.Namespace, programs: Programs) -> bool:
    """Play all scenes; whether everything was right."""
    began = time.monotonic()
    display = build_display(sys.stdout, plain=arguments.plain)
    stage = Stage(programs, display, with_watcher=not arguments.without_watcher)
    scenes = (Scene('Registration of two vGPU pools',
                    lambda stage: demo_scenes.register(stage, arguments.vms)),) + SCENES
    try:
        programs.start_xapi(arguments.seed)
        if stage.with_watcher:
            programs.start_watcher()
        for number, scene in enumerate(scenes, 1):
            display.begin_scene(number, len(scenes), scene.title)
            scene.play(stage)
        stage.check_left()
    except Unreachable as error:
        stage.complain(f'the embedded XAPI is gone: {error}')
    except Ended as error:
        stage.complain(str(error))
    except Refused as error:
        stage.complain(f'XAPI refused what the demo asked for: {error}')
    finally:
        display.close(stage.ledger)
    if stage.with_watcher and programs.stop_watcher() != 0:
        stage.complain('the daemon did not end in order within 5 s of SIGTERM')
    return summarise(stage, display, time.monotonic() - began)


def summarise(stage: Stage, display: Any, seconds: float) -> bool:
    """Say how it went; whether everything was right."""
    ledger = stage.ledger
    counts = {verdict: ledger.count(verdict) for verdict in Verdict}
    receipts = [entry for entry in ledger.entries if entry.needs_receipt]
    missing = len([entry for entry in receipts if not entry.receipt])
    display.say('')
    display.say(f'{len(ledger.entries)} boots of {len(stage.vms)} VMs in {seconds:.0f} s: '
                f'{counts[Verdict.RIGHT]} right, {counts[Verdict.PENDING]} pending, '
                f'{counts[Verdict.WRONG]} wrong; receipts: {len(receipts) - missing} of '
                f'{len(receipts)}.')
    if counts[Verdict.PENDING]:
        display.say('Pending: a restart was quicker than the staging, took the assignment before '
                    'the change, whole, and was told so.')
    for problem in ledger.problems:
        display.say(f'FAULT: {problem}')
    is_right = not (counts[Verdict.WRONG] or missing or ledger.problems)
    display.say('No boot was wrong, and nothing was left behind.' if is_right else
                'Something was wrong.')
    return is_right


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog='python -m simulator.demo', epilog=EXAMPLE,
                                     allow_abbrev=False,
                                     description=__doc__.partition('\n')[0])
    parser.add_argument('--vms', type=parse_count, default=30, metavar='N',
                        help=f'VMs to register, at least {FEWEST_VMS} (30)')
    parser.add_argument('--seed', type=int, default=1, metavar='N', help='of UUIDs (1)')
    parser.add_argument('--plain', action='store_true', help='plain lines, on a terminal too')
    parser.add_argument('--without-watcher', action='store_true',
                        help='leave the daemon out, to see what it is good for')
    return parser


def parse_count(text: str) -> int:
    """Read a number of VMs that is enough for all scenes."""
    if not text.isdigit() or int(text) < FEWEST_VMS:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from {FEWEST_VMS}')
    return int(text)


if __name__ == '__main__':
    sys.exit(main())
