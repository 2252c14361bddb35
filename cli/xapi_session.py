"""A session with XAPI for one command: who answers, whether edits are welcome, all VM records.

Asking is short: an XAPI that does not answer must not hold up an edit of the registry.
"""

import contextlib
import time
from typing import Any, Dict, Iterator, Optional, Tuple

from watcher.config.settings import Settings
from watcher.errors import (NoAnswer, NotTheMaster, VmVanished, XapiError, XapiFailure,
                            XapiUnreachable)
from watcher.vm.record import PoolRecord, VmRecord
from watcher.xapi.blocking_client import BlockingClient
from watcher.xapi.client import LOGOUT_TIMEOUT_SECONDS
from watcher.xapi.identity import Identity
from watcher.xapi.record_parser import parse_pool, parse_records
from watcher.xapi.role import Role, decide_role

# Time in all to log in and to learn who answers.
ASK_SECONDS = 2.0
# Time for what an edit wants to read: after it the edit is committed without having been checked.
READ_SECONDS = 3.0
CALL_SECONDS = 15.0
# All VMs are read once for a command's checks, however many of them look.
RECENT_SECONDS = 1.0


class Live:
    """A session with XAPI; who answers is learned when it is first asked for."""

    def __init__(self, settings: Settings, client: BlockingClient, *,
                 refused_by: Optional[str] = None) -> None:
        self.client = client
        self.noted_host = ''
        """The ref of this host, where it is known: then it is not asked for on the master."""
        self.odd: Dict[str, str] = {}
        """UUID -> what is wrong with its record, of those that were left out."""
        self._settings = settings
        self._is_local = settings.xapi.address.scheme == 'unix'
        self._master = refused_by
        self._master_ref: Optional[str] = None
        self._role = Role(False, self._is_local, '', '') if refused_by else None
        self._hosts: Optional[Tuple[str, str]] = ('', '') if refused_by else None
        self._refs: Dict[str, str] = {}
        self._vms: Tuple[VmRecord, ...] = ()
        self._read_at: Optional[float] = None
        self._pools: Dict[str, Any] = {}

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
        if self._is_local:
            self._need_hosts()
        return self._master

    @property
    def master_ref(self) -> Optional[str]:
        """The master's ref, when this host is a member that can forward calls to it."""
        if self._is_local:
            self._need_hosts()
        return self._master_ref

    def close(self) -> None:
        """Log out, unless XAPI does not answer."""
        with self.client.limited(LOGOUT_TIMEOUT_SECONDS):
            self.client.logout()

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Inside the block all reads together come to an end soon: an edit waits for them."""
        patient = self.client
        self.client = _build_asking_client(self._settings, patient, READ_SECONDS)
        try:
            yield
        finally:
            self.client.close()
            self.client = patient

    def read_vms(self, *, may_be_old: bool = False) -> Tuple[VmRecord, ...]:
        """Read all VM records in one call; odd ones are left out, and kept in `odd`.

        `may_be_old` takes what this command has read within the last second.
        """
        self._need_session()
        if may_be_old and self._read_at is not None \
                and time.monotonic() - self._read_at < RECENT_SECONDS:
            return self._vms
        self._vms, malformed = parse_records(self.client.read_vms())
        self.odd = {self._read_uuid(error.ref): str(error) for error in malformed}
        self._read_at = time.monotonic()
        return self._vms

    def read_pool_record(self) -> PoolRecord:
        """Read the resource pool's record, with the mirror's entry."""
        self._need_session()
        record = self.client.read_pool(self.client.read_pool_ref())
        if record is None:
            raise XapiUnreachable('XAPI does not give a record of its pool that can be read')
        return record

    def find_pool_record(self) -> PoolRecord:
        """The same; where this session has learned from it who is master, as it was then."""
        found = [parse_pool(ref, record) for ref, record in self._pools.items()]
        return found[0] if len(found) == 1 and found[0] is not None else self.read_pool_record()

    def find_vm(self, vm_uuid: str) -> Optional[VmRecord]:
        """Read one VM, of any kind; MalformedRecord when it cannot be understood."""
        self._need_session()
        if vm_uuid in self._refs:
            # It is looked at again and again; one that was imported again has another ref.
            with contextlib.suppress(VmVanished):
                return self.client.read_vm(self._refs[vm_uuid])
        try:
            self._refs[vm_uuid] = str(self.client.call('VM.get_by_uuid', vm_uuid))
            return self.client.read_vm(self._refs[vm_uuid])
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

    def _need_hosts(self) -> None:
        """Learn which host this is and which the master: all that an edit must know."""
        if self._hosts is not None:
            return
        with self._asking() as asking:
            self._pools = _read_pools(asking)
            self._hosts = _find_hosts(asking, self._pools, self.noted_host)
            if self._hosts is None:
                identity = asking.read_identity()
                self._hosts = identity.host, identity.master
                self._role = decide_role(identity, is_local=self._is_local)
            host, master = self._hosts
            if self._is_local and host != master:
                self._master_ref = master
                self._master = str(asking.call('host.get_name_label', master))

    def _learn(self) -> None:
        self._need_hosts()
        if self._role is not None or self._hosts is None:
            return
        host, master = self._hosts
        with self._asking() as asking:
            version = _ask(asking, 'host.get_software_version', host)
            identity = Identity(host, master, version) if isinstance(version, dict) \
                else asking.read_identity()
        self._role = decide_role(identity, is_local=self._is_local)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[BlockingClient]:
        asking = _build_asking_client(self._settings, self.client)
        try:
            yield asking
        except XapiFailure as error:
            raise XapiUnreachable(f'XAPI does not say who it is: {error}') from error
        finally:
            asking.close()


def _read_pools(client: BlockingClient) -> Dict[str, Any]:
    """The records of resource pools, of which there is one; none where XAPI does not tell them."""
    pools = _ask(client, 'pool.get_all_records')
    return pools if isinstance(pools, dict) else {}


def _find_hosts(client: BlockingClient, pools: Dict[str, Any],
                noted_host: str) -> Optional[Tuple[str, str]]:
    """This host and the master, in one call; None where XAPI tells it in another way.

    No call is needed where the master is the host that this one is noted to be.
    """
    records = list(pools.values())
    master = records[0].get('master') if len(records) == 1 and isinstance(records[0], dict) else ''
    host = noted_host if master and noted_host == master else \
        _ask(client, 'session.get_this_host', client.handle) if master else ''
    found = [text for text in (host, master) if isinstance(text, str) and text]
    return (found[0], found[1]) if len(found) == 2 else None


def _ask(client: BlockingClient, method: str, *params: Any) -> Any:
    """An answer; None where XAPI has none, and must be asked in another way."""
    try:
        return client.call(method, *params)
    except XapiError as error:
        if isinstance(error, XapiUnreachable) and not isinstance(error, NoAnswer):
            raise
        return None


def open_session(settings: Settings) -> Live:
    """Log in, or raise XapiError soon."""
    asking = _build_asking_client(settings, None)
    try:
        asking.login()
    except NotTheMaster as error:
        return Live(settings, asking, refused_by=' '.join(error.params))
    except XapiFailure as error:
        # While XAPI starts, any failure is possible, and all of them pass.
        raise XapiUnreachable(f'XAPI refuses: {error}') from error
    finally:
        asking.close()
    client = BlockingClient(settings.xapi, handle=asking.handle, timeout_seconds=CALL_SECONDS,
                            speaks_json=asking.speaks_json)
    return Live(settings, client)


def _build_asking_client(settings: Settings, session: Optional[BlockingClient],
                         seconds: float = ASK_SECONDS) -> BlockingClient:
    """A client whose calls come to an end together, and soon; in the session of another."""
    return BlockingClient(settings.xapi, handle=session.handle if session else None,
                          timeout_seconds=seconds, ends_at=time.monotonic() + seconds,
                          speaks_json=bool(session and session.speaks_json))
