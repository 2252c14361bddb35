"""Does a daemon watch? Whoever does holds the writer's lock beside the registry, for life."""

import os
from typing import Optional

from registry.errors import RegistryError
from registry.lock import LOCK_SUFFIX, WriterLock


def find_daemon(registry_path: str) -> Optional[str]:
    """Say who holds the writer's lock; None when nobody does."""
    if not os.path.exists(registry_path + LOCK_SUFFIX):
        return None
    lock = WriterLock(registry_path)
    try:
        if lock.acquire():
            lock.release()
            return None
    except RegistryError:
        # Without the right to try, what the lock's file says is all there is.
        return lock.holder()
    return lock.holder() or 'a program that does not say who it is'
