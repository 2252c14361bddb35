"""watch: boots and changes while they happen, until Ctrl-C, which is how it ends.

On a terminal the view is redrawn whenever something is new; elsewhere each thing is one
line, and with --json one document on a line.
"""

import json
import time
from typing import Iterator, List, Optional, Sequence

from cli.commandline import options
from cli.commandline.options import VM
from cli.commandline.parser import Arguments
from cli.commands.feed import Feed, Item
from cli.context import Context
from cli.errors import CommandError, Kind
from cli.output.printer import measured
from cli.output.result import Result, build_document
from cli.output.text import Style, cut, escape
from cli.queries.daemon_status import describe_watch, read_watch
from cli.queries.vm_lookup import find_target
from registry.errors import RegistryError
from registry.writer_lock import WriterLock

LOOK_SECONDS = 1.0
DEFAULT_LIMIT = 10
_TO_THE_TOP = '\033[H\033[2J'
_KEPT = 500


def watch(arguments: Arguments, context: Context) -> Result:
    """Show boots and changes as they come."""
    if arguments.get(options.MINIMAL):
        raise CommandError(Kind.USAGE, 'watch has no --minimal; --json gives one document a line')
    contents = context.registry.read()
    _check_journal(context)
    vm_uuid: Optional[str] = None
    if any(arguments.get(option) for option in VM):
        vm_uuid = find_target(context, contents).vm_uuid
    feed = Feed(context.registry.path, vm_uuid, arguments.get(options.LIMIT) or DEFAULT_LIMIT,
                context.find_host_name)
    return Result({}, lambda _style: [], stream=lambda style: _follow(context, feed, style))


def _check_journal(context: Context) -> None:
    """Refuse to watch what cannot be read; a journal that is locked now is read later."""
    with context.journal() as journal:
        problems = [note for note in context.notes if 'locked' not in note]
    if journal is None and problems:
        raise CommandError(Kind.UNAVAILABLE, problems[0])


def _follow(context: Context, feed: Feed, style: Optional[Style]) -> Iterator[str]:
    """Give text after text; without a style, documents."""
    shown: List[Item] = []
    drawn = ''
    while True:
        items = _read(context, feed)
        if style is None:
            yield from (json.dumps(build_document(**item.document)) for item in items)
        elif not style.is_terminal:
            yield from (item.text for item in items)
        else:
            shown = (shown + items)[-_KEPT:]
            text = _draw(context, shown, measured(style))
            if text != drawn:
                drawn = text
                yield _TO_THE_TOP + text
        context.sleep(LOOK_SECONDS)


def _read(context: Context, feed: Feed) -> List[Item]:
    """What is new; a journal that is not there, or locked, is looked at again."""
    try:
        with context.journal() as journal:
            return feed.read(journal) if journal is not None else []
    except RegistryError:
        return []


def _draw(context: Context, items: Sequence[Item], style: Style) -> str:
    """The whole view: a head, and as many of the newest lines as fit below it."""
    head = [style.colour(cut(f'=== vGPU boots and changes: {context.registry.path} ===',
                             style.width), 'title'),
            cut(_describe_daemon(context, style), style.width), '']
    room = max(1, style.height - len(head) - 1)
    names = {item.vm_uuid: escape(item.vm_name) for item in items if item.vm_name}
    texts = [(cut(item.brief(names), style.width), item.colour) for item in items[-room:]]
    lines = [style.colour(text, colour) if colour else text for text, colour in texts]
    return '\n'.join(head + (lines or ['Nothing is recorded yet.']) + ['(Ctrl-C ends this)'])


def _describe_daemon(context: Context, style: Style) -> str:
    """Who holds the lock, by what it wrote there: to try the lock would keep others from it."""
    holder = WriterLock(context.settings.registry.path).holder()
    try:
        with context.journal() as journal:
            return describe_watch(read_watch(
                holder, journal, time.time(), context.settings.scan.interval_seconds), style)
    except RegistryError as error:
        return f'Daemon: not known: {error}'
