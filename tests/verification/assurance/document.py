"""docs/assurance.md and what stands in it of a run: figures.json, and blocks between markers.

`python -m tests.verification.assurance --write` puts there what each part that ran has found, and leaves the
others as they were. tests/verification/assurance/test_document.py demands that the blocks are what the program
prints of figures.json.
"""

import json
import os
from typing import Any, Dict, List, Sequence

from tests.verification.assurance.parts import PARTS, Part
from tests.verification.assurance.running import ROOT
from tests.verification.assurance.table import list_missed, render, render_mutants

FIGURES = os.path.join(ROOT, 'tests/verification/assurance/figures.json')
DOCUMENT = os.path.join(ROOT, 'docs', 'assurance.md')
_MARK = '<!-- %s of the last run: python -m tests.verification.assurance --write -->'
BLOCKS = ('figures', 'mutants')


def write(parts: Sequence[Part], run: Dict[str, Any]) -> None:
    """Put into figures.json and the document what these parts have found in this run."""
    figures = read_figures()
    for part in parts:
        figures[part.name] = {'seconds': round(part.seconds, 1), 'figures': part.figures,
                              'problems': list(part.problems), 'run': run}
    with open(FIGURES, 'w', encoding='utf-8') as stream:
        json.dump(figures, stream, indent=1, sort_keys=True)
        stream.write('\n')
    with open(DOCUMENT, encoding='utf-8') as stream:
        text = stream.read()
    for name, lines in render_blocks(read_figures()).items():
        text = fill(text, name, lines)
    with open(DOCUMENT, 'w', encoding='utf-8') as stream:
        stream.write(text)


def read_figures() -> Dict[str, Any]:
    """What the last run of each part has found."""
    with open(FIGURES, encoding='utf-8') as stream:
        return dict(json.load(stream))


def render_blocks(figures: Dict[str, Any]) -> Dict[str, List[str]]:
    """The blocks of the document, by name."""
    parts = [Part(name, figures[name]['seconds'], figures[name]['figures'],
                  tuple(figures[name]['problems'])) for name in PARTS if name in figures]
    missed = list_missed(parts)
    lines = _render_runs(figures) + _render_missing(figures)
    lines += ['', '**Missed: %s.**' % '; '.join(missed) if missed else 'Every goal was met.', '']
    return {'figures': lines + render(parts),
            'mutants': render_mutants(figures.get('mutants', {}).get('figures', {}))}


def fill(text: str, name: str, lines: Sequence[str]) -> str:
    """The document with these lines between the two marks of a block."""
    before, _inside, after = text.split(_MARK % name)
    return '\n'.join([before + _MARK % name, ''] + list(lines) + ['', _MARK % name + after])


def find(text: str, name: str) -> List[str]:
    """The lines between the two marks of a block."""
    return text.split(_MARK % name)[1].strip('\n').splitlines()


def _render_missing(figures: Dict[str, Any]) -> List[str]:
    """Which parts have no figures: nobody shall take the rest for the whole."""
    missing = [name for name in PARTS if name not in figures]
    return ['', '**Not run on this version: %s.**' % ', '.join(missing)] if missing else []


def _render_runs(figures: Dict[str, Any]) -> List[str]:
    """When, of what and under which load the parts have run."""
    by_run: Dict[str, List[str]] = {}
    for name in PARTS:
        if name in figures:
            by_run.setdefault(json.dumps(figures[name]['run'], sort_keys=True), []).append(name)
    lines = []
    for text, names in by_run.items():
        run = dict(json.loads(text), parts=', '.join(names))
        lines.append('%(date)s at %(commit)s, %(parts)s: seed %(seed)s, Python %(python)s, '
                     '%(processors)s processors, load %(load_before)s before and %(load_after)s '
                     'after.' % run)
    return lines
