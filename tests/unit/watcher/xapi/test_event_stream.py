"""The event stream: from the empty token to whatever ends it, and on again."""

import queue
import time

import pytest

from simulator.server import Simulator
from simulator.settings import Settings
from tests.unit.watcher.builders import build_raw, uuid_of
from watcher.config.settings import XapiSettings
from watcher.errors import (MalformedRecord, NoAnswer, SessionLost, StreamLost, VmVanished,
                            XapiFailure, XapiNonsense, XapiUnreachable)
from watcher.loop.loop import JobDied
from watcher.loop.steps import TURN, run
from watcher.vm.record import Batch, PoolRecord
from watcher.xapi import event_stream
from watcher.xapi.client import CLASSES, FIRST_POLL_SECONDS, Client
from watcher.xapi.event_stream import Stream, StreamBroken, read_one_by_one


class Script:
    """A client that answers each long poll with the next line of a script."""

    def __init__(self, *answers, records=None, pool=None):
        self.answers = list(answers)
        self.pool = pool
        self.records = records or {}
        self.tokens = []
        self.classes = []
        self.seconds = []
        self.is_closed = False

    def event_from(self, token, seconds, classes):
        self.tokens.append(token)
        self.seconds.append(seconds)
        self.classes.append(classes)
        return end(self.answers.pop(0))

    def read_fresh_token(self):
        return end('fresh')

    def read_vm_refs(self):
        return end(tuple(self.records))

    def read_pool_ref(self):
        return end('pool')

    def read_pool(self, _ref):
        return end(self.pool)

    def call(self, method, ref):
        assert method == 'VM.get_record'
        return end(self.records[ref])

    def close(self):
        self.is_closed = True


def end(answer):
    """Steps that end at once, with an answer or an error."""
    if isinstance(answer, Exception):
        raise answer
    return answer
    yield


def answer(token, *refs, gone=(), count=None):
    events = [{'class': 'vm', 'operation': 'mod', 'id': '1', 'ref': ref, 'snapshot': build_raw()}
              for ref in refs]
    events += [{'class': 'vm', 'operation': 'del', 'id': '2', 'ref': ref} for ref in gone]
    counts = {} if count is None else {'valid_ref_counts': {'vm': count}}
    return dict({'events': events, 'token': token}, **counts)


END = SessionLost('SESSION_INVALID', ('x',))
POOL = PoolRecord('pool', uuid_of(9), 'host')


@pytest.fixture
def inbox():
    return queue.Queue()


@pytest.fixture
def clock():
    """A clock that is set by `clock.now`."""
    def clock():
        return clock.now
    clock.now = 1000.0
    return clock


@pytest.fixture
def build_stream(inbox, clock):
    """Build a stream over what `connect` gives; its pauses are those given."""
    def build(connect, pauses=(0.0,) * 50, **options):
        return Stream(connect, inbox.put, clock=clock, build_delays=lambda: iter(pauses),
                      **options)
    return build


@pytest.fixture
def pauses(monkeypatch):
    """How long the stream has paused; none of it is waited for."""
    seconds = []
    monkeypatch.setattr(event_stream, 'pause', lambda each: end(seconds.append(each)))
    return seconds


def drain(inbox):
    """All messages that are there."""
    messages = []
    while not inbox.empty():
        messages.append(inbox.get())
    return messages


def follow(stream, inbox, client):
    """Follow until the script ends; the batches."""
    with pytest.raises(SessionLost):
        run(stream.follow(client))
    return [message for message in drain(inbox) if isinstance(message, Batch)]


def test_stream_begins_with_the_empty_token_and_goes_on_from_each_answer(build_stream, inbox):
    client = Script(answer('1', 'a', 'b'), answer('2'), answer('3', 'a'), END)
    batches = follow(build_stream(None), inbox, client)
    assert client.tokens == ['', '1', '2', '3']
    assert [(batch.is_first, [vm.ref for vm in batch.vms]) for batch in batches] == [
        (True, ['a', 'b']), (False, []), (False, ['a'])]


def test_forgotten_deletion_makes_the_stream_start_afresh(build_stream):
    client = Script(answer('1', 'a', 'b', count=2), answer('2', count=1), answer('3', count=1))
    with pytest.raises(StreamLost) as caught:
        run(build_stream(None).follow(client))
    assert caught.value.params == ('2', '1') and client.tokens == ['', '1', '2']


@pytest.mark.parametrize('answers', [
    pytest.param((answer('1', 'a', 'b', count=2), answer('2', count=1), answer('3', count=2)),
                 id='counted-wrong-once'),
    pytest.param((answer('1', 'a', 'b', count=2), answer('2', gone=['b'], count=1),
                  answer('3', count=1)), id='deletion-that-was-told'),
    pytest.param((answer('1', 'a', count=1), answer('2', 'b', count=2), answer('3', count=2)),
                 id='vm-that-was-added'),
    pytest.param((answer('1', 'a'), answer('2'), answer('3')), id='no-count')])
def test_count_that_fits_keeps_the_stream(build_stream, inbox, answers):
    assert len(follow(build_stream(None), inbox, Script(*answers, END))) == len(answers)


def test_count_that_never_fits_costs_a_new_start_a_minute_at_most(build_stream, inbox, clock):
    stream = build_stream(None)

    def lines():
        return [answer(str(number), *(('a',) if number == 0 else ()), count=5)
                for number in range(4)]
    with pytest.raises(StreamLost):
        run(stream.follow(Script(*lines())))
    clock.now += 59.0
    drain(inbox)
    assert len(follow(stream, inbox, Script(*lines(), END))) == 4
    clock.now += 2.0
    with pytest.raises(StreamLost):
        run(stream.follow(Script(*lines())))


# An answer that cannot be decoded (P15).

def test_torn_answer_starts_afresh_once(build_stream):
    with pytest.raises(XapiNonsense):
        run(build_stream(None).follow(Script(XapiNonsense('torn'))))


def test_answer_that_spoils_again_is_read_vm_by_vm(build_stream, inbox, log_output):
    stream = build_stream(None)
    with pytest.raises(XapiNonsense):
        run(stream.follow(Script(XapiNonsense('odd'))))
    # The second time the resource pool's record is left out first: it may be that one.
    client = Script(XapiNonsense('odd'), XapiNonsense('odd'), END, records={'a': build_raw()})
    batch, = follow(stream, inbox, client)
    assert [vm.ref for vm in batch.vms] == ['a'] and batch.is_first
    assert client.tokens == ['', '', 'fresh']
    assert client.classes == [('vm', 'pool'), ('vm',), ('vm', 'pool')]
    assert [line['event'] for line in log_output] == ['stream.read_one_by_one']


def test_without_a_token_all_is_read_again_afresh(build_stream, inbox, pauses):
    stream = build_stream(None)
    with pytest.raises(XapiNonsense):
        run(stream.follow(Script(XapiNonsense('odd'))))
    client = Script(*([XapiNonsense('odd')] * 2), END, records={'a': build_raw()})
    client.read_fresh_token = lambda: end(XapiFailure('MESSAGE_METHOD_UNKNOWN',
                                                      ('event.inject',)))
    batch, = follow(stream, inbox, client)
    assert (batch.token, batch.is_first, len(batch.vms)) == ('', True, 1)
    assert client.tokens == ['', '', ''] and pauses[0] == 2.0


# An XAPI that does not tell the resource pool's record.

def test_refused_pool_is_left_out_at_once_and_asked_for_again_later(build_stream, inbox, clock):
    stream = build_stream(None)
    client = Script(XapiFailure('INTERNAL_ERROR', ('Not_found',)), answer('1', 'a'), answer('2'),
                    END)
    batches = follow(stream, inbox, client)
    assert [batch.token for batch in batches] == ['1', '2'] and batches[0].is_first
    assert client.tokens == ['', '', '1', '2']
    assert client.classes == [('vm', 'pool')] + [('vm',)] * 3
    clock.now += 61.0
    again = Script(answer('3', 'a'), END, pool=POOL)
    follow(stream, inbox, again)
    assert again.classes == [('vm', 'pool')] * 2


@pytest.mark.parametrize('pool, pools', [
    pytest.param(POOL, [(POOL,), ()], id='read'),
    pytest.param(XapiFailure('INTERNAL_ERROR'), [(), ()], id='refused-again')])
def test_pool_that_was_left_out_is_read_as_soon_as_xapi_tells_of_it(
        build_stream, inbox, clock, pool, pools):
    """A token tells what has changed since: what did not change any more would never be told."""
    stream = build_stream(None)
    follow(stream, inbox, Script(answer('1', 'a'), XapiFailure('INTERNAL_ERROR'), answer('2'), END))
    clock.now += 61.0
    client = Script(answer('3', 'a'), answer('4'), END, pool=pool)
    assert [batch.pools for batch in follow(stream, inbox, client)] == pools
    assert client.seconds == [FIRST_POLL_SECONDS, None, None]
    assert client.classes == [CLASSES] + [CLASSES if pools[0] else ('vm',)] * 2


@pytest.mark.parametrize('error', [END, StreamLost('EVENTS_LOST')], ids=str)
def test_lost_session_says_nothing_of_the_pool(build_stream, error):
    client = Script(error)
    with pytest.raises(type(error)):
        run(build_stream(None).follow(client))
    assert client.classes == [('vm', 'pool')]


def test_xapi_that_answers_at_once_with_nothing_is_asked_less_often(build_stream, inbox, pauses):
    follow(build_stream(None), inbox, Script(*[answer('1', 'a')] + [answer('1')] * 5 + [answer('2', 'a'), END]))
    assert pauses == [0.05, 0.1, 0.2, 0.2, 0.2]


def test_what_a_batch_asks_for_is_sent_before_it_is_asked_for_the_next(build_stream, inbox):
    client = Script(answer('1', 'a'), answer('2', 'a'), END)
    steps = build_stream(None).follow(client)
    for token in ('1', '2'):
        assert next(steps) == TURN
        assert [message.token for message in drain(inbox)] == [token]
        assert client.tokens[-1] == ('' if token == '1' else '1')
    steps.close()


def test_while_starts_wait_for_a_connection_no_more_is_asked_for(build_stream, inbox, pauses):
    waiting = [True, True, True, False, False]
    client = Script(answer('1', 'a'), END)
    follow(build_stream(None, has_starts=lambda: waiting.pop(0)), inbox, client)
    assert len(pauses) == 3 and client.tokens == ['', '1']


def test_starts_that_wait_for_ever_keep_the_stream_for_a_moment_only(
        build_stream, inbox, pauses, clock):
    def has_starts():
        clock.now += 0.05
        return True
    client = Script(answer('1', 'a'), END)
    follow(build_stream(None, has_starts=has_starts), inbox, client)
    assert 1 < len(pauses) < 10 and client.tokens == ['', '1']


def test_answer_in_between_forgets_the_torn_one(build_stream, inbox):
    stream = build_stream(None)
    with pytest.raises(XapiNonsense):
        run(stream.follow(Script(XapiNonsense('torn'))))
    with pytest.raises(XapiNonsense):
        run(stream.follow(Script(answer('1', 'a'), XapiNonsense('torn'))))


def test_what_cannot_be_read_alone_is_set_aside(log_output):
    batch = run(read_one_by_one(Script(records={
        'good': build_raw(), 'odd': build_raw(domid='x'), 'gone': VmVanished('HANDLE_INVALID'),
        'undecodable': XapiNonsense('x'), 'refused': XapiFailure('INTERNAL_ERROR'),
        'other': build_raw(uuid=uuid_of(2))})))
    assert [vm.ref for vm in batch.vms] == ['good', 'other'] and batch.vm_count == 6
    assert [error.ref for error in batch.malformed] == ['odd', 'undecodable', 'refused']
    assert all(isinstance(error, MalformedRecord) for error in batch.malformed)


@pytest.mark.parametrize('pool, pools', [
    (POOL, (POOL,)),
    (None, ()), (XapiFailure('INTERNAL_ERROR'), ()), (XapiNonsense('odd'), ())])
def test_pool_that_cannot_be_read_costs_the_mirror_only(log_output, pool, pools):
    batch = run(read_one_by_one(Script(records={'a': build_raw()}, pool=pool)))
    assert [vm.ref for vm in batch.vms] == ['a'] and batch.pools == pools


def test_vms_whose_records_have_no_answer_are_set_aside(log_output):
    records = {'odd-%d' % number: NoAnswer('XAPI answered HTTP 500') for number in range(5)}
    batch = run(read_one_by_one(Script(records=dict(records, a=build_raw()))))
    assert [vm.ref for vm in batch.vms] == ['a']
    assert [error.ref for error in batch.malformed] == list(records)


def test_reading_vm_by_vm_ends_when_xapi_has_no_answer_any_more():
    records = {'odd-%d' % number: NoAnswer('XAPI answered HTTP 500') for number in range(6)}
    with pytest.raises(NoAnswer):
        run(read_one_by_one(Script(records=dict(records, a=build_raw()))))
    gone = Script(records={'a': NoAnswer('closed')}, pool=NoAnswer('closed'))
    with pytest.raises(NoAnswer):
        run(read_one_by_one(gone))


def test_reading_vm_by_vm_ends_with_the_connection():
    with pytest.raises(XapiUnreachable):
        run(read_one_by_one(Script(records={'a': build_raw(), 'b': XapiUnreachable('cut')})))


# For ever.

class Over(Exception):
    """No more is to be followed."""


def follow_all(build_stream, *attempts, pauses=(0.0,) * 50):
    """Follow what comes of these attempts to connect, one after the other."""
    waiting = list(attempts) + [Over()]
    with pytest.raises(Over):
        run(build_stream(lambda: end(waiting.pop(0)), pauses).forever())


def list_broken(inbox):
    return [message for message in drain(inbox) if isinstance(message, StreamBroken)]


def test_every_interruption_starts_with_a_new_client_and_the_empty_token(build_stream, inbox):
    clients = [Script(answer('1', 'a'), error) for error in (
        XapiUnreachable('cut'), END, XapiNonsense('x'))]
    follow_all(build_stream, *clients)
    assert [client.tokens for client in clients] == [['', '1']] * 3
    assert all(client.is_closed for client in clients)
    assert [message.error.split(':')[0] for message in list_broken(inbox)] == [
        'cut', 'SESSION_INVALID', 'x']


def test_pauses_grow_while_nobody_answers(build_stream, inbox, pauses):
    follow_all(build_stream, *[XapiUnreachable('down')] * 4, pauses=(0.0, 1.0, 2.0, 3.0, 4.0))
    assert [message.retry_seconds for message in drain(inbox)] == [0.0, 1.0, 2.0, 3.0] == pauses


def test_pauses_begin_again_after_a_connection_that_delivered(build_stream, inbox, pauses):
    down = XapiUnreachable('down')
    follow_all(build_stream, down, down, Script(answer('1', 'a'), answer('2', 'a'), END), down,
               pauses=(0.0, 1.0, 2.0, 3.0, 4.0))
    assert [message.retry_seconds for message in list_broken(inbox)] == [0.0, 1.0, 0.0, 1.0]
    assert pauses == [0.0, 1.0, 0.0, 1.0]


def test_pauses_grow_while_connections_break_after_their_first_batch(build_stream, inbox, pauses):
    follow_all(build_stream, *[Script(answer('1', 'a'), END) for _ in range(3)],
               pauses=(0.0, 1.0, 2.0, 3.0))
    assert [message.retry_seconds for message in list_broken(inbox)] == [0.0, 1.0, 2.0]


def test_error_that_was_not_foreseen_ends_the_process_and_is_logged(build_stream, loop, log_output):
    client = Script(answer('1', 'a'), ValueError('a fault of ours'))
    build_stream(lambda: end(client)).start(loop)
    with pytest.raises(JobDied, match='stream.*a fault of ours'):
        turn_until(loop, lambda: client.is_closed)
    assert client.is_closed
    line, = log_output
    assert (line['event'], line['log_level'], line['job']) == ('job.died', 'error', 'stream')


# The real thing.

@pytest.fixture
def simulator(tmp_path):
    simulator = Simulator(Settings(socket_path=str(tmp_path / 'xapi'), vms=2))
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def running(simulator, inbox, loop):
    """A stream in a loop, against the simulator."""
    def connect():
        client = Client(XapiSettings(url='unix:' + simulator.settings.socket_path),
                        timeout_seconds=38.0)
        yield from client.login()
        return client
    stream = Stream(connect, inbox.put, build_delays=lambda: iter([0.01] * 1000))
    stream.start(loop)
    return stream


def next_batch(inbox, loop, is_wanted=lambda batch: True):
    """The next batch that is wanted, whatever comes before it."""
    while True:
        turn_until(loop, lambda: not inbox.empty())
        message = inbox.get()
        if isinstance(message, Batch) and is_wanted(message):
            return message


def turn_until(loop, condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        loop.turn(0.01)


def count_polls(simulator):
    return [call.method for call in simulator.calls].count('event.from')


def test_change_arrives_and_a_restart_of_xapi_brings_all_vms_again(simulator, inbox, loop,
                                                                   running):
    first = next_batch(inbox, loop)
    ref = simulator.create_vm('new')
    assert [vm.ref for vm in next_batch(inbox, loop).vms] == [ref]
    simulator.restart('crash', rollback_generations=1)
    again = next_batch(inbox, loop, lambda batch: batch.is_first)
    assert {vm.ref for vm in first.vms} <= {vm.ref for vm in again.vms}


def test_restarted_stream_gives_up_the_call_that_waits(simulator, inbox, loop, running):
    next_batch(inbox, loop)
    turn_until(loop, lambda: count_polls(simulator) > 1)
    running.restart()
    assert next_batch(inbox, loop).is_first


def test_stopped_stream_asks_no_more(simulator, inbox, loop, running):
    next_batch(inbox, loop)
    turn_until(loop, lambda: count_polls(simulator) > 1)
    running.stop()
    simulator.create_vm('new')
    asked = count_polls(simulator)
    for _turn in range(10):
        assert not loop.turn(0.01)
    assert inbox.empty() and count_polls(simulator) == asked


def test_restart_between_two_connections_is_none(build_stream, inbox, loop):
    def connect():
        attempts.append(1)
        raise XapiUnreachable('down')
        yield
    attempts = []
    stream = build_stream(connect, pauses=(60.0, 60.0))
    stream.restart()
    stream.start(loop)
    stream.restart()
    assert not loop.turn(0.01) and attempts == [1]


def test_stream_that_was_never_started_is_stopped_all_the_same(build_stream):
    build_stream(None).stop()
