"""A session with XAPI for one command: who answers, whether edits are welcome, all VM records.

Asking is short: an XAPI that does not answer must not hold up an edit of the registry.
"""

import contextlib
import time
from typing import Callable, Dict, Iterator, Optional, Tuple

from watcher.config.settings import Settings
from watcher.errors import NotTheMaster, VmVanished, XapiError, XapiFailure, XapiUnreachable
from watcher.vm.record import PoolRecord, VmRecord, parse_records
from watcher.xapi.client import LOGOUT_TIMEOUT_SECONDS, Client
from watcher.xapi.role import Role, decide_role

# Time in all to log in and to learn who answers.
ASK_SECONDS = 2.0
# Time for what an edit wants to read: after it the edit is committed without having been checked.
READ_SECONDS = 3.0
CALL_SECONDS = 15.0


class Live:
    """A session with XAPI; who answers is learned when it is first asked for."""

    def __init__(self, settings: Settings, client: Client, *, refused_by: Optional[str] = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.odd: Dict[str, str] = {}
        """UUID -> what is wrong with its record, of those that were left out."""
        self._settings = settings
        self._clock = clock
        self._is_local = settings.xapi.address.scheme == 'unix'
        self._master = refused_by
        self._master_ref: Optional[str] = None
        self._role = Role(False, self._is_local, '', '') if refused_by else None

    @property
    def role(self) -> Role:
        """What may be done here; raises XapiError when XAPI does not say so soon."""
        if self._role is None:
            self._learn()
        assert self._role is not None
        return self._role

    @property
    def master(self) -> Optional[str]:
        """The name of the master, when this host is another one."""
        return self._master if self.role else None

    @property
    def master_ref(self) -> Optional[str]:
        """The master's ref, when this host is a member that can forward calls to it."""
        return self._master_ref if self.role else None

    def close(self) -> None:
        """Log out, unless XAPI does not answer."""
        with self.client.limited(LOGOUT_TIMEOUT_SECONDS):
            self.client.logout()

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Inside the block all reads together come to an end soon: an edit waits for them."""
        patient = self.client
        self.client = _build_asking_client(self._settings, patient, self._clock, READ_SECONDS)
        try:
            yield
        finally:
            self.client.close()
            self.client = patient

    def read_vms(self) -> Tuple[VmRecord, ...]:
        """Read all VM records in one call; odd ones are left out, and kept in `odd`."""
        self._need_session()
        vms, malformed = parse_records(self.client.read_vms())
        self.odd = {self._read_uuid(error.ref): str(error) for error in malformed}
        return vms

    def read_pool_record(self) -> PoolRecord:
        """Read the resource pool's record, with the mirror's entry."""
        self._need_session()
        record = self.client.read_pool(self.client.read_pool_ref())
        if record is None:
            raise XapiUnreachable('XAPI does not give a record of its pool that can be read')
        return record

    def find_vm(self, vm_uuid: str) -> Optional[VmRecord]:
        """Read one VM, of any kind; MalformedRecord when it cannot be understood."""
        self._need_session()
        try:
            return self.client.read_vm(str(self.client.call('VM.get_by_uuid', vm_uuid)))
        except VmVanished:
            return None
        except XapiFailure as error:
            if error.code == 'UUID_INVALID':
                return None
            raise

    def find_host_name(self, ref: str) -> Optional[str]:
        """Find the name of a host; None when XAPI has no such host, or does not say."""
        try:
            self._need_session()
            with self.hurried():
                return str(self.client.call('host.get_name_label', ref))
        except XapiError:
            return None

    def _read_uuid(self, ref: str) -> str:
        """The UUID of a VM whose record is odd; its ref when XAPI does not say."""
        try:
            return str(self.client.call('VM.get_uuid', ref)).lower()
        except XapiFailure:
            return ref

    def _need_session(self) -> None:
        if self.client.handle is None:
            raise NotTheMaster('HOST_IS_SLAVE', (str(self._master),))

    def _learn(self) -> None:
        asking = _build_asking_client(self._settings, self.client, self._clock)
        try:
            identity = asking.read_identity()
            if self._is_local and identity.host != identity.master:
                self._master_ref = identity.master
                self._master = str(asking.call('host.get_name_label', identity.master))
        except XapiFailure as error:
            raise XapiUnreachable(f'XAPI does not say who it is: {error}') from error
        finally:
            asking.close()
        self._role = decide_role(identity, is_local=self._is_local)


def open_session(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Live:
    """Log in, or raise XapiError soon."""
    asking = _build_asking_client(settings, None, clock)
    try:
        asking.login()
    except NotTheMaster as error:
        return Live(settings, asking, refused_by=' '.join(error.params), clock=clock)
    except XapiFailure as error:
        # While XAPI starts, any failure is possible, and all of them pass.
        raise XapiUnreachable(f'XAPI refuses: {error}') from error
    finally:
        asking.close()
    # Only a client whose calls can be given up heeds a shorter limit.
    client = Client(settings.xapi, handle=asking.handle, timeout_seconds=CALL_SECONDS,
                    is_given_up=lambda: False, speaks_json=asking.speaks_json)
    return Live(settings, client, clock=clock)


def _build_asking_client(settings: Settings, session: Optional[Client],
                         clock: Callable[[], float], seconds: float = ASK_SECONDS) -> Client:
    """A client whose calls come to an end together, and soon; in the session of another."""
    deadline = clock() + seconds
    return Client(settings.xapi, handle=session.handle if session else None,
                  timeout_seconds=seconds, is_given_up=lambda: clock() > deadline,
                  speaks_json=bool(session and session.speaks_json))
