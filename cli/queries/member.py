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
from watcher.state.notes import WatchNote, parse_watch_note


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


def is_noted_member(context: Any) -> bool:
    """Whether the daemon that runs here has noted that its host is a member."""
    return _read_own_note(context).is_member


def _find_noted_host(context: Any) -> str:
    """The ref of this host, as the daemon that runs here has noted it; '' when none does."""
    return _read_own_note(context).host


def _read_own_note(context: Any) -> WatchNote:
    """The note of the daemon that runs here; an empty one when none does."""
    from cli.queries.daemon_status import find_daemon
    holder = find_daemon(context.settings.registry.path)
    note = _read_note(context) if holder is not None else WatchNote()
    return note if note.is_of(holder) else WatchNote()


def _may_be_member(context: Any) -> bool:
    """Whether the daemon noted so, or there is nothing here that could be shown."""
    return not os.path.exists(context.registry.path) or _read_note(context).is_member


def _read_note(context: Any) -> WatchNote:
    """The daemon's note; an empty one where the journal does not say."""
    from registry.errors import RegistryError
    with contextlib.suppress(RegistryError), context.journal() as journal:
        return parse_watch_note(journal.read_note(WATCH_NOTE) if journal is not None else None)
    return WatchNote()
