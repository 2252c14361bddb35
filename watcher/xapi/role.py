"""May we write now: is this host the master, and is its XAPI new enough?

Asked once per connection: a change of master restarts XAPI on every host, and with it every
connection (docs/reference/wire.md). The resource pool's record names the master as well: when it
names another one, nothing is written until it has been asked again.
"""

import re
from typing import Mapping, NamedTuple, Optional, Tuple

from watcher.vm.record import PoolRecord
from watcher.xapi.identity import Identity

# Older ones have no frozen copy of the platform map: an edit of a running VM would reach the
# QEMU of its migration (P23).
OLDEST_XAPI = (22, 7)


class Role(NamedTuple):
    """What this daemon may do on this connection."""
    is_writer: bool
    is_local: bool
    """XAPI answers on this host's own socket: what runs here can be looked at."""
    host: str
    xapi_version: str
    refusal: str = ''
    """Why nothing is written; empty for a writer."""
    is_member: bool = False
    """Whether another host is the master."""
    master: str = ''
    """Ref of the master; empty when it is not known."""
    is_certain: bool = True
    """False when XAPI failed to tell something: it is to be asked again before long."""


class Mastery:
    """Whether the resource pool's record still names the master that the role rests on."""

    def __init__(self) -> None:
        self._asked: Optional[Tuple[str, str]] = None

    def has_moved(self, role: Role, pool: PoolRecord) -> bool:
        """Tell whether the role must be asked for again.

        Once per pair: an XAPI whose record says one thing and whose answer another is gone by
        its answer.
        """
        if role.master == pool.master:
            self._asked = None
        pair = (role.master, pool.master)
        if not role.master or role.master == pool.master or self._asked == pair:
            return False
        self._asked = pair
        return True


def decide_role(identity: Identity, *, is_local: bool) -> Role:
    """Decide from what XAPI says of itself. Over TCP a member does not let us in at all."""
    version, text = read_version(identity.software_version)
    host, master = identity.host, identity.master
    is_member = bool(is_local and host and master and host != master)
    role = Role(True, is_local, host, text, is_member=is_member, master=master,
                is_certain=identity.is_certain)
    oldest = '.'.join(map(str, OLDEST_XAPI))
    if version is None:
        return role._replace(is_writer=False, refusal='XAPI does not tell a version that can be '
                             f'read ({text!r}); {oldest} or later is needed')
    if version < OLDEST_XAPI:
        return role._replace(is_writer=False, refusal=f'XAPI {text} is older than {oldest}: it '
                             'keeps no frozen copy of a running VM\'s arguments')
    if role.is_member:
        return role._replace(is_writer=False, refusal='this host is not the master of its pool')
    if is_local and not (host and master):
        return role._replace(is_writer=False, refusal='XAPI does not tell whether this host is '
                             'the master of its pool')
    return role


def read_version(versions: Mapping[str, str]) -> Tuple[Optional[Tuple[int, int]], str]:
    """(major, minor) and the text. Of the two keys that name it, the older version counts."""
    texts = [str(versions[key]) for key in ('xapi', 'xapi_build') if versions.get(key)]
    parsed = []
    for text in texts:
        match = re.match(r'([0-9]{1,6})\.([0-9]{1,6})(\.|\Z|[^0-9])', text)
        if match is None:
            return None, text
        parsed.append(((int(match.group(1)), int(match.group(2))), text))
    return min(parsed) if parsed else (None, '')
