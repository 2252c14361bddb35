"""What was measured, with its target, as a table and as JSON."""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Figure(NamedTuple):
    """One measured figure; without a target it is there for comparison."""
    scenario: str
    what: str
    unit: str
    median: float
    percentile_95: Optional[float] = None
    samples: int = 1
    target: str = ''
    is_met: Optional[bool] = None


def summarise(scenario: str, what: str, unit: str, values: Sequence[float], target: str = '',
              most: Optional[float] = None) -> Figure:
    """Make a figure of many values; with `most` the median is held against it."""
    ordered = sorted(values)
    median = statistics.median(ordered)
    return Figure(scenario, what, unit, median,
                  ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], len(ordered), target,
                  None if most is None else median <= most)


def compare(scenario: str, what: str, value: float, target: str, *, most: Optional[float] = None,
            least: Optional[float] = None, unit: str = 'times') -> Figure:
    """Make a figure of one value with a bound."""
    is_met = (most is None or value <= most) and (least is None or value >= least)
    return Figure(scenario, what, unit, value, target=target, is_met=is_met)


def observe(scenario: str, what: str, value: float, unit: str) -> Figure:
    """Make a figure of one value that nothing is asked of."""
    return Figure(scenario, what, unit, value)


def describe_machine() -> Dict[str, Any]:
    """Say on what it was measured."""
    model = ''
    with open('/proc/cpuinfo', encoding='utf-8') as stream:
        for line in stream:
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    return {'processor': model, 'processors': os.cpu_count(), 'kernel': platform.release(),
            'python': sys.version.split()[0], 'sqlite': sqlite3.sqlite_version,
            'commit': commit.stdout.decode('ascii').strip(),
            'load_before': round(os.getloadavg()[0], 2)}


def render_table(figures: Sequence[Figure]) -> List[str]:
    """Render what people read."""
    lines, scenario = [], ''
    for figure in figures:
        if figure.scenario != scenario:
            scenario = figure.scenario
            lines += ['', scenario]
        tail = '' if figure.percentile_95 is None else f'p95 {figure.percentile_95:.4g}'
        verdict = {None: '', True: 'met', False: 'MISSED'}[figure.is_met]
        lines.append(f'  {figure.what:<44} {figure.median:>9.4g} {figure.unit:<10} {tail:<12} '
                     f'{figure.target:<24} {verdict}'.rstrip())
    return lines


def render_markdown(figures: Sequence[Figure], machine: Dict[str, Any],
                    took: Dict[str, float]) -> List[str]:
    """Render the table of docs/performance.md, with on what it was measured and how long."""
    minutes = sum(took.values()) / 60.0
    lines = [
        'Measured ' + '; '.join(f'{name} {value}' for name, value in machine.items()) + '.',
        f'It took {minutes:.1f} minutes: '
        + ', '.join(f'`{name}` {seconds:.0f} s' for name, seconds in took.items()) + '.',
        '', '| | measured (median; 95th percentile) | target | |', '|---|---|---|---|']
    for figure in figures:
        tail = '' if figure.percentile_95 is None else f'; {figure.percentile_95:.4g}'
        verdict = {None: '', True: 'met', False: '**missed**'}[figure.is_met]
        cells = (f'{figure.scenario}: {figure.what}', f'{figure.median:.4g} {figure.unit}{tail}',
                 figure.target, verdict)
        lines.append('| ' + ' | '.join(cell.replace('|', '/') for cell in cells) + ' |')
    return lines


def build_document(machine: Dict[str, Any], figures: Sequence[Figure]) -> Dict[str, Any]:
    """Build what programs read."""
    return {'format': 1, 'machine': machine, 'figures': [
        dict(figure._asdict()) for figure in figures]}
