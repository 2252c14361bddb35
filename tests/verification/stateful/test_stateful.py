"""P1, P2, P4, P6, P7, P14, P16, P20 under random orders of operations and faults.

    STATEFUL_SEED=N STATEFUL_EXAMPLES=N pytest tests/verification/stateful

The same seed gives the same orders; what the threads of daemon and simulator make of them is
theirs. What fails is printed as the program of steps that led to it.
"""

import os
from typing import Any, Callable

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.daemon.conftest import build_world  # noqa: F401  (a fixture)
from tests.integration.daemon.world import World
from tests.verification.stateful.machine import Machine

SEED = int(os.environ.get('STATEFUL_SEED', '20261125'))
EXAMPLES = int(os.environ.get('STATEFUL_EXAMPLES', '6'))
STEPS = 14


def test_whatever_happens_no_promised_boot_is_wrong_and_all_ends_well(
        build_world: Callable[..., World]) -> None:  # noqa: F811
    world = build_world(cutoff_seconds=0.1).start()

    class Seeded(Machine):
        """The rules in this world."""

    Seeded.world = world
    run_state_machine_as_test(seed(SEED)(Seeded), settings=settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(_all_checks()), print_blob=True))


def _all_checks() -> Any:
    """A daemon at work is slow, and that is no reason to stop."""
    return [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
