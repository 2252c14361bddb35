"""The list of mutants keeps up with the code: `python -m tests.mutants` applies them."""

import os

import pytest

from tests.mutants.faults import MUTANTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.mark.parametrize('mutant', [pytest.param(item, id=item.name) for item in MUTANTS])
def test_what_a_mutant_changes_stands_in_the_code_once(mutant):
    for change in mutant.changes:
        with open(os.path.join(ROOT, change.path), encoding='utf-8') as stream:
            assert stream.read().count(change.text) == 1, change.path
