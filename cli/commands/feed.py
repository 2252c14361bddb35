"""What is new in the journal: changes and boots, in the order in which they came.

The daemon and every command of ours write there, so that its reader sees all that
happens without asking XAPI.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from cli.commands.history import describe_entry
from cli.output.tables import describe_verdict, is_open, is_unasked
from cli.output.text import escape, name_vm, utc
from cli.output.vm_view import boot_document, entry_document
from cli.queries.vm_names import find_names, name_in
from registry.journal.journal import Journal
from registry.journal.receipts import Boot

# More than happens between two looks; what goes beyond is still in `history`.
_MANY = 1000
_GOOD_VERDICTS = ('as_desired', 'frozen')


class Item(NamedTuple):
    """One thing that happened, for people and for programs."""

    at: str
    text: str
    document: Dict[str, Any]
    colour: str = ''
    """good, bad or warn; '' for what is neither."""
    vm_uuid: str = ''
    vm_name: str = ''

    def brief(self, names: Mapping[str, str]) -> str:
        """The text for a narrow place: the time of day, and a name instead of the UUID."""
        text = self.text[len('YYYY-MM-DD '):]
        if not self.vm_uuid:
            return text
        name = names.get(self.vm_uuid) or f'VM {self.vm_uuid[:8]}'
        return text.replace(name_vm(self.vm_name, self.vm_uuid), name, 1)


class Feed:
    """Reads the journal again and again, and gives each thing once."""

    def __init__(self, registry_path: str, vm_uuid: Optional[str], limit: int,
                 find_host_name: Callable[[Optional[str]], Optional[str]]) -> None:
        self._registry_path = registry_path
        self._vm_uuid = vm_uuid
        self._limit = limit
        self._find_host_name = find_host_name
        self._last: Optional[Tuple[int, int]] = None
        """The newest number of the history, and of the boots; None before the first look."""
        self._open: Set[int] = set()
        self._names: Dict[str, Optional[str]] = {}

    def read(self, journal: Journal) -> List[Item]:
        """Read what is new, the oldest first; at first the newest `limit` things."""
        count = _MANY if self._last is not None else self._limit
        entries = journal.list_history(self._vm_uuid, count)
        boots = journal.list_boots(self._vm_uuid, count)
        entry_number, boot_number = self._last or (0, 0)
        new = [entry for entry in reversed(entries) if entry.id > entry_number]
        items = [self._describe_change(journal, entry) for entry in new]
        items += [_describe_boot(boot, self._find_host_name(boot.host)) for boot in reversed(boots)
                  if boot.id > boot_number or boot.id in self._open and boot.closed_at]
        items.sort(key=lambda item: item.at)
        self._open = {boot.id for boot in journal.open_boots()
                      if self._vm_uuid in (None, boot.vm_uuid)}
        is_first, self._last = self._last is None, (_newest(entries, entry_number),
                                                    _newest(boots, boot_number))
        return items[-self._limit:] if is_first else items

    def _describe_change(self, journal: Journal, entry: Any) -> Item:
        name = name_in(entry) or self._find_name(journal, entry.vm_uuid)
        return Item(entry.at, describe_entry(entry, name), {'change': entry_document(entry, name)},
                    vm_uuid=entry.vm_uuid or '', vm_name=name or '')

    def _find_name(self, journal: Journal, vm_uuid: Optional[str]) -> Optional[str]:
        """The name of a VM of which an entry says none; each is looked up once."""
        if vm_uuid is not None and vm_uuid not in self._names:
            self._names[vm_uuid] = find_names(self._registry_path, journal, [vm_uuid]).get(vm_uuid)
        return self._names.get(vm_uuid or '')


def _newest(found: Tuple[Any, ...], before: int) -> int:
    return max([before] + [item.id for item in found])


def _describe_boot(boot: Boot, host_name: Optional[str]) -> Item:
    """A boot when it begins, and once more when it has its verdict."""
    document = {'boot': dict(boot_document(boot, host_name) or {}, vm_uuid=boot.vm_uuid,
                             vm_name=boot.vm_name)}
    name = boot.vm_name or ''
    vm, where = name_vm(name, boot.vm_uuid), f' on {escape(host_name)}' if host_name else ''
    is_found = boot.kind == 'unknown'
    what = f'{vm} found running{where}' if is_found else f'{boot.kind} of {vm}{where}'
    at = boot.opened_at if is_open(boot) else boot.closed_at or boot.opened_at
    text = f'{utc(at)}  boot {boot.id}  {what}'
    if is_open(boot):
        return Item(at, text if is_found else f'{text} began', document, '', boot.vm_uuid, name)
    colour = '' if is_unasked(boot) else 'good' if boot.verdict in _GOOD_VERDICTS else \
        'warn' if boot.verdict in ('pending', 'unverified') else 'bad'
    return Item(at, f'{text}: {describe_verdict(boot)}', document, colour, boot.vm_uuid, name)
