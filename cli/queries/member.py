"""Is this host a member of its pool, and which host is the master?

Edits ask XAPI, as they always did. A view would pay four calls for that on every master: it asks
only where the daemon has noted that this host is a member, or where there is no registry.
"""

import os
from typing import Any, NamedTuple, Optional

from cli.commandline.parser import Arguments
from cli.commandline.routing import EDITS
from registry.schema import WATCH_NOTE
from watcher.errors import XapiError


class Master(NamedTuple):
    """The master of the pool, when it is another host."""

    ref: str
    name: str


def find_master(arguments: Arguments, context: Any) -> Optional[Master]:
    """The host that this command is for; None when it is this one, or unknown."""
    name = arguments.command.name if arguments.command else ''
    if name not in EDITS and not _may_be_member(context):
        return None
    try:
        live = context.live()
        if live.master is None or live.master_ref is None:
            return None
        return Master(live.master_ref, live.master)
    except XapiError as error:
        context.lose_live(error)
        return None


def _may_be_member(context: Any) -> bool:
    """Whether the daemon noted so, or there is nothing here that could be shown."""
    if not os.path.exists(context.registry.path):
        return True
    with context.journal() as journal:
        text = journal.read_note(WATCH_NOTE) if journal is not None else None
    import json
    try:
        return bool(json.loads(text or '{}').get('is_member'))
    except (ValueError, AttributeError, RecursionError):
        return False
