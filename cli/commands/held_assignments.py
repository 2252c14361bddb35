"""What the mirror and the journal hold of a registry that is not there: no init loses it unasked.
"""

import os
from typing import Any, List, NamedTuple, Optional, Tuple

from cli.errors import CommandError, Kind
from cli.output.text import escape, plural, say_unasked
from cli.queries.overtaken import is_configured
from registry.errors import RegistryError
from registry.paths import NEW_SUFFIX
from watcher.errors import MalformedRecord, XapiError

_SHOWN = 5
# Another program that creates the registry is waited for.
_MAKER_SECONDS = 3.0
_PAUSE_SECONDS = 0.05
MIRROR, HISTORY = 'mirror', 'history'


class Held(NamedTuple):
    """Assignments that a place holds."""

    place: str
    """mirror or history."""
    total: int
    names: Tuple[str, ...] = ()

    def describe(self) -> str:
        """Say where they are, how many, and whose."""
        where = 'the mirror in XAPI' if self.place == MIRROR else 'the journal'
        shown = ', '.join(escape(name) for name in self.names[:_SHOWN])
        more = self.total - len(self.names[:_SHOWN])
        listed = f' ({shown}{f" and {more} more" if more > 0 else ""})' if shown else ''
        return f'{where} holds {plural(self.total, "VM")}{listed}'

    @property
    def cure(self) -> str:
        """The command that brings them back."""
        return ('vgpu-admin registry rebuild' if self.place == MIRROR
                else 'vgpu-admin registry rebuild --source=history')


def refuse_to_forget(context: Any, way_out: str) -> None:
    """Refuse to create a registry where assignments are held, and name the cure (P29)."""
    held = find_held(context)
    if held and not _came_meanwhile(context):
        raise CommandError(
            Kind.CONFLICT, f'the registry {context.registry.path} '
            f"{'has no rows' if os.path.exists(context.registry.path) else 'does not exist'}, but "
            f"{' and '.join(item.describe() for item in held)}: bring them back with "
            f"'{held[0].cure}'; {way_out}; nothing was changed")


def _came_meanwhile(context: Any) -> bool:
    """Whether another program has created the registry since it was looked for.

    The journal knows a registry before its file has the right name.
    """
    beside, deadline = context.registry.path + NEW_SUFFIX, context.clock() + _MAKER_SECONDS
    while True:
        is_made = os.path.lexists(beside)
        try:
            context.registry.read()
            return True
        except RegistryError:
            if not is_made or context.clock() >= deadline:
                return False
        context.sleep(_PAUSE_SECONDS)


def find_held(context: Any) -> List[Held]:
    """Find what is held, the better source first; what cannot be asked is a note."""
    held = [_find_in_mirror(context), _find_in_journal(context)]
    return [item for item in held if item is not None and item.total]


def note_carriers(context: Any) -> None:
    """Say how many VMs carry our arguments already: spans alone are no registry."""
    if not is_configured(context):
        return
    from watcher.config.policy import build_policy
    from watcher.vm.record import VmKind
    try:
        vms = context.live().read_vms()
    except (XapiError, MalformedRecord):
        return
    policy = build_policy(context.settings, True)
    count = sum(1 for vm in vms if vm.kind is VmKind.VM and policy.number_of(vm) is not None)
    if count:
        carries, them = ('carries', 'it') if count == 1 else ('carry', 'them')
        context.note(f"{plural(count, 'VM')} {carries} our arguments already: 'vgpu-admin adopt' "
                     f'registers {them}')


def _find_in_mirror(context: Any) -> Optional[Held]:
    if not is_configured(context):
        return None
    from cli.commands.mirror import read_mirror_view
    try:
        view = read_mirror_view(context)
        if view.mirror is None or view.collected is None:
            return None
        names = {vm.uuid: vm.name for vm in context.live().read_vms()}
    except (XapiError, MalformedRecord) as error:
        context.note(f'{say_unasked(error)}; whether it holds a mirror is not known')
        return None
    return Held(MIRROR, view.mirror.vms, tuple(
        sorted(names.get(vm.vm_uuid) or vm.vm_uuid for vm in view.collected.image.vms)))


def _find_in_journal(context: Any) -> Optional[Held]:
    try:
        with context.journal() as journal:
            past = journal.past(os.path.basename(context.registry.path)) if journal else None
    except RegistryError as error:
        context.note(str(error))
        return None
    if past is None:
        return None
    return Held(HISTORY, len(past.vms), tuple(vm.vm_name or vm.vm_uuid for vm in past.vms))
