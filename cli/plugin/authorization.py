"""Who calls the plugin, and may they?

XAPI lets pool administrators call host.call_plugin, but VM operators VM.call_host_plugin, which
reaches the same plugins with their session (xapi_vm.ml); and a plugin on a member is always given
a fresh session of XAPI's own, which may everything (message_forwarding.ml). So commands are
taken on the master only, where the session is the caller's, and from those who could call
host.call_plugin. And only where XAPI's local socket tells that this host is the master: by way of
another url one would learn who is, and not who we are.
"""

from typing import Any

from cli.forwarding.protocol import Request
from watcher.errors import WatcherError

NEEDED = 'host.call_plugin'


class CallRefused(WatcherError):
    """The caller may not, or this is not the place; nothing was done."""


def identify(live: Any, session: str, request: Request) -> str:
    """The name of the caller for the history; CallRefused when they may not edit here."""
    role = live.role
    if not role.is_local:
        raise CallRefused('[xapi] url of this host is no local socket, so that nothing tells '
                          'whether this host is the master')
    if live.master is not None:
        raise CallRefused('this host is a member of its pool; the registry is edited on the '
                          f'master, {live.master}')
    if not role.host or role.host != role.master:
        raise CallRefused('XAPI does not tell that this host is the master of its pool')
    client = live.client
    is_root = client.call('session.get_is_local_superuser', session)
    permissions = client.call('session.get_rbac_permissions', session)
    if is_root is not True and NEEDED not in [str(item).lower() for item in permissions or ()]:
        raise CallRefused(f'the caller needs the permission {NEEDED}, which pool administrators '
                          'have')
    name = str(client.call('session.get_auth_user_name', session)) or 'root'
    # root is believed whom it acts for; of others XAPI knows the name.
    name = request.user or name if is_root is True else name
    text = f'{name} on {request.host}' if request.host else f'{name} through XAPI'
    return ''.join(item for item in text if item.isprintable())[:200]
