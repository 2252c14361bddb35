"""python -m benchmarks.prototypes: both loops beside floor, plain way and daemon, alternating.

Machine and load blur what takes time on the clock: the least and the median of many single
starts stand beside the processor time, and ratios are formed of figures of one run.
"""

import os
import statistics
import sys
from typing import Dict, List

from benchmarks import rescues
from benchmarks.figures import describe_machine
from benchmarks.parsing import NVRAM_BYTES
from benchmarks.stand import Contender, Stand

NAMES = ('floor', 'selectors bare', 'asyncio bare', 'selectors whole', 'asyncio whole', 'ours',
         'plain')
ROUNDS = int(os.environ.get('PROTOTYPE_ROUNDS', '3'))
EVENTS = 100
Taken = Dict[str, List[float]]


def main() -> None:
    """Measure and print."""
    print(', '.join(f'{name} {value}' for name, value in describe_machine().items()))
    single: Taken = {}
    storm: Taken = {}
    processor: Taken = {}
    event: Taken = {}
    for _ in range(ROUNDS):
        with Stand(event_from_delay=None) as stand:
            stand.fill(400)
            for name in NAMES:
                with Contender(stand, name) as contender:
                    stand.wait_calm()
                    single.setdefault(name, []).extend(rescues._measure_single(stand))
                    before = contender.read_cpu_seconds()
                    try:
                        storm.setdefault(name, []).append(rescues._measure_storm(stand))
                        processor.setdefault(name, []).append(
                            (contender.read_cpu_seconds() - before) * 1000.0)
                    except TimeoutError as error:
                        # The floor ends when an echo has it add a key twice.
                        print(f'{name}, status {contender.process.poll()}: {error}')
                    contender.process.kill()
        with Stand(nvram_bytes=NVRAM_BYTES) as stand:
            stand.fill(50)
            for name in NAMES:
                with Contender(stand, name) as contender:
                    stand.wait_calm()
                    event.setdefault(name, []).append(contender.measure_events(EVENTS))
                    contender.process.kill()
    _tell('one start: event to write, ms', single)
    _tell('200 starts: event to last write, ms', storm)
    _tell('200 starts and their echo: processor time, ms', processor)
    _tell('an event without action, 30 KB of NVRAM: processor time, ms', event)
    print('load after', os.getloadavg()[0])


def _tell(title: str, taken: Taken) -> None:
    print(f'\n{title}')
    floor = taken['floor'] or [1.0]
    for name, values in ((name, values) for name, values in taken.items() if values):
        print(f'  {name:<16} least {min(values):8.3f}  ({min(values) / min(floor):5.2f} x)   '
              f'median {statistics.median(values):8.3f}  '
              f'({statistics.median(values) / statistics.median(floor):5.2f} x)   '
              f'most {max(values):8.3f}   of {len(values)}')
    sys.stdout.flush()


if __name__ == '__main__':
    main()
