"""The list of mutants keeps up with the code: `python -m tests.verification.mutants` applies them."""

import os

import pytest

from tests.support.documents import read_tables
from tests.verification.mutants.claims import CLAIMS, WITHOUT
from tests.verification.mutants.faults import MUTANTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.mark.parametrize('mutant', [pytest.param(item, id=item.name) for item in MUTANTS])
def test_what_a_mutant_changes_stands_in_the_code_once(mutant):
    for change in mutant.changes:
        with open(os.path.join(ROOT, change.path), encoding='utf-8') as stream:
            assert stream.read().count(change.text) == 1, change.path


def find_claims():
    """The first cell of each row of docs/security.md that names tests."""
    return [row[0] for _heading, heads, rows in read_tables('docs/security.md')
            if heads[-1] == 'shown by' for row in rows]


def find_beginning(claim):
    """The longest beginning that is listed for a row."""
    return max((text for text in list(CLAIMS) + list(WITHOUT) if claim.startswith(text)), key=len,
               default=None)


def test_each_claim_of_the_security_page_has_its_mutant():
    found = {claim: find_beginning(claim) for claim in find_claims()}
    assert [claim for claim, beginning in found.items() if beginning is None] == []
    assert set(found.values()) == set(CLAIMS) | set(WITHOUT)
    assert len(set(found.values())) == len(found)


def test_each_mutant_of_a_claim_is_one():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert [name for named in CLAIMS.values() for name in named if name not in names] == []
