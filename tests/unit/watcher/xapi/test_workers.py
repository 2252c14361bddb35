"""Worker threads: jobs by urgency, messages into the inbox, one connection per thread."""

import queue
import threading

import pytest

from tests.support.waiting import wait_until
from watcher.config.settings import XapiSettings
from watcher.errors import SessionLost
from watcher.xapi.event_stream import ThreadDied
from watcher.xapi.workers import Clients, Urgency, Workers


class Gate:
    """A job that waits to be let through."""

    def __init__(self, message):
        self.message = message
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        assert self.opened.wait(10.0)
        return self.message


@pytest.fixture
def inbox():
    return queue.Queue()


def test_message_of_a_job_goes_into_the_inbox(inbox):
    workers = Workers('t', 2, inbox.put)
    workers.submit(lambda: 'done')
    assert inbox.get(timeout=60.0) == 'done'


def test_waiting_jobs_go_by_urgency_and_then_in_order(inbox):
    workers, gate = Workers('t', 1, inbox.put), Gate('first')
    workers.submit(gate, Urgency.LATER)
    assert gate.entered.wait(10.0)
    workers.submit(lambda: 'scan', Urgency.LATER)
    workers.submit(lambda: 'stage 1')
    workers.submit(lambda: 'stage 2')
    workers.submit(lambda: 'rescue', Urgency.RESCUE)
    gate.opened.set()
    assert [inbox.get(timeout=60.0) for _ in range(5)] == [
        'first', 'rescue', 'stage 1', 'stage 2', 'scan']


def test_job_that_hangs_holds_up_nobody_else(inbox):
    workers, gate = Workers('t', 2, inbox.put), Gate('slow')
    workers.submit(gate)
    assert gate.entered.wait(10.0)
    workers.submit(lambda: 'quick')
    assert inbox.get(timeout=60.0) == 'quick'
    gate.opened.set()
    assert inbox.get(timeout=60.0) == 'slow'


def test_no_more_threads_run_than_allowed_and_none_without_need(inbox):
    workers, gates = Workers('few', 2, inbox.put), [Gate(number) for number in range(4)]
    before = threading.active_count()
    for gate in gates:
        workers.submit(gate)
    wait_until(lambda: sum(gate.entered.is_set() for gate in gates) == 2)
    assert threading.active_count() == before + 2
    for gate in gates:
        gate.opened.set()
    assert {inbox.get(timeout=60.0) for _ in gates} == {0, 1, 2, 3}
    for _ in gates:
        workers.note_finished()
    workers.submit(lambda: 'again')
    assert inbox.get(timeout=60.0) == 'again' and threading.active_count() == before + 2


def test_job_that_raises_is_told_as_the_death_of_the_thread(inbox):
    error = ValueError('not foreseen')

    def fail():
        raise error
    Workers('caller', 1, inbox.put).submit(fail)
    assert inbox.get(timeout=60.0) == ThreadDied('caller', error)


# Clients.

def test_client_is_kept_while_the_session_is(inbox):
    clients = Clients(lambda: False)
    clients.begin(XapiSettings(), 'OpaqueRef:session-1')
    first = clients.current()
    assert clients.current() is first and first.handle == 'OpaqueRef:session-1'
    clients.begin(XapiSettings(), 'OpaqueRef:session-2')
    assert clients.current() is not first
    assert clients.current().handle == 'OpaqueRef:session-2'


def test_each_thread_has_a_client_of_its_own(inbox):
    clients = Clients(lambda: False)
    clients.begin(XapiSettings(), 'OpaqueRef:session')
    workers, gates = Workers('t', 2, inbox.put), [Gate(None), Gate(None)]
    for gate in gates:
        workers.submit(lambda gate=gate: (gate(), clients.current())[1])
        assert gate.entered.wait(10.0)
    for gate in gates:
        gate.opened.set()
    first, second = inbox.get(timeout=60.0), inbox.get(timeout=60.0)
    assert first is not second and first is not clients.current()


def test_without_a_session_calls_fail_as_lost():
    clients = Clients(lambda: False)
    assert not clients.is_current(None)
    with pytest.raises(SessionLost):
        clients.current().read_vm('OpaqueRef:vm')
