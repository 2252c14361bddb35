"""Which host is the master: asked each time; which host this is: taken from who knows."""

import contextlib
import json
import os
from types import SimpleNamespace
from typing import Any, Iterator, List

import pytest

from cli.queries import member
from cli.xapi_session import _find_hosts, _read_pools
from registry.errors import JournalUnavailable, Reason
from registry.journal.journal import Journal
from registry.schema import WATCH_NOTE
from registry.store import Registry
from registry.writer_lock import WriterLock

HERE, THERE = 'OpaqueRef:here', 'OpaqueRef:there'


class Desk:
    """A command's context over a real registry and journal, beside a holder of the lock."""

    def __init__(self, path: str) -> None:
        registry = Registry(path, timeout_seconds=1.0)
        registry.create('the test')
        self.settings = SimpleNamespace(registry=SimpleNamespace(path=path))
        self._journal_path = registry.journal_path

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        """As Context.journal."""
        with Journal(self._journal_path, timeout_seconds=1.0) as journal:
            yield journal

    def note(self, text: str) -> None:
        """Leave what a daemon leaves."""
        with self.journal() as journal, journal.batch():
            journal.write_note(WATCH_NOTE, text)

    def find(self) -> str:
        """The host, as it was noted."""
        return member._find_noted_host(self)


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    return Desk(str(tmp_path / 'vgpu_config.db'))


def _note(**fields: Any) -> str:
    return json.dumps(dict({'pid': os.getpid(), 'host': HERE}, **fields))


def test_host_is_the_one_that_the_running_daemon_has_noted(desk: Desk) -> None:
    desk.note(_note())
    assert desk.find() == ''
    with WriterLock(desk.settings.registry.path) as lock:
        assert lock.acquire() and desk.find() == HERE


@pytest.mark.parametrize('text', [
    pytest.param(_note(pid=1), id='of-another-process'), pytest.param('{}', id='empty'),
    pytest.param(_note(host=None), id='before-the-first-session'),
    pytest.param(_note(host=['x']), id='odd'), pytest.param('[1]', id='no-object'),
    pytest.param('{', id='no-json'), pytest.param('[' * 100000, id='deep')])
def test_note_that_does_not_say_it_is_none(desk: Desk, text: str) -> None:
    desk.note(text)
    with WriterLock(desk.settings.registry.path) as lock:
        assert lock.acquire() and desk.find() == ''


def test_journal_that_is_damaged_costs_a_call_and_no_edit(
        desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise JournalUnavailable('damaged', reason=Reason.CORRUPT)
    monkeypatch.setattr(Journal, 'read_note', fail)
    with WriterLock(desk.settings.registry.path) as lock:
        assert lock.acquire() and desk.find() == ''


class Xapi:
    """An XAPI that says who it is."""

    handle = 'OpaqueRef:session'

    def __init__(self, master: str) -> None:
        self._master = master
        self.calls: List[str] = []

    def call(self, method: str, *_params: Any) -> Any:
        """Answer."""
        self.calls.append(method)
        return {'OpaqueRef:pool': {'master': self._master}} if method.startswith('pool') else HERE


@pytest.mark.parametrize('master, noted, calls', [
    (HERE, HERE, 1), (HERE, '', 2), (THERE, HERE, 2), (HERE, THERE, 2)])
def test_host_is_asked_for_unless_the_master_is_the_one_that_was_noted(
        master: str, noted: str, calls: int) -> None:
    xapi = Xapi(master)
    assert _find_hosts(xapi, _read_pools(xapi), noted) == (HERE, master)  # type: ignore
    assert len(xapi.calls) == calls
