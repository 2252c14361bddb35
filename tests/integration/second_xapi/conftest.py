"""The stranger's things, made and taken down for each test."""

from typing import Any, Callable, Iterator, List

import pytest

from tests.integration.second_xapi.stranger import Stranger


@pytest.fixture
def make(tmp_path: Any) -> Iterator[Callable[..., Stranger]]:
    """Build a stranger with an XAPI that listens, and a registry."""
    made: List[Stranger] = []

    def build(*args: Any, registry: bool = True, serves: bool = True,
              sections: Any = None, **options: Any) -> Stranger:
        stranger = Stranger(str(tmp_path), *args, **options)
        made.append(stranger)
        if serves:
            stranger.served.start()
        stranger.configure(**(sections or {}))
        if registry:
            assert stranger.admin('init').status == 0
        return stranger
    yield build
    for stranger in made:
        stranger.close()
