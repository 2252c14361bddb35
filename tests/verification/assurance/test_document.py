"""The tables in docs/assurance.md are what the program made of the figures that it has found."""

import json
from typing import Any

import pytest

from tests.support.documents import read
from tests.verification.assurance import document
from tests.verification.assurance.document import BLOCKS, find, read_figures, render_blocks
from tests.verification.assurance.parts import Part
from tests.verification.assurance.table import list_missed
from tests.verification.assurance.test_table import build


@pytest.mark.parametrize('name', BLOCKS)
def test_each_block_is_what_the_program_prints_of_the_figures_it_found(name: str) -> None:
    assert find(read('docs/assurance.md'), name) == render_blocks(read_figures())[name]


def test_a_run_writes_its_parts_and_leaves_the_others(tmp_path: Any, monkeypatch: Any) -> None:
    for name in ('FIGURES', 'DOCUMENT'):
        path = tmp_path / name
        with open(getattr(document, name), encoding='utf-8') as stream:
            path.write_text(stream.read(), encoding='utf-8')
        monkeypatch.setattr(document, name, str(path))
    before = read_figures()
    storm, = [part for part in build() if part.name == 'storm']
    run = {'date': '1 January 2027', 'commit': 'abc1234', 'seed': 3, 'python': '3.11.7',
           'processors': 2, 'load_before': '0.1', 'load_after': '3.0'}
    document.write([storm], run)
    figures = read_figures()
    assert figures['storm']['figures'] == json.loads(json.dumps(storm.figures))
    assert {name: part for name, part in figures.items() if name != 'storm'} == {
        name: part for name, part in before.items() if name != 'storm'}
    lines = find((tmp_path / 'DOCUMENT').read_text(encoding='utf-8'), 'figures')
    assert '1 January 2027 at abc1234, storm: seed 3, Python 3.11.7, 2 processors, ' \
        'load 0.1 before and 3.0 after.' in lines
    assert lines == render_blocks(figures)['figures']


def test_a_part_that_did_not_run_is_named() -> None:
    figures = read_figures()
    figures.pop('kills', None)
    figures.pop('mutants', None)
    blocks = render_blocks(figures)
    named, = [line for line in blocks['figures'] if line.startswith('**Not run on this version')]
    assert 'kills' in named and 'mutants' in named and 'storm' not in named
    assert blocks['mutants'] == ['The list was not run whole on this version.']


def test_a_goal_that_was_missed_stands_in_the_document() -> None:
    figures = read_figures()
    figures['storm']['figures'] = dict(figures['storm']['figures'], unreported=7)
    storm = Part('storm', 1.0, figures['storm']['figures'])
    missed = list_missed([storm])
    assert missed and any(missed[0] in line for line in render_blocks(figures)['figures'])
