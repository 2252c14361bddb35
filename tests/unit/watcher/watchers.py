"""A real Watcher over a real registry, whose jobs are kept and not run."""

from typing import Any, Dict, List

from registry.store import Registry
from registry.values import Priority
from tests.unit.watcher.builders import HOST, POLICY
from watcher import assembly
from watcher.state.registry_view import RegistryView
from watcher.xapi.role import Role


class Callers:
    """In the place of callers and inspectors: keeps what it is given."""

    def __init__(self) -> None:
        self.jobs: List[Any] = []

    def submit(self, job: Any, _urgency: int = 0) -> None:
        """Take it."""
        self.jobs.append(job)


def build_watcher(path: str, **options: Any) -> Any:
    """A Watcher of the registry at a path; its time stands still at 100."""
    options.setdefault('clock', lambda: 100.0)
    return assembly.build_watcher(
        RegistryView(path, clock=options['clock']), POLICY, callers=Callers(), inspectors=Callers(),  # type: ignore
        restart_stream=lambda: None, **options)


def create_registry(path: str, rows: Dict[str, int],
                    priority: Priority = Priority.MEDIUM) -> None:
    """Make a registry; `rows` has the numbers of VMs by UUID."""
    registry = Registry(path, timeout_seconds=1.0)
    registry.create('the test')
    with registry.edit(who='the test', command='import') as edit:
        for vm_uuid, number in rows.items():
            edit.add_vm(vm_uuid, vm_id=number, priority=priority)


def build_writer(path: str, rows: Dict[str, int],
                 priority: Priority = Priority.MEDIUM) -> Any:
    """One with a registry of its own that may write, as soon as it is in sync."""
    create_registry(path, rows, priority)
    watcher = build_watcher(path)
    watcher.begin_session(Role(True, True, HOST, '26.1.4'))
    watcher.permit.is_locked = True
    return watcher
