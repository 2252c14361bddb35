"""Builds what tests run in, one directory each, and takes it down again."""

import contextlib
import tempfile
from typing import Any, Callable, Iterator, List


@contextlib.contextmanager
def building(kind: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A function that builds worlds of a kind; their directories are short, since the path of a
    socket has 107 bytes at most."""
    worlds: List[Any] = []
    directories: List[Any] = []

    def build(**settings: Any) -> Any:
        directories.append(tempfile.TemporaryDirectory(prefix='vgpu'))
        worlds.append(kind(directories[-1].name, **settings))
        return worlds[-1]

    yield build
    for world in worlds:
        world.close()
    for directory in directories:
        directory.cleanup()
