"""A session with XAPI for one command: who answers, whether edits are welcome, all VM records.

Asking is short: an XAPI that does not answer must not hold up an edit of the registry.
"""

import time
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple

from watcher.config import Settings
from watcher.errors import (MalformedRecord, NotTheMaster, VmVanished, XapiFailure,
                            XapiUnreachable)
from watcher.plan import Policy, list_numbers
from watcher.records import Kind, VmRecord, parse_records
from watcher.roles import Role, decide_role
from watcher.xapi import Client

# Time in all to log in and to learn who answers.
ASK_SECONDS = 2.0
CALL_SECONDS = 15.0


class Numbers(NamedTuple):
    """The numbers that VMs, templates and snapshots carry in XAPI."""

    taken: Mapping[int, str]
    """number -> the unregistered VM that bears it, in words."""
    largest: int


class Live:
    """A session with XAPI."""

    def __init__(self, client: Client, role: Role, master: Optional[str]) -> None:
        self.client = client
        self.role = role
        self.master = master
        """The name of the master, when this host is another one."""

    def close(self) -> None:
        """Log out, unless XAPI does not answer."""
        self.client.logout()

    def read_vms(self) -> Tuple[VmRecord, ...]:
        """Read all VM records in one call; odd ones are left out."""
        self._need_session()
        return parse_records(self.client.read_vms())[0]

    def find_vm(self, vm_uuid: str) -> Optional[VmRecord]:
        """Read one VM, of any kind."""
        self._need_session()
        try:
            return self.client.read_vm(str(self.client.call('VM.get_by_uuid', vm_uuid)))
        except (VmVanished, MalformedRecord):
            return None
        except XapiFailure as error:
            if error.code == 'UUID_INVALID':
                return None
            raise

    def _need_session(self) -> None:
        if self.client.handle is None:
            raise NotTheMaster('HOST_IS_SLAVE', (str(self.master),))


def open_session(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Live:
    """Log in and learn who answers, or raise XapiError soon."""
    deadline = clock() + ASK_SECONDS
    asking = Client(settings.xapi, timeout_seconds=ASK_SECONDS,
                    is_given_up=lambda: clock() > deadline)
    is_local = settings.xapi.address.scheme == 'unix'
    try:
        asking.login()
        identity = asking.read_identity()
        master = None
        if is_local and identity.host != identity.master:
            master = str(asking.call('host.get_name_label', identity.master))
    except NotTheMaster as error:
        return Live(asking, Role(False, is_local, '', ''), ' '.join(error.params))
    except XapiFailure as error:
        # While XAPI starts, any failure is possible, and all of them pass.
        raise XapiUnreachable(f'XAPI refuses: {error}') from error
    client = Client(settings.xapi, handle=asking.handle, timeout_seconds=CALL_SECONDS)
    asking.close()
    return Live(client, decide_role(identity, is_local=is_local), master)


def find_numbers(vms: Tuple[VmRecord, ...], policy: Policy, registered: Any,
                 own_uuid: str) -> Numbers:
    """Find which numbers are borne in XAPI, and by whom; the VM's own do not count as taken."""
    carried = list_numbers(vms, policy)
    taken = {number: f'VM {vm.uuid} ({vm.name}), which is not registered but carries it'
             for vm, number in carried
             if vm.kind is Kind.VM and vm.uuid not in registered and vm.uuid != own_uuid}
    return Numbers(taken, max([number for _vm, number in carried] or [0]))
