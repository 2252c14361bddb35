"""Who may call what: XAPI's roles, coarsely. root, and every user of a local socket, may all."""

from typing import Any

from simulator.wire.failures import Failure

# From the most to the least powerful, as RBAC has them.
ROLES = ('pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator', 'read-only')
ADMIN_CALLS = ('host.call_plugin', 'pool.designate_new_master', 'pool.recover_slaves',
               'pool.emergency_transition_to_master', 'pool.emergency_reset_master')
FOR_ALL = ('session', 'event', 'task', 'system', 'sim')
WRITES = ('set_', 'add_', 'remove_')


def check(caller: Any, name: str) -> None:
    """Raise RBAC_PERMISSION_DENIED when the caller's role is too small for a call."""
    needed = find_needed(name)
    if ROLES.index(caller.role) > ROLES.index(needed):
        allowed = ', '.join(ROLES[:ROLES.index(needed) + 1])
        raise Failure('RBAC_PERMISSION_DENIED', [
            name, f'No permission in user session. (Roles with this permission: {allowed})'])


def find_needed(name: str) -> str:
    """Return the smallest role that may make a call."""
    plain = name[len('Async.'):] if name.startswith('Async.') else name
    table, _, verb = plain.partition('.')
    if plain in ADMIN_CALLS:
        return 'pool-admin'
    if table in FOR_ALL or verb.startswith('get_'):
        return 'read-only'
    if table not in ('VM', 'VBD', 'VIF', 'message'):
        return 'pool-operator'
    return 'vm-admin' if verb.startswith(WRITES) or verb in ('create', 'destroy') \
        else 'vm-operator'
