"""The loop: tasks side by side, jobs by urgency, and everything that ends one."""

import os
import subprocess
import sys
import threading
import time

import pytest

from tests.support.wall_clock import YEAR, WallClock
from tests.support.waiting import LOADED
from watcher.errors import XapiUnreachable
from watcher.loop.loop import Inbox, JobDied, JobQueue, Loop, Urgency
from watcher.loop.steps import FOREVER, TURN, WRITE, Wait, pause

MANY = 5000
GIVEN_UP = XapiUnreachable('given up')


@pytest.fixture
def build_pipe():
    """Open pipes; what is still open at the end is closed."""
    descriptors = []

    def build():
        descriptors.extend(os.pipe())
        return descriptors[-2:]
    yield build
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test has closed it


@pytest.fixture
def pipe(build_pipe):
    return build_pipe()


def wait(noted, *waits):
    """Steps that wait for these, and note what each brought, or raised, and their end."""
    try:
        for each in waits:
            try:
                noted.append((yield each) > 0.0)
            except XapiUnreachable as error:
                noted.append(error)
        return len(waits)
    finally:
        noted.append('end')


def turn_until(loop, condition):
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        loop.turn(1.0)


# Tasks.

def test_task_begins_at_once_and_its_end_is_told(loop, pipe):
    noted, ended = [], []
    loop.start('quick', wait(noted), ended.append)
    assert (noted, ended) == (['end'], [0])
    loop.start('slow', wait(noted, Wait(FOREVER, pipe[0])), ended.append)
    assert not loop.turn(0.0) and ended == [0]
    os.write(pipe[1], b'x')
    assert loop.turn(60.0) and noted[1:] == [True, 'end'] and ended == [0, 1]
    assert not loop.turn(0.0)


def test_what_may_have_been_ready_for_long_is_told_as_such(pipe):
    times = iter([100.0] + [100.25] * 9)
    noted, loop = [], Loop(lambda: next(times))

    def listen():
        noted.append((yield Wait(FOREVER, pipe[0])))
    loop.start('listens', listen())
    os.write(pipe[1], b'x')
    loop.turn(0.0)  # a quarter of a second after the loop was made
    assert noted == [100.0]
    loop.close()


def test_descriptor_is_waited_for_in_its_direction(loop, pipe):
    noted = []
    loop.start('write', wait(noted, Wait(FOREVER, pipe[1], WRITE)))
    assert loop.turn(60.0) and noted == [True, 'end']


def test_descriptor_that_is_not_ready_in_time_is_waited_for_in_vain(loop, pipe):
    noted, began_at = [], time.monotonic()
    loop.start('late', wait(noted, Wait(began_at + 0.05, pipe[0])))
    while not noted:
        loop.turn(60.0)
    assert noted == [False, 'end'] and 0.05 <= time.monotonic() - began_at < 5.0 * LOADED
    os.write(pipe[1], b'x')
    assert not loop.turn(0.0)


def test_turn_ends_when_nothing_is_ready(loop):
    began_at = time.monotonic()
    assert not loop.turn(0.05)
    assert 0.05 <= time.monotonic() - began_at < 5.0 * LOADED


def test_turn_waits_no_longer_than_the_first_task(loop, pipe):
    noted, now = [], time.monotonic()
    loop.start('later', wait([], Wait(now + 3600.0, pipe[0])))
    loop.start('soon', wait(noted, Wait(now + 0.02)))
    loop.start('never', wait([], Wait(FOREVER)))
    turn_until(loop, lambda: noted)
    assert time.monotonic() - now < 5.0 * LOADED


def test_task_that_hangs_holds_up_nobody_else(loop, build_pipe):
    hanging, quick = build_pipe(), build_pipe()
    noted = {'hangs': [], 'quick': []}
    loop.start('hangs', wait(noted['hangs'], Wait(FOREVER, hanging[0])))
    loop.start('quick', wait(noted['quick'], *[Wait(FOREVER, quick[1], WRITE)] * 3))
    for _turn in range(3):
        assert loop.turn(60.0)
    assert noted == {'hangs': [], 'quick': [True, True, True, 'end']}
    os.write(hanging[1], b'x')
    assert loop.turn(60.0) and noted['hangs'] == [True, 'end']


def test_each_goes_on_by_one_step_with_a_turn(loop, build_pipe):
    """However much is there for one of them: ready each time, or in no need to wait at all."""
    noted = {name: [] for name in ('reads', 'writes', 'gives way', 'timed')}
    full, empty = build_pipe(), build_pipe()
    os.write(full[1], b'x')
    loop.start('reads', wait(noted['reads'], *[Wait(FOREVER, full[0])] * 10))
    loop.start('gives way', wait(noted['gives way'], *[TURN] * 10))
    loop.start('writes', wait(noted['writes'], *[Wait(FOREVER, empty[1], WRITE)] * 10))
    loop.start('timed', wait(noted['timed'], *[Wait(0.001)] * 10))
    for turn in range(1, 10):
        assert loop.turn(60.0)
        assert {name: len(each) for name, each in noted.items()} == dict.fromkeys(noted, turn)


def test_who_gives_way_goes_on_after_all_that_is_ready(loop, pipe):
    noted = []
    loop.start('gives way', wait(noted, TURN))
    loop.start('ready', wait(noted, Wait(FOREVER, pipe[1], WRITE)))
    loop.turn(60.0)
    assert noted == [True, 'end', False, 'end']


def test_task_may_start_another(loop, pipe):
    noted = []

    def start():
        yield TURN
        loop.start('other', wait(noted, TURN))
    loop.start('one', start())
    assert loop.turn(60.0) and noted == []
    assert loop.turn(60.0) and noted == [False, 'end']


# Interrupted, cancelled, closed.

@pytest.mark.parametrize('first', [TURN, Wait(FOREVER), None], ids=['turn', 'time', 'descriptor'])
def test_interrupted_task_has_the_error_where_it_waits(loop, pipe, first):
    noted = []
    task = loop.start('waits', wait(noted, first or Wait(FOREVER, pipe[0]),
                                    Wait(FOREVER, pipe[0])))
    loop.interrupt(task, GIVEN_UP)
    assert noted == []
    os.write(pipe[1], b'x')
    assert loop.turn(60.0) and noted == [GIVEN_UP]
    assert loop.turn(60.0) and noted == [GIVEN_UP, True, 'end']


def test_interrupted_task_that_is_ready_does_not_go_on_as_if_nothing_were(loop, pipe):
    noted = []
    task = loop.start('waits', wait(noted, Wait(FOREVER, pipe[0])))
    os.write(pipe[1], b'x')
    loop.interrupt(task, GIVEN_UP)
    loop.turn(60.0)
    assert noted == [GIVEN_UP, 'end']


def test_task_that_has_ended_is_neither_interrupted_nor_cancelled(loop):
    noted, ended = [], []
    task = loop.start('over', wait(noted), ended.append)
    loop.interrupt(task, GIVEN_UP)
    loop.cancel(task)
    assert not loop.turn(0.0)
    assert (noted, ended) == (['end'], [0])


@pytest.mark.parametrize('each', [TURN, Wait(FOREVER), None], ids=['turn', 'time', 'descriptor'])
def test_cancelled_task_is_closed_and_goes_on_no_more(loop, pipe, each):
    noted, ended = [], []
    task = loop.start('waits', wait(noted, each or Wait(FOREVER, pipe[0]), TURN), ended.append)
    os.write(pipe[1], b'x')
    loop.cancel(task)
    assert noted == ['end']
    assert not loop.turn(0.0)
    assert (noted, ended) == (['end'], [])


@pytest.mark.parametrize('each', [TURN, Wait(0.001), None], ids=['turn', 'time', 'descriptor'])
@pytest.mark.parametrize('end', ['cancel', 'interrupt'])
def test_task_that_another_ends_in_the_turn_in_which_it_is_due(loop, pipe, each, end):
    """Two tasks, each of which ends the other: whoever comes first does."""
    noted, ended, tasks = ([], []), [], []

    def run(own):
        try:
            yield each or Wait(FOREVER, (pipe[1], dup)[own], WRITE)
            noted[own].append('went on')
            if end == 'cancel':
                loop.cancel(tasks[1 - own])
            else:
                loop.interrupt(tasks[1 - own], GIVEN_UP)
        except XapiUnreachable as error:
            noted[own].append(error)
        finally:
            noted[own].append('end')
    dup = os.dup(pipe[1])
    try:
        tasks += [loop.start('task', run(own), ended.append) for own in (0, 1)]
        turn_until(loop, lambda: noted[0] and noted[1])
        loop.turn(0.0)
    finally:
        os.close(dup)
    went_on, other = sorted(noted, key=lambda each: each[0] != 'went on')
    assert went_on == ['went on', 'end']
    assert other == ([GIVEN_UP, 'end'] if end == 'interrupt' else ['end'])
    assert len(ended) == (2 if end == 'interrupt' else 1)


def test_descriptor_of_a_cancelled_task_says_nothing_to_who_opens_it_again(loop, build_pipe):
    """All in one turn: a connection is ready, another task ends it, and opens a new one."""
    (idle, _writer), full = build_pipe(), build_pipe()
    os.write(full[1], b'x')
    noted, tasks = [], []

    def replace():
        yield Wait(FOREVER, full[1], WRITE)
        loop.cancel(tasks[0])
        os.dup2(idle, full[0])
        loop.start('new', wait(noted, Wait(FOREVER, full[0])))
    # The first to be registered is told of first.
    loop.start('replaces', replace())
    tasks.append(loop.start('old', wait([], Wait(FOREVER, full[0]))))
    assert loop.turn(60.0) and noted == []
    assert not loop.turn(0.0) and noted == []


def test_closed_loop_has_closed_all_that_was_under_way(loop, build_pipe):
    noted = ([], [], [])
    ended = []
    reader, writer = build_pipe()
    for each, steps in zip(noted, (TURN, Wait(FOREVER), Wait(FOREVER, reader))):
        loop.start('waits', wait(each, steps), ended.append)
    loop.close()
    assert noted == (['end'], ['end'], ['end'])
    os.write(writer, b'x')
    assert not loop.turn(0.0) and ended == []


def test_loop_that_is_gone_leaves_no_descriptor_open(monkeypatch, pipe):
    monkeypatch.setattr(os, 'pipe', lambda: tuple(pipe))
    loop = Loop()
    assert all(map(os.fstat, pipe))
    del loop
    for descriptor in pipe:
        with pytest.raises(OSError):
            os.fstat(descriptor)


# What was not foreseen.

@pytest.mark.parametrize('each', [None, TURN, Wait(0.001)], ids=['at-once', 'turn', 'time'])
def test_task_that_dies_is_logged_and_ends_the_turn(loop, log_output, each):
    def die():
        if each is not None:
            yield each
        raise ValueError('not foreseen')
    with pytest.raises(JobDied, match='the job caller died.*not foreseen') as caught:
        loop.start('caller', die())
        turn_until(loop, lambda: False)
    assert isinstance(caught.value.__cause__, ValueError)
    line, = log_output
    assert (line['event'], line['log_level'], line['job']) == ('job.died', 'error', 'caller')
    assert isinstance(line['exc_info'], ValueError)


def test_death_where_a_task_begins_is_raised_by_the_turn_and_not_by_who_began_it(
        loop, log_output):
    """Who submits a job takes an error for one VM's."""
    def die():
        raise ValueError('not foreseen')
        yield
    JobQueue('caller', 1, loop, [].append).submit(die)
    with pytest.raises(JobDied):
        loop.turn(0.0)
    assert loop.turn(0.0) is False and len(log_output) == 1


def test_others_end_after_one_has_died(loop, log_output, pipe):
    """What is being written comes to its end before the process does."""
    def die():
        yield TURN
        raise ValueError('not foreseen')
    noted = [], []
    loop.start('dies', die())
    loop.start('due', wait(noted[0], TURN))
    loop.start('waits', wait(noted[1], Wait(FOREVER, pipe[0])))
    with pytest.raises(JobDied):
        loop.turn(60.0)
    os.write(pipe[1], b'x')
    loop.turn(60.0)
    assert noted == ([False, 'end'], [True, 'end'])


def test_interrupted_task_that_does_not_catch_it_has_died(loop, log_output):
    def ignore():
        yield Wait(FOREVER)
    task = loop.start('ignores', ignore())
    loop.interrupt(task, GIVEN_UP)
    with pytest.raises(JobDied):
        loop.turn(60.0)


# What wakes it.

def test_woken_loop_returns_at_once(loop):
    for _time in range(3):
        loop.wake()
        assert loop.turn(60.0)
        assert not loop.turn(0.0)


def test_loop_that_waits_is_woken(loop):
    waker = threading.Timer(0.05, loop.wake)
    waker.start()
    began_at = time.monotonic()
    assert loop.turn(60.0)
    assert time.monotonic() - began_at < 30.0
    waker.join()


def test_loop_is_woken_however_often(loop):
    for _time in range(100000):
        loop.wake()
    assert loop.turn(60.0)
    assert not loop.turn(0.0)


def test_descriptor_that_is_listened_to_is_heard_until_it_was_read(loop, pipe):
    reader, writer = pipe
    heard = []
    loop.listen(reader, lambda: heard.append(1))
    assert not loop.turn(0.0)
    os.write(writer, b'x')
    assert loop.turn(60.0) and loop.turn(60.0) and heard == [1, 1]
    os.read(reader, 1)
    assert not loop.turn(0.0)


def test_descriptor_that_is_listened_to_no_more_is_not_heard(loop, build_pipe):
    (reader, writer), (other, other_writer) = build_pipe(), build_pipe()
    heard = []
    loop.listen(reader, lambda: heard.append('one'))
    os.write(writer, b'x')
    loop.listen(other, lambda: heard.append('other'))
    assert not loop.turn(0.0)
    os.write(other_writer, b'x')
    assert loop.turn(60.0) and heard == ['other']
    loop.listen(None, lambda: heard.append('none'))
    assert not loop.turn(0.0) and heard == ['other']


def test_latest_to_listen_hears(loop, pipe):
    heard = []
    loop.listen(pipe[0], lambda: heard.append('before'))
    loop.listen(pipe[0], lambda: heard.append('now'))
    os.write(pipe[1], b'x')
    assert loop.turn(60.0) and heard == ['now']


@pytest.mark.parametrize('again, is_over', [
    ('nothing', False), ('another', False), ('nothing', True), ('another', True),
    ('the same', True)])
def test_descriptor_that_was_closed_unheard_belongs_to_who_opened_it_next(loop, build_pipe, again,
                                                                          is_over):
    """The registry's watch was closed, and a connection has its number now."""
    (reader, writer), (watch, watch_writer), (number, _) = build_pipe(), build_pipe(), build_pipe()
    heard, noted = [], []
    loop.listen(number, lambda: heard.append('old'))
    os.dup2(reader, number)
    loop.start('reads', wait(noted, Wait(FOREVER, number)))
    if is_over:
        os.write(writer, b'x')
        assert loop.turn(60.0) and noted == [True, 'end']
        os.read(reader, 1)
    if again == 'the same':
        os.dup2(watch, number)
    loop.listen({'nothing': None, 'another': watch, 'the same': number}[again],
                lambda: heard.append('new'))
    os.write(writer, b'x')
    assert loop.turn(0.0) == (not is_over)
    assert noted == [True, 'end'] and heard == []
    os.write(watch_writer, b'x')
    loop.turn(0.0)
    assert heard == ([] if again == 'nothing' else ['new'])


# The clock.

_PROGRAM = '''
import os, signal, struct, time
from watcher.loop.loop import Loop
from watcher.loop.steps import pause, run

def step(*_signal):
    before = time.time()
    with open(os.environ['FAKE_CLOCK'], 'r+b') as stream:
        offset, = struct.unpack('q', stream.read())
        stream.seek(0)
        stream.write(struct.pack('q', offset + %d))
    stepped.append(round(time.time() - before, -2))

def step_soon():
    yield from pause(0.1)
    step()
stepped, ended = [], []
began_at = time.monotonic()
loop = Loop()
loop.start('steps', step_soon())
loop.start('waits', pause(0.3), ended.append)
while not ended:
    loop.turn(3600.0)
loop.start('steps', step_soon())
loop.turn(0.3)
signal.signal(signal.SIGALRM, step)
signal.setitimer(signal.ITIMER_REAL, 0.1)
run(pause(0.3))
print(stepped, time.monotonic() - began_at)
'''


@pytest.mark.parametrize('seconds', [26 * YEAR, -3600], ids=str)
def test_step_of_the_wall_clock_delays_nothing(tmp_path, seconds):
    clock = WallClock(str(tmp_path))
    said = subprocess.check_output(
        [sys.executable, '-c', _PROGRAM % seconds], timeout=60.0 * LOADED,
        env=dict(os.environ, **clock.environment)).decode().splitlines()[-1]
    stepped, _bracket, took = said.rpartition('] ')
    assert stepped == '[%s' % ', '.join([str(float(seconds))] * 3)
    assert 0.7 < float(took) < 5.0 * LOADED


# Jobs.

@pytest.fixture
def inbox():
    return Inbox()


def hold(pipe, message):
    """A job that ends when its pipe is written to."""
    def job():
        yield Wait(FOREVER, pipe[0])
        return message
    return job


def end_at_once(message):
    def job():
        return message
        yield
    return job


def test_message_of_a_job_goes_into_the_inbox(loop, inbox, pipe):
    jobs = JobQueue('t', 2, loop, inbox.put)
    jobs.submit(end_at_once('at once'))
    jobs.submit(hold(pipe, 'later'))
    assert inbox.take() == ['at once'] and not inbox
    os.write(pipe[1], b'x')
    loop.turn(60.0)
    assert inbox and inbox.take() == ['later'] and inbox.take() == []


def test_waiting_jobs_go_by_urgency_and_then_in_order(loop, inbox, pipe):
    jobs = JobQueue('t', 1, loop, inbox.put)
    jobs.submit(hold(pipe, 'first'), Urgency.LATER)
    jobs.submit(end_at_once('scan'), Urgency.LATER)
    jobs.submit(end_at_once('stage 1'))
    jobs.submit(end_at_once('stage 2'))
    assert not jobs.is_urgent_waiting
    jobs.submit(end_at_once('rescue 1'), Urgency.RESCUE)
    jobs.submit(end_at_once('rescue 2'), Urgency.RESCUE)
    assert jobs.is_urgent_waiting and not inbox
    os.write(pipe[1], b'x')
    loop.turn(60.0)
    assert inbox.take() == ['first', 'rescue 1', 'rescue 2', 'stage 1', 'stage 2', 'scan']
    assert not jobs.is_urgent_waiting


def test_no_more_jobs_run_than_allowed(loop, inbox, build_pipe):
    jobs, pipes, begun = JobQueue('few', 2, loop, inbox.put), [build_pipe() for _ in range(4)], []

    def build(number):
        def job():
            begun.append(number)
            return (yield from hold(pipes[number], number)())
        return job
    for number in range(4):
        jobs.submit(build(number))
    assert begun == [0, 1]
    os.write(pipes[1][1], b'x')
    loop.turn(60.0)
    assert begun == [0, 1, 2] and inbox.take() == [1]
    for number in (0, 2):
        os.write(pipes[number][1], b'x')
    loop.turn(60.0)
    assert begun == [0, 1, 2, 3] and sorted(inbox.take()) == [0, 2]
    jobs.submit(end_at_once('again'))
    assert inbox.take() == ['again']


@pytest.mark.parametrize('size', [1, 16, MANY])
def test_any_number_of_jobs_ends_at_once(loop, inbox, size):
    """The stack of Python has room for a thousand calls."""
    jobs, pipe = JobQueue('t', size, loop, inbox.put), os.pipe()
    try:
        for _job in range(size):
            jobs.submit(lambda: pause_then(0.0, 'first'))
        for number in range(MANY):
            jobs.submit(end_at_once(number))
        turn_until(loop, lambda: len(inbox._messages) == size + MANY)
    finally:
        os.close(pipe[0])
        os.close(pipe[1])
    assert [message for message in inbox.take() if message != 'first'] == list(range(MANY))


def pause_then(seconds, message):
    yield from pause(seconds)
    return message


def test_what_takes_the_message_may_submit_the_next_job(loop):
    taken = []

    def put(number):
        taken.append(number)
        if number < MANY:
            jobs.submit(end_at_once(number + 1))
    jobs = JobQueue('t', 1, loop, put)
    jobs.submit(end_at_once(0))
    assert taken == list(range(MANY + 1))


def test_job_that_dies_ends_the_turn_and_others_go_on(loop, inbox, log_output, pipe):
    def die():
        yield TURN
        raise ValueError('not foreseen')
    jobs = JobQueue('inspector', 2, loop, inbox.put)
    jobs.submit(die)
    jobs.submit(hold(pipe, 'done'))
    with pytest.raises(JobDied, match='inspector'):
        loop.turn(60.0)
    os.write(pipe[1], b'x')
    loop.turn(60.0)
    assert inbox.take() == ['done']
    assert [line['job'] for line in log_output] == ['inspector']
