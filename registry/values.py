"""vGPU pools, VMs and the values they may have; the friendly side of the schema's constraints."""

import enum
import re
from typing import Any, Mapping, NamedTuple, Optional, Tuple, Union

from registry.errors import InvalidValue

# The programs that share the file read signed 32 bits.
MIN_VM_ID = 1
MAX_VM_ID = 2147483646
POOL_IDS = ('A', 'B')
# The GPU mediator, which reads the same file, has room for no more.
MEDIATOR_ROWS = 64
# Others have a buffer of 255 bytes for a name.
MAX_NAME_BYTES = 255
_SHOWN_CHARACTERS = 60
_UUID = re.compile(r'[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}')
# What may stand around a UUID that another program wrote, and is no part of it.
_AROUND_UUID = ' \t\r\n\v\f\0\'"{}'
_MAX_DIGITS = 20
_DIGITS = re.compile(r'[0-9]{1,10}')


class Priority(enum.IntEnum):
    """How urgent a VM's work is; the numbers are those of the file."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    @property
    def word(self) -> str:
        """Give the word that people and the device use."""
        return self.name.lower()


class Pool(NamedTuple):
    """One vGPU pool."""

    pool_id: str
    pool_name: str
    description: Optional[str] = None
    enabled: bool = True
    created_at: str = ''
    updated_at: str = ''


DEFAULT_POOLS = tuple(Pool(pool_id, f'Pool {pool_id}') for pool_id in POOL_IDS)
"""What a new registry has; a row that another program has taken away counts as this."""


class Vm(NamedTuple):
    """One registered VM and its assignment."""

    vm_id: int
    vm_uuid: str
    vm_name: Optional[str]
    pool_id: str
    priority: Priority
    created_at: str = ''
    updated_at: str = ''


class Origin(NamedTuple):
    """The generation of the mirror that an image is of, its digest, and those that led there."""

    generation: str
    digest: str
    line: Tuple[str, ...]
    resource_pool: str
    """The UUID of the one whose mirror it is."""


class Image(NamedTuple):
    """All that a registry shall say; `largest` is the largest vm_id ever given out."""

    vms: Tuple[Vm, ...]
    pools: Tuple[Pool, ...]
    largest: int
    origin: Optional[Origin] = None
    """None: it does not come from the mirror."""


class RowFault(NamedTuple):
    """A row of another program that cannot be taken for an assignment."""

    vm_uuid: str
    problem: str
    vm_name: str = ''

    @property
    def key(self) -> str:
        """Give the UUID of the VM that the row is about, as far as one can be told from it."""
        return strip_uuid(self.vm_uuid.lower())


class Contents(NamedTuple):
    """All that the registry file says, read in one transaction.

    `source` is the file's name: files in one directory share a journal, and must not pass for
    one another. `edition` counts our own edits of the file as of just before the reading (None:
    not known).
    It lets the journal tell a reading that is older than an edit from another program's edit.
    `missing` has the VMs that were in the state last accepted, where so many of them are gone that
    the file is doubtful (P17).
    """

    version: int
    pools: Tuple[Pool, ...]
    vms: Tuple[Vm, ...]
    faults: Tuple[RowFault, ...] = ()
    edition: Optional[int] = None
    source: str = ''
    missing: Tuple[Vm, ...] = ()

    @property
    def accepted(self) -> bool:
        """Tell whether our programs created the file, or a person accepted it."""
        return self.version >= 1

    @property
    def by_uuid(self) -> Mapping[str, Vm]:
        """Give the VMs by UUID (lower case); built at each access, so keep it for a loop."""
        return {vm.vm_uuid: vm for vm in self.vms}


def parse_uuid(text: str) -> str:
    """Check a VM's UUID, in any case, and give it in lower case."""
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        raise InvalidValue(
            f'vm_uuid: {shown(text)} is not a UUID; allowed: 32 hexadecimal digits in the form '
            'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx')
    return text.lower()


def strip_uuid(text: str) -> str:
    """Give a UUID without what another program left around it."""
    return text.strip(_AROUND_UUID)


def parse_pool_id(text: str) -> str:
    """Check the letter of a vGPU pool."""
    if text not in POOL_IDS:
        raise InvalidValue(f'pool: {shown(text)} is not a vGPU pool; allowed: A, B')
    return text


def parse_priority(word: str) -> Priority:
    """Turn a priority's word into its value."""
    for priority in Priority:
        if word == priority.word:
            return priority
    raise InvalidValue(f'priority: {shown(word)} is not a priority; allowed: low, medium, high')


def parse_vm_id(value: Union[str, int]) -> int:
    """Check a vm_id given as a number or as decimal digits."""
    number = value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value)
    if type(number) is not int or not MIN_VM_ID <= number <= MAX_VM_ID:
        raise InvalidValue(
            f'vm_id: {shown(value)} is not a vm_id; allowed: an integer from {MIN_VM_ID} to '
            f'{MAX_VM_ID}')
    return number


def clean_name(name: Optional[str]) -> Optional[str]:
    """Give a name as it is stored and shown: valid Unicode, no NUL, at most 255 bytes.

    Compare a name from elsewhere with a stored one only after cleaning it.
    """
    if name is None:
        return None
    data = name.replace('\0', '\ufffd').encode('utf-8', 'replace')
    return data[:MAX_NAME_BYTES].decode('utf-8', 'ignore')


def parse_json_integer(digits: str) -> int:
    """Read an integer of a JSON text of others, for its decoder.

    One of many thousand digits would cost seconds before Python 3.11, and is refused since.
    """
    if len(digits) > _MAX_DIGITS:
        raise InvalidValue(f'a number of {len(digits)} digits is too large: {digits[:20]}…')
    return int(digits)


def text_of(value: Any) -> Optional[str]:
    """Give any value found in a column as clean text; None stays None."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return clean_name(value.decode('utf-8', 'replace'))
    return clean_name(str(value))


def shown(value: Any) -> str:
    """Quote a value for a message, so that hostile text stays on one short line."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'
