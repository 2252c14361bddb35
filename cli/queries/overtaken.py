"""Whether the mirror has overtaken the registry here, with no daemon to follow it.

A master whose daemon did not run has a registry that is older than the mirror. The next daemon
makes it what the mirror says; until then nothing may be changed or staged by it (P18, P27).
"""

import contextlib
import os
from typing import Any, Optional, Tuple

from cli.commandline.options import DB
from cli.errors import CommandError, Kind
from cli.output.text import plural
from cli.queries.daemon_status import find_daemon
from registry.errors import JournalUnavailable, Reason, RegistryUnavailable
from watcher.errors import XapiError


def refuse_overtaken(context: Any, *, is_lost: bool = False) -> None:
    """Refuse what the next daemon would undo, and name the cure."""
    problem = find_overtaken(context, is_lost=is_lost, is_edit=True)
    if problem:
        raise CommandError(Kind.CONFLICT, f'{problem}; nothing was changed')


def find_overtaken(context: Any, *, is_lost: bool = False, is_edit: bool = False) -> str:
    """Say that the mirror has overtaken the registry; '' when it has not, or that is unknown.

    A daemon that runs follows the mirror, except from a registry that is of no use (`is_lost`).
    """
    if not context.settings.mirror.enabled or not is_configured(context) or (
            not is_lost and find_daemon(context.settings.registry.path) is not None):
        return ''
    try:
        pool = context.live().find_pool_record()
        with context.journal() as journal:
            lineage: Tuple[str, ...] = journal.lineage() if journal is not None else ()
            mirror = _read_mirror(context, journal, pool) if lineage else None
            has_moved = journal is not None and journal.has_moved(pool.uuid)
    except (XapiError, JournalUnavailable):
        return ''
    if mirror is None:
        return ''
    from watcher.mirror.comparison import Judgement, judge
    # Where both say the same, only the line is another.
    if not (has_moved or judge(mirror, lineage, None, None) is Judgement.NEWER):
        return ''
    if _digest_contents(context) == mirror.digest:
        if is_edit:
            _note_same(context, mirror)
        return ''
    what = 'the registry here is that of another resource pool' if has_moved else \
        'another host has gone on from the registry here'
    return (f'{what} (generation {lineage[-1]}): the mirror is newer (generation '
            f'{mirror.generation.text}, {plural(mirror.vms, "VM")}), and would replace what is '
            "changed here: 'vgpu-admin registry rebuild', or a daemon ('systemctl start "
            "vgpu-watcher'), brings the registry up to date; 'vgpu-admin registry keep' has it "
            'count as it is')


def _note_same(context: Any, mirror: Any) -> None:
    """Note, as the daemon does, that the registry is at the mirror's generation: an edit of it
    comes after that."""
    with contextlib.suppress(JournalUnavailable), context.journal() as journal:
        if journal is not None:
            journal.note_origin(mirror.origin)


def is_configured(context: Any) -> bool:
    """Tell whether this is the registry of the configuration: another has no mirror."""
    path = context.arguments.get(DB)
    return path is None or os.path.realpath(path) == os.path.realpath(context.configured_path)


def _read_mirror(context: Any, journal: Any, pool: Any) -> Any:
    """The pool's entry, where the daemon would go by it."""
    from watcher.mirror.entries import find_furthest, is_leap, parse_generation
    from watcher.mirror.slots import read_mirror
    from watcher.mirror.trust import build_trust, read_key, read_memory
    key = read_key(context.settings.mirror.key_file)[0]
    reading = read_mirror(pool.mirror, build_trust(read_memory(journal), key, pool.uuid), pool.uuid)
    mirror, furthest = reading.mirror, find_furthest(journal.lineage())
    if mirror is not None and furthest and is_leap(
            mirror.generation, parse_generation(furthest).number, reading.is_signed):
        return None
    return None if reading.is_too_new else mirror


def _digest_contents(context: Any) -> Optional[str]:
    from watcher.mirror.entries import digest_contents, row_of
    try:
        contents = context.registry.inspect()
    except RegistryUnavailable as error:
        if error.reason is Reason.LOCKED:
            raise
        return None  # it is of no use, and so whatever the mirror says is news
    return digest_contents(map(row_of, contents.vms), contents.pools)
