"""Which VM is meant: by UUID or by name, the registry first and XAPI second."""

import unicodedata
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from cli.commandline.options import VM_NAME, VM_UUID, VMS
from cli.errors import CommandError, Kind
from cli.output.text import escape, nearest, say_unasked, then_see
from registry.errors import InvalidValue
from registry.values import Contents, clean_name, parse_uuid
from watcher.errors import XapiError


class NamedVm(NamedTuple):
    """The VM that a command is about."""

    vm_uuid: str
    name: Optional[str] = None
    """The name that was given, or found in looking for it."""


def find_target(context: Any, contents: Optional[Contents], *, everywhere: bool = False) -> NamedVm:
    """Find the VM that the arguments name; with `everywhere` a name must be unique in XAPI too."""
    vm_uuid, name = context.arguments.get(VM_UUID), clean_name(context.arguments.get(VM_NAME))
    if vm_uuid is not None:
        return _with_name(contents, vm_uuid, name)
    return _find_named(context, contents, name, everywhere=everywhere)


def find_targets(context: Any, contents: Contents) -> Tuple[NamedVm, ...]:
    """Find the VMs that several bare words name, each once; all that cannot be found are
    reported."""
    found: Dict[str, NamedVm] = {}
    problems: List[CommandError] = []
    for word in context.arguments.get(VMS):
        try:
            target = _find_word(context, contents, word)
            found[target.vm_uuid] = target
        except CommandError as error:
            problems.append(error)
    if problems:
        raise CommandError(problems[0].kind, '\n'.join(
            [str(problem) for problem in problems] + ['nothing was changed']))
    return tuple(found.values())


def _find_word(context: Any, contents: Contents, word: str) -> NamedVm:
    """The VM that a bare word names: a UUID, or a name."""
    try:
        return NamedVm(parse_uuid(word))
    except InvalidValue:
        return _find_named(context, contents, clean_name(word))


def _find_named(context: Any, contents: Optional[Contents], name: Optional[str], *,
                everywhere: bool = False) -> NamedVm:
    found = _find_in_registry(contents, name)
    if everywhere or not found:
        found = dict(_find_in_xapi(context, contents, name, is_needed=not found), **found)
    if not found:
        _refuse_invalid(contents, name, Kind.NOT_FOUND)
        hint = _find_alike(context, contents, name or '')
        raise CommandError(Kind.NOT_FOUND, then_see(
            f"no VM has the name '{escape(name)}', neither in the registry nor in XAPI{hint}",
            'vgpu-admin scan-vms'))
    if len(found) > 1:
        listed = ', '.join(f'{uuid} ({where})' for uuid, where in sorted(found.items()))
        raise CommandError(Kind.CONFLICT, f"the name '{escape(name)}' fits {len(found)} VMs: "
                           f"{listed}; name the VM by --vm-uuid=UUID")
    vm_uuid = next(iter(found))
    context.named[vm_uuid] = escape(name)
    return NamedVm(vm_uuid, name)


def _with_name(contents: Optional[Contents], vm_uuid: str, name: Optional[str]) -> NamedVm:
    """With both given, the UUID counts, and the name must not belong to another VM."""
    row = contents.by_uuid.get(vm_uuid) if contents else None
    if name is not None and row is not None and row.vm_name not in (None, name):
        raise CommandError(Kind.CONFLICT, f"VM {vm_uuid} has the name '{escape(row.vm_name)}' in "
                           f"the registry, not '{escape(name)}'; leave --vm-name out")
    return NamedVm(vm_uuid, name)


def _find_in_registry(contents: Optional[Contents], name: Optional[str]) -> Dict[str, str]:
    vms = contents.vms if contents else ()
    return {vm.vm_uuid: 'registered' for vm in vms if vm.vm_name == name}


def _find_alike(context: Any, contents: Optional[Contents], name: str) -> str:
    """The hint at the name that could have been meant; asked for after a mistake only."""
    known = {clean_name(vm.name) or '': vm.uuid for vm in context.live().read_vms()
             if vm.kind.value == 'vm'}
    known.update((vm.vm_name or '', vm.vm_uuid) for vm in (contents.vms if contents else ()))
    return name_alike(name, known)


def name_alike(name: str, known: Mapping[str, str]) -> str:
    """A hint at the nearest name (name -> UUID); at the UUID where both look the same."""
    for other, vm_uuid in sorted(known.items()):
        if _appearance_of(other) == _appearance_of(name):
            return f'; VM {vm_uuid} has a name that looks the same: name it by --vm-uuid={vm_uuid}'
    return nearest(name, list(known))


def _appearance_of(name: str) -> str:
    """What a person sees of a name: composed, its odd characters as we show them."""
    return ' '.join(unicodedata.normalize('NFC', escape(name)).split())


def _refuse_invalid(contents: Optional[Contents], name: Optional[str], kind: Kind) -> None:
    """Of a row that is not valid it is not said that the registry has none."""
    if contents is not None and name in [clean_name(fault.vm_name) for fault in contents.faults]:
        raise CommandError(kind, f"the row of '{escape(name)}' is not valid: see 'vgpu-admin "
                           "check'")


def _find_in_xapi(context: Any, contents: Optional[Contents], name: Optional[str], *,
                  is_needed: bool) -> Dict[str, str]:
    try:
        vms = context.live().read_vms()
    except XapiError as error:
        if not is_needed:
            return {}
        _refuse_invalid(contents, name, Kind.UNAVAILABLE)
        raise CommandError(Kind.UNAVAILABLE, f"the name '{escape(name)}' is not in the registry, "
                           f'and {say_unasked(error)}; name the VM by --vm-uuid=UUID') from error
    return {vm.uuid: vm.power_state.value for vm in vms
            if vm.kind.value == 'vm' and clean_name(vm.name) == name}
