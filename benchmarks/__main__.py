"""python -m benchmarks [--record] [SCENARIO …]: measure and print a table.

With BENCH_JSON=FILE in the environment the figures are also written there, as JSON, and with
BENCH_TABLE=FILE as the table of docs/performance.md, and with BENCH_PLOT=FILE the latencies as a
picture (SVG). --record appends the medians to history.jsonl beside this file.
"""

import importlib
import json
import os
import sys
import time
from typing import Any, Dict, List

from benchmarks.figures import (Figure, build_document, describe_machine, render_markdown,
                                render_table)
from benchmarks.plot import draw_latencies

HISTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'history.jsonl')
SCENARIOS = ('rescues', 'parsing', 'cold', 'idle', 'replacing', 'restarts', 'staged', 'admin',
             'consumer', 'scan', 'growth', 'large', 'mirror', 'pool', 'day', 'quick_day',
             'profile', 'walks')


def main(names: List[str]) -> int:
    """Run the scenarios; the exit status says whether they ran, not how well."""
    is_recorded = '--record' in names
    names = [name for name in names if name != '--record']
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        print(f'no such scenario: {", ".join(unknown)}; there are {", ".join(SCENARIOS)}',
              file=sys.stderr)
        return 2
    machine = describe_machine()
    figures: List[Figure] = []
    took: Dict[str, float] = {}
    for name in names or SCENARIOS:
        began = time.monotonic()
        measured: List[Figure] = importlib.import_module('benchmarks.' + name).run()
        figures += measured
        print('\n'.join(render_table(measured)), flush=True)
        took[name] = time.monotonic() - began
        print(f'  ({name}: {took[name]:.0f} s)', flush=True)
        _write_table(figures, machine, took)
    missed = [figure for figure in figures if figure.is_met is False]
    print(f'\n{len(figures)} figures, {len(missed)} missed their target, '
          f'{sum(took.values()):.0f} s; '
          + ', '.join(f'{name} {value}' for name, value in machine.items()))
    if os.environ.get('BENCH_JSON'):
        with open(os.environ['BENCH_JSON'], 'w', encoding='utf-8') as stream:
            json.dump(build_document(machine, figures), stream, indent=1)
            stream.write('\n')
    if os.environ.get('BENCH_PLOT'):
        write_plot(os.environ['BENCH_PLOT'], figures, machine)
    if is_recorded:
        record(machine, figures)
    return 0


def write_plot(path: str, figures: List[Figure], machine: Dict[str, Any]) -> None:
    """Write the latencies as a picture, and say where it is."""
    title = f"Latencies, Python {machine['python']}, load {machine['load_before']}"
    picture = draw_latencies(figures, title)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, 'wb') as stream:
        stream.write(picture)
    print(f'plot: {path}')


def _write_table(figures: List[Figure], machine: Dict[str, Any], took: Dict[str, float]) -> None:
    """After each scenario: what was measured is kept when a later one fails."""
    if os.environ.get('BENCH_TABLE'):
        with open(os.environ['BENCH_TABLE'], 'w', encoding='utf-8') as stream:
            stream.write('\n'.join(render_markdown(figures, machine, took)) + '\n')


def record(machine: Dict[str, Any], figures: List[Figure]) -> None:
    """Append what later runs are held against."""
    medians = {f'{figure.scenario}: {figure.what}': round(figure.median, 4) for figure in figures}
    line = dict(machine, at=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), medians=medians)
    with open(HISTORY, 'a', encoding='utf-8') as stream:
        stream.write(json.dumps(line) + '\n')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
