"""The same shared world as among the faults."""

from tests.integration.faults.conftest import build_world, pool, shared_world

# Fixtures are found by name in this module.
__all__ = ['build_world', 'pool', 'shared_world']
