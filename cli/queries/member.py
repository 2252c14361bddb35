"""Is this host a member of its pool, and which host is the master?

Edits ask XAPI which host is the master; which one this is has been noted by the daemon that runs
here. A view would pay four calls for that on every master: it asks only where the daemon has noted
that this host is a member, or where there is no registry.
"""

import contextlib
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
        if name in EDITS:
            live.noted_host = _find_noted_host(context)
        if live.master is None or live.master_ref is None:
            return None
        return Master(live.master_ref, live.master)
    except XapiError as error:
        context.lose_live(error)
        return None


def _find_noted_host(context: Any) -> str:
    """The ref of this host, as the daemon that runs here has noted it; '' when none does."""
    from cli.queries.daemon_status import find_daemon, read_note
    holder = find_daemon(context.settings.registry.path)
    host = read_note(holder, _read_text(context)).get('host') if holder is not None else ''
    return host if isinstance(host, str) else ''


def _may_be_member(context: Any) -> bool:
    """Whether the daemon noted so, or there is nothing here that could be shown."""
    if not os.path.exists(context.registry.path):
        return True
    import json
    try:
        return bool(json.loads(_read_text(context) or '{}').get('is_member'))
    except (ValueError, AttributeError, RecursionError):
        return False


def _read_text(context: Any) -> Optional[str]:
    """The daemon's note; None where the journal does not say."""
    from registry.errors import RegistryError
    with contextlib.suppress(RegistryError), context.journal() as journal:
        text: Optional[str] = journal.read_note(WATCH_NOTE) if journal is not None else None
        return text
    return None
