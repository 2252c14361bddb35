"""Which fields and tables a release of xapi has not yet.  Pure."""

from typing import Any, Dict, Tuple

Version = Tuple[int, ...]

# (table, field) -> the first release with it; what is not named is there in all of them.
FIELDS: Dict[Tuple[str, str], Version] = {
    ('VM', 'secureboot_certificates_state'): (26, 14),
    ('host', 'console_idle_timeout'): (25, 21),
    ('host', 'ssh_enabled'): (25, 21),
    ('host', 'ssh_enabled_timeout'): (25, 21),
    ('host', 'ssh_expiry'): (25, 21),
    ('host', 'ssh_auto_mode'): (25, 27),
    ('host', 'secure_boot'): (25, 31),
    ('host', 'max_cstate'): (26, 0),
    ('host', 'ntp_mode'): (26, 0),
    ('host', 'ntp_custom_servers'): (26, 0),
    ('host', 'timezone'): (26, 0),
    ('pool', 'license_server'): (25, 6),
    ('pool', 'ha_reboot_vm_on_internal_shutdown'): (25, 16),
    ('pool', 'auto_update_vm_secureboot_certificates'): (26, 14),
}
TABLES = {'Caller': (26, 17), 'Rate_limit': (26, 17)}
API_MINOR = (((26, 14), 23), ((0,), 21))  # 26.1.4 has 21, 26.17 has 23; between them is a guess


def has_table(table: str, version: Version) -> bool:
    """Ask whether a release has a table."""
    return version >= TABLES.get(table, (0,))


def has_field(table: str, field: str, version: Version) -> bool:
    """Ask whether a release has a field."""
    return version >= FIELDS.get((table, field), (0,))


def drop_newer(table: str, fields: Dict[str, Any], version: Version) -> Dict[str, Any]:
    """Leave out the fields that a release has not yet."""
    return {name: value for name, value in fields.items()
            if has_field(table, name, version)}


def api_minor(version: Version) -> int:
    """Return the minor version of the API of a release."""
    return next(minor for first, minor in API_MINOR if version >= first)
