"""A client that waits: for vgpu-admin, the plugin and `clear-fences`, which do one thing at a time.

Each method is the one of `Client`, run to its end.
"""

import contextlib
from typing import Any, Dict, Iterator, Optional, Tuple

from watcher.config.settings import XapiSettings
from watcher.loop.steps import run
from watcher.vm.record import PoolRecord, VmRecord
from watcher.xapi.client import Client
from watcher.xapi.identity import Identity


class BlockingClient:
    """One session with XAPI over one connection."""

    def __init__(self, settings: XapiSettings, **options: Any) -> None:
        self.steps = Client(settings, **options)
        """The same, for jobs of the daemon that are run here."""

    @property
    def handle(self) -> Optional[str]:
        """The session; None before the login."""
        return self.steps.handle

    @property
    def speaks_json(self) -> bool:
        """Whether XAPI is known to offer JSON-RPC."""
        return self.steps.speaks_json

    def login(self) -> None:
        """Open a session."""
        run(self.steps.login())

    def logout(self) -> bool:
        """Close the session if XAPI can be reached; False, and no error, when it cannot."""
        return run(self.steps.logout())

    def close(self) -> None:
        """Close the connection; the session stays."""
        self.steps.close()

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Inside the block no call takes longer than so many seconds, all of it together."""
        with self.steps.limited(seconds):
            yield

    def call(self, method: str, *params: Any) -> Any:
        """Call a method with the session in front; raise what `errors.py` names."""
        return run(self.steps.call(method, *params))

    def read_vm(self, ref: str) -> VmRecord:
        """Read one VM record as it is now."""
        return run(self.steps.read_vm(ref))

    def read_vms(self) -> Dict[str, Any]:
        """All VM records in one call, for `parse_records`."""
        return run(self.steps.read_vms())

    def read_pool_ref(self) -> str:
        """The ref of the resource pool."""
        return run(self.steps.read_pool_ref())

    def read_pool(self, ref: str) -> Optional[PoolRecord]:
        """Read the resource pool's record as it is now; None when it is an odd one."""
        return run(self.steps.read_pool(ref))

    def read_identity(self) -> Identity:
        """Which host answers, which is master, and in which version."""
        return run(self.steps.read_identity())

    def read_refs(self, method: str) -> Tuple[str, ...]:
        """What a method answers that lists the refs of a class."""
        return run(self.steps.read_refs(method))
