"""Messages: the alerts of XAPI, which are no database rows and have generations of their own."""

from typing import Any, Dict, List, NamedTuple, Tuple

from simulator.database.rows import Database
from simulator.database.schema import Names
from simulator.wire.rpc import Date

LIMIT = 1024


class Message(NamedTuple):
    """One message, and the generation in which it came."""
    generation: int
    ref: str
    record: Dict[str, Any]


class Messages:
    """The messages since xapi started."""

    def __init__(self, database: Database, names: Names) -> None:
        self._database = database
        self._names = names
        self._kept: List[Message] = []

    @property
    def count(self) -> int:
        """How many messages there are."""
        return len(self._kept)

    def create(self, name: str, about: str, uuid: str, body: str, now: str) -> str:
        """Add a message, and wake who listens for messages."""
        with self._database.lock:
            self._database.generation += 1
            ref = self._names.ref()
            record = {'uuid': self._names.uuid(), 'name': name, 'priority': 5, 'cls': about,
                      'obj_uuid': uuid, 'timestamp': Date(now), 'body': body}
            self._kept.append(Message(self._database.generation, ref, record))
            del self._kept[:-LIMIT]
            for observer in self._database.observers:
                observer('message', ref)
            return ref

    def since(self, generation: int) -> Tuple[List[Dict[str, Any]], int]:
        """Return the events of the messages after a generation, and the newest generation."""
        found = [message for message in self._kept if message.generation > generation]
        newest = max([message.generation for message in found] + [generation])
        return [{'id': '0', 'timestamp': '0.0', 'class': 'message', 'operation': 'add',
                 'ref': message.ref, 'snapshot': message.record} for message in found], newest
