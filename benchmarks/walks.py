"""How far one has to walk through the code: modules entered, calls from one into another.

Three walks: a start that needs an add, in the daemon; a scan, in the daemon; `set-pool` of a halted
VM, in vgpu-admin beside a daemon. Each is the walk of one thread, all of it, the main loop's own
turns too; what is imported on the way does not count.
"""

import contextlib
import io
import os
import signal
import sqlite3
import sys
import threading
from typing import Any, Callable, Iterator, List, Optional, Set

from benchmarks.figures import Figure, observe
from benchmarks.rescues import ADD
from benchmarks.stand import Contender, Stand
from cli.__main__ import main as run_admin
from watcher.config import settings as config
from watcher.metrics.exporter import Reporter
from watcher.runtime import logs
from watcher.runtime.systemd import Notifier
from watcher.service import Service

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = tuple(os.path.join(ROOT, name) + os.sep for name in ('watcher', 'registry', 'cli'))
VMS = 20
_SCENARIO = 'Walks through the code'
_IS_FUNCTION = 0x1  # CO_OPTIMIZED: neither a module's body nor a class's


class Walk:
    """What one thread enters while it is followed."""

    def __init__(self) -> None:
        self.is_on = False
        self.modules: Set[str] = set()
        self.changes = 0
        self._last = ''

    def follow(self, frame: Any, event: str, _argument: Any) -> None:
        """Take note of one call; given to sys.setprofile."""
        code = frame.f_code
        if not self.is_on or event != 'call' or not code.co_flags & _IS_FUNCTION \
                or not code.co_filename.startswith(PACKAGES):
            return
        if code.co_filename != self._last:
            self._last = code.co_filename
            self.modules.add(code.co_filename)
            self.changes += 1

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Follow the threads that were given `follow` for the time of the block."""
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False


def run() -> List[Figure]:
    """Walk."""
    logs.configure('json', 'error')
    return _walk_daemon('a start that needs an add', _start_one) \
        + _walk_daemon(f'a scan of {VMS} VMs', _scan) + _walk_admin()


def _walk_daemon(what: str, happen: Callable[[Stand, Service, Walk], Any]) -> List[Figure]:
    walk = Walk()
    with Stand() as stand:
        stand.fill(VMS)
        with open(stand.config, 'a', encoding='utf-8') as stream:
            stream.write('[log]\nlevel = error\n')
        settings = config.load(stand.config)
        service = Service(settings, lambda: config.load(stand.config), notifier=Notifier({}),
                          reporter=Reporter(settings.metrics))
        errors: List[BaseException] = []
        before: List[str] = []

        def act() -> None:
            try:
                stand.wait_calm()
                stand.xapi.clear_calls()
                happen(stand, service, walk)
                before.extend(call.method for call in stand.xapi.calls
                              if call.method != 'event.from')
            except BaseException as error:  # told by the thread that waits for it
                errors.append(error)
            finally:
                service.stop()

        thread = threading.Thread(target=act)
        handlers = [(number, signal.getsignal(number))
                    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
        thread.start()
        sys.setprofile(walk.follow)
        try:
            service.run()
        finally:
            sys.setprofile(None)
            thread.join()
            for number, handler in handlers:
                signal.signal(number, handler)
        if errors:
            raise errors[0]
    return _tell(what, walk, len(before))


def _start_one(stand: Stand, _service: Service, walk: Walk) -> None:
    with walk.following():
        stand.show_starts(stand.refs[:1])
        stand.wait(lambda: [call for call in stand.xapi.calls if call.method == ADD], 'the write',
                   look_seconds=0.0001)
    stand.wait_calm()


def _scan(stand: Stand, service: Service, walk: Walk) -> None:
    with walk.following():
        service.reload()  # as SIGHUP does: a scan follows
        stand.wait(lambda: [call for call in stand.xapi.calls
                            if 'get_all_records' in call.method], 'the scan')
        stand.wait_calm()


def _walk_admin() -> List[Figure]:
    walk = Walk()
    opened: List[str] = []
    said: List[str] = []
    with Stand() as stand:
        stand.fill(VMS)
        with Contender(stand, 'ours'):
            stand.wait_calm()
            stand.xapi.clear_calls()
            vm_uuid = stand.xapi.vm(stand.refs[0])['uuid']
            with _listening_to_sqlite(opened, said):
                sys.setprofile(walk.follow)
                try:
                    with walk.following(), contextlib.redirect_stdout(io.StringIO()):
                        status: Optional[int] = run_admin(
                            ['--config', stand.config, 'set-pool', vm_uuid, '--pool=B'])
                finally:
                    sys.setprofile(None)
            calls = stand.xapi.calls
        if status:
            raise RuntimeError(f'set-pool ended with {status}')
    session = next(call.session for call in calls if call.method == 'session.logout')
    what = 'set-pool of a halted VM, beside a daemon'
    own = [call for call in calls
           if call.session == session and not call.method.startswith('session.')]
    edits = [text for text in said if text.startswith('UPDATE registry.vms')]
    return _tell(what, walk, len(own)) + [
        observe(_SCENARIO, f'{what}: edits of the registry', float(len(edits)), ''),
        observe(_SCENARIO, f'{what}: openings of SQLite', float(len(opened)), '')]


@contextlib.contextmanager
def _listening_to_sqlite(opened: List[str], said: List[str]) -> Iterator[None]:
    """Take note of what is opened, and of each statement."""
    connect = sqlite3.connect

    def listen(*arguments: Any, **named: Any) -> Any:
        opened.append(arguments[0])
        connection = connect(*arguments, **named)
        connection.set_trace_callback(said.append)
        return connection

    sqlite3.connect = listen  # type: ignore
    try:
        yield
    finally:
        sqlite3.connect = connect  # type: ignore


def _tell(what: str, walk: Walk, calls: int) -> List[Figure]:
    rooms = {os.path.dirname(path) for path in walk.modules}
    return [observe(_SCENARIO, f'{what}: {name}', float(count), '') for name, count in (
        ('modules', len(walk.modules)), ('rooms', len(rooms)),
        ('calls from one module into another', walk.changes), ('calls to XAPI', calls))]
