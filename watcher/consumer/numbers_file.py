"""The files in /run between the daemon and the consumer: whose row has which number, and markers.

The consumer (deploy/qemu-wrapper) imports nothing of ours, so it has a reader of its own for the
first and a writer of its own for the second; tests hold the two against each other.

  numbers     `vgpu-watcher numbers 1 SHA256`, the digest being that of all that follows; lines
              `key value`; an empty line; and a line `number UUID` for each row.
  a marker    `vgpu-watcher withheld 1`, and lines `key value`: the span of a domain was withheld.

Pure: no clock, no I/O, no logging.
"""

import hashlib
import re
from typing import Dict, NamedTuple, Optional, Tuple

from watcher.errors import WatcherError

NUMBERS = 'numbers'
"""The name of the first, in the run directory."""
WITHHELD = 'withheld'
"""The directory of the markers there: one file for each domain, named by its number."""
MAX_BYTES = 4 << 20
MAX_MARKER_BYTES = 4096
MAX_AGE_SECONDS = 300.0
"""A confirmation that is older does not count (P26)."""

_NUMBERS = 'vgpu-watcher numbers 1 '
_MARKER = 'vgpu-watcher withheld 1'
_ROWS = re.compile(r'(?:[1-9][0-9]{0,9} [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n)*\Z')
_WORD = re.compile(r'[A-Za-z0-9._:/-]{0,200}\Z')
_SECONDS = re.compile(r'[0-9]{1,12}(?:\.[0-9]{1,6})?\Z')

Rows = Tuple[Tuple[int, str], ...]


class NumberFileInvalid(WatcherError):
    """The content of a file in /run is not one that we or the consumer wrote."""


class Numbers(NamedTuple):
    """Whose row has which number, and when that was last known to be so."""
    rows: Rows = ()
    boot_id: str = ''
    """The boot of the host whose clock `confirmed_at` is of."""
    confirmed_at: Optional[float] = None
    """On CLOCK_BOOTTIME; None when it was never confirmed."""
    pool: str = ''
    """The UUID of the resource pool."""
    generation: str = ''
    """The generation of the registry, as the mirror counts them."""

    def age(self, boot_id: str, now: float) -> Optional[float]:
        """Seconds since it was confirmed; None when it was not, on this boot of the host."""
        if self.confirmed_at is None or not boot_id or self.boot_id != boot_id:
            return None
        return now - self.confirmed_at if now >= self.confirmed_at else None

    def is_confirmed(self, boot_id: str, now: float) -> bool:
        """Whether the consumer goes by it."""
        age = self.age(boot_id, now)
        return age is not None and age <= MAX_AGE_SECONDS


class Withheld(NamedTuple):
    """A domain whose span the consumer withheld."""
    boot_id: str
    vm_uuid: str
    domid: int
    at: float
    """When, on CLOCK_BOOTTIME."""
    number: int
    owner: str
    """The VM whose row has the number."""
    span: str


def render_numbers(numbers: Numbers) -> bytes:
    """The content of the file of the numbers."""
    confirmed_at = '' if numbers.confirmed_at is None else f'{numbers.confirmed_at:.3f}'
    # Other programs' text stands in none of these; what does not fit is left out.
    fields = [('boot_id', numbers.boot_id), ('confirmed_at', confirmed_at),
              ('pool', numbers.pool), ('generation', numbers.generation)]
    lines = [f'{key} {value}' if _WORD.match(value) else f'{key} ' for key, value in fields]
    lines += [''] + [f'{vm_id} {vm_uuid}' for vm_id, vm_uuid in numbers.rows]
    rest = ''.join(line + '\n' for line in lines)
    digest = hashlib.sha256(rest.encode('ascii')).hexdigest()
    return f'{_NUMBERS}{digest}\n{rest}'.encode('ascii')


def parse_numbers(content: bytes) -> Numbers:
    """Read the file of the numbers; NumberFileInvalid when it is not whole."""
    first, _newline, rest = content.partition(b'\n')
    digest = hashlib.sha256(rest).hexdigest()
    if first != (_NUMBERS + digest).encode('ascii'):
        raise NumberFileInvalid('it is not whole')
    head, _empty, rows = _decode(rest).partition('\n\n')
    fields = _parse_fields(head)
    if not _ROWS.match(rows):
        raise NumberFileInvalid('its rows cannot be understood')
    pairs = tuple((int(number), vm_uuid) for number, _blank, vm_uuid in (
        line.partition(' ') for line in rows.splitlines()))
    at = fields.get('confirmed_at', '')
    return Numbers(pairs, fields.get('boot_id', ''), _parse_seconds(at) if at else None,
                   fields.get('pool', ''), fields.get('generation', ''))


def parse_marker(content: bytes) -> Withheld:
    """Read a marker; NumberFileInvalid when it is none."""
    first, _newline, rest = _decode(content[:MAX_MARKER_BYTES]).partition('\n')
    fields = _parse_fields(rest)
    number, domid = fields.get('number', ''), fields.get('domid', '')
    if first != _MARKER or not all(re.match(r'[0-9]{1,20}\Z', text) for text in (number, domid)):
        raise NumberFileInvalid('it is no marker')
    return Withheld(fields.get('boot_id', ''), fields.get('vm_uuid', ''), int(domid),
                    _parse_seconds(fields.get('at', '')), int(number), fields.get('owner', ''),
                    fields.get('span', ''))


def _decode(content: bytes) -> str:
    try:
        return content.decode('ascii')
    except ValueError as error:
        raise NumberFileInvalid('it is not ASCII') from error


def _parse_fields(text: str) -> Dict[str, str]:
    return {key: value for key, _blank, value in (
        line.partition(' ') for line in text.splitlines())}


def _parse_seconds(text: str) -> float:
    if not _SECONDS.match(text):
        raise NumberFileInvalid(f'{ascii(text[:40])} is no time')
    return float(text)
