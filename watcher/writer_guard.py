"""The daemon's hold on the writer's lock of the registry, and what the log says of it."""

from registry.errors import RegistryError
from registry.writer_lock import WriterLock
from watcher.errors import WatcherError
from watcher.runtime.logs import get_logger


class WriterLockTaken(WatcherError):
    """Another program holds the writer's lock of the registry."""


class WriterGuard:
    """Takes the lock of one registry; where that cannot be tried, says so once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = WriterLock(path)
        self._told = ''

    @property
    def is_held(self) -> bool:
        """Whether we are the one writer."""
        return self._lock.is_held

    def give_up_lost(self) -> None:
        """Hold no lock whose file was deleted or replaced: it excludes no other writer."""
        if self._lock.is_lost:
            self._tell('its file was deleted or replaced')
            self._lock.release()

    def demand(self, wait_seconds: float, advice: str = '', *, is_patient: bool = False) -> None:
        """Become the one writer, or raise WriterLockTaken, with an advice, when another is.

        A directory that is missing, or takes no file, is a RegistryError; `is_patient` says it in
        the log instead, and leaves it to `try_late`.
        """
        if not self._take(wait_seconds, is_patient):
            holder = self._lock.holder() or 'it does not say who it is'
            raise WriterLockTaken(
                f'another program writes for the registry {self._path}: {holder}{advice}')

    def try_late(self) -> bool:
        """Try again, once the directory is there; whether we are the one writer now.

        The program that created it may still hold the lock.
        """
        if not self._take(0.0, is_patient=True):
            self._tell('held by ' + (self._lock.holder() or 'another program'))
        return self._lock.is_held

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def _take(self, wait_seconds: float, is_patient: bool) -> bool:
        """False when another program is the writer."""
        try:
            is_taken = self._lock.acquire(wait_seconds)
        except RegistryError as error:
            if not is_patient:
                raise
            self._tell(str(error))
            return True
        if is_taken:
            self._tell('')
        return is_taken

    def _tell(self, problem: str) -> None:
        """Say once why nothing is written, and when that is over."""
        if problem and problem != self._told:
            get_logger().error('lock.unavailable', path=self._lock.path, error=problem)
        elif self._told and not problem:
            get_logger().info('lock.available', path=self._lock.path)
        self._told = problem
