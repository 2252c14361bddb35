"""What the daemon leaves word of for vgpu-admin: how far the mirror is. Pure."""

import json
from typing import NamedTuple


class MirrorNote(NamedTuple):
    """How far the mirror is; each field under its name."""
    state: str
    generation: str
    waiting: int
    """How many entries wait to be written."""
    master: str
    is_master: bool
    reason: str
    """Why XAPI, or the registry here, does not let us."""
    unsigned: str
    """Why there is no key."""

    def render(self) -> str:
        """The text that is noted."""
        return json.dumps(self._asdict())
