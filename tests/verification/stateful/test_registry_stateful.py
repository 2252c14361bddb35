"""P16 to P19, P24, P29: nothing is lost, whoever errs, in whatever order.

    STATEFUL_SEED=N REGISTRY_SEEDS=N REGISTRY_EXAMPLES=N REGISTRY_STEPS=N pytest tests/verification/stateful

As test_stateful.py, for the registry: the real vgpu-admin and daemon as processes, the real files.
"""

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.faults.killing import compile_library
from tests.verification.stateful.registry_machine import Registering

SEED = int(os.environ.get('STATEFUL_SEED', '20261129'))
SEEDS = int(os.environ.get('REGISTRY_SEEDS', '1'))
EXAMPLES = int(os.environ.get('REGISTRY_EXAMPLES', '3'))
STEPS = int(os.environ.get('REGISTRY_STEPS', '14'))
FIGURES = os.environ.get('SWEEP_FIGURES')


@pytest.mark.parametrize('number', range(SEED, SEED + SEEDS))
def test_no_assignment_is_gone_that_no_person_removed_and_all_agree_in_the_end(
        tmp_path: Any, number: int) -> None:
    class Seeded(Registering):
        """The rules, with what kills."""

    Seeded.library = compile_library(str(tmp_path))
    run_state_machine_as_test(seed(number)(Seeded), settings=settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(_all_checks()), print_blob=True))
    if FIGURES:
        with open(FIGURES, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps({'orders': Seeded.orders, 'commands': Seeded.commands}) + '\n')


def _all_checks() -> Any:
    """Programs at work are slow, and that is no reason to stop."""
    return [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
