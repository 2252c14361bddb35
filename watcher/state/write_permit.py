"""Whether this daemon may write to XAPI now: who it is, what it holds, and how much it has seen."""

from typing import Optional

from watcher.xapi.role import Role


class WritePermit:
    """One for all parts: who learns something notes it here, and who is about to write asks."""

    def __init__(self) -> None:
        self.role: Optional[Role] = None
        """What XAPI says of this host; None before the first session."""
        self.is_locked = False
        """Whether the writer's lock is ours."""
        self.is_synced = False
        """Whether all VMs have been seen since the last interruption."""
        self._is_overtaken = False
        self._has_missed = False

    @property
    def is_overtaken(self) -> bool:
        """Whether the mirror is newer than the registry here and cannot be taken over."""
        return self._is_overtaken

    @is_overtaken.setter
    def is_overtaken(self, is_overtaken: bool) -> None:
        self._is_overtaken = is_overtaken
        self._has_missed = self._has_missed or is_overtaken

    def take_regained(self) -> bool:
        """Tell, once, that the mirror no longer forbids what it did forbid: VMs that were looked at
        meanwhile deserve another look."""
        is_regained = self._has_missed and not self._is_overtaken
        self._has_missed = self._is_overtaken
        return is_regained

    @property
    def is_writer(self) -> bool:
        """Whether this is the host that writes, to an XAPI that may be written to."""
        return self.role is not None and self.role.is_writer

    @property
    def is_in_charge(self) -> bool:
        """Whether no other program writes: what versions before 0.2 left may be lifted."""
        return self.is_locked and self.is_writer

    @property
    def may_write(self) -> bool:
        """Whether platform keys and the mirror may be written."""
        return self.is_synced and self.is_in_charge and not self.is_overtaken
