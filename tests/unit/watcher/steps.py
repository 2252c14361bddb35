"""Stand-ins for whoever answers: each of their steps ends at once."""

from typing import Any

from watcher.loop.steps import Steps


def answer(value: Any) -> Steps[Any]:
    """Steps that wait for nothing."""
    return value
    yield


class AtOnce:
    """An object whose methods give steps, each of which is the call of another object's method."""

    def __init__(self, answering: Any) -> None:
        self._answering = answering

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._answering, name)
        if not callable(found) or name in ('limited', 'close'):
            return found

        def steps(*params: Any, **options: Any) -> Steps[Any]:
            return found(*params, **options)
            yield
        return steps
