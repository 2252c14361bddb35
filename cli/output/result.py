"""What a command gives back: a document for programs and lines for people."""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from cli.errors import ExitStatus
from cli.output.text import Style

FORMAT = 1


class Result(NamedTuple):
    """The outcome of a command; the printer prints it."""

    document: Dict[str, Any]
    lines: Callable[[Style], List[str]]
    status: ExitStatus = ExitStatus.DONE
    minimal: Tuple[str, ...] = ()
    """What `--minimal` prints: the identifiers, as xe does."""
    is_data: bool = False
    """Whether programs read the lines: they are UTF-8 then, whatever the locale."""
    stream: Optional[Callable[[Optional[Style]], Iterator[str]]] = None
    """What comes bit by bit until Ctrl-C, instead of the lines; without a style, documents."""


class VmView(NamedTuple):
    """One VM as it is shown: its row, what XAPI says of it, and its last boot."""

    vm_uuid: str
    vm_name: Optional[str] = None
    vm_id: Optional[int] = None
    pool_id: Optional[str] = None
    priority: Optional[int] = None
    created_at: str = ''
    updated_at: str = ''
    power_state: Optional[str] = None
    operations: Tuple[str, ...] = ()
    """What is under way with it."""
    carried: Optional[str] = None
    desired: Optional[str] = None
    state: Optional[str] = None
    reason: Optional[str] = None
    kind: str = 'vm'
    """What it is in XAPI: a VM that has a row can have become a template."""
    holder: Optional[str] = None
    """The UUID of the VM that has the number of this one's row."""
    owned: str = ''
    """The number that an unregistered VM carries and another VM's row has: whose it is."""
    removed: Optional[str] = None
    """Our arguments that were taken from an unregistered VM."""
    problem: str = ''
    mend: str = ''
    """The command that mends it."""
    was_asked: bool = False
    """Whether XAPI was asked about this VM."""
    dangers: Tuple[str, ...] = ()
    """What cannot be prevented and must be seen: the words of watcher/vm/hazards.py, and ours."""
    lacks_journal: bool = False
    """Whether the journal could not be read, which knows who had a number first."""
    arrived: Optional[Dict[str, Any]] = None
    """What an unregistered VM brought along from another resource pool."""

    @property
    def is_registered(self) -> bool:
        """Whether the VM has a row."""
        return self.vm_id is not None


class PoolCount(NamedTuple):
    """One vGPU pool and how many VMs it has."""

    pool_id: str
    pool_name: str
    description: Optional[str]
    enabled: bool
    vm_count: int


def plain(lines: List[str]) -> Callable[[Style], List[str]]:
    """Give lines that look the same everywhere."""
    return lambda _style: lines


def build_document(**content: Any) -> Dict[str, Any]:
    """Begin a JSON document with the number of its shape."""
    return dict({'format': FORMAT}, **content)
