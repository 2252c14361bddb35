"""What makes an entry of the mirror authentic: a code that only the hosts of the pool can make.

The key is derived from the pool's secret, which root alone may read and all hosts share. A code
covers the record on which an entry stands, and the whole text: resource pool, generation, content.
So an entry that was forged, changed, or moved to another record has no valid one. Pure: no clock,
no I/O, no logging.
"""

import hashlib
import hmac
import json
from typing import NamedTuple, Sequence, Tuple

# The secret is XAPI's: what we make of it is of no use elsewhere, and reveals nothing of it.
LABEL = b'vgpu-watcher: codes of the mirror, 1'
# The key that the pool has now, and the one before: a rotation reaches one host after another.
KEYS = 2
_FORMAT = '1-'


class Trust(NamedTuple):
    """By which keys entries are judged."""
    keys: Tuple[bytes, ...] = ()
    """The newest first; with it new entries are signed."""
    is_required: bool = False
    """A valid code was seen in this resource pool: from then on nothing counts without one."""

    def find_signer(self, record: str, texts: Sequence[str], code: str) -> int:
        """Which key has signed, from 1 on; 0 for none that is known."""
        if not code.startswith(_FORMAT):
            return 0
        given = code[len(_FORMAT):].encode('ascii', 'replace')
        content = _content(record, texts)
        for place, key in enumerate(self.keys, 1):
            if hmac.compare_digest(given, _mac(key, content)):
                return place
        return 0

    def sign(self, record: str, texts: Sequence[str]) -> str:
        """The code for the texts of an entry on a record; '' without a key."""
        return _FORMAT + _mac(self.keys[0], _content(record, texts)).decode('ascii') \
            if self.keys else ''


NO_TRUST = Trust()


def derive_key(secret: bytes) -> bytes:
    """The key for codes, made of the pool's secret."""
    return hmac.new(secret, LABEL, hashlib.sha256).digest()


def _content(record: str, texts: Sequence[str]) -> bytes:
    return json.dumps([record] + list(texts)).encode('ascii')


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode('ascii')
