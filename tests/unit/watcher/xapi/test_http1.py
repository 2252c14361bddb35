"""Answers as they may come off the wire: whole, in pieces, chunked, torn, and no HTTP at all."""

import socket
import time

import pytest
from hypothesis import example, given, strategies as st

from watcher.loop.steps import FOREVER, READ, WRITE, Wait, run
from watcher.xapi.http1 import Disconnected, Line, NotHttp

OK = b'HTTP/1.1 200 OK\r\n'


class Wire:
    """A socket that gives what it was told to, and takes what is sent, so many bytes at a time."""

    def __init__(self, data, step=1 << 20):
        self._data = data
        self._step = step
        self.sent = []
        self.waits = []

    def recv(self, size):
        """Give the next bytes; nothing at the end."""
        size = min(size, self._step)
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def send(self, data):
        """Take the next bytes."""
        self.sent.append(data[:self._step])
        return len(self.sent[-1])

    def close(self):
        """Nothing to do."""

    def wait(self, _sock, events):
        """Note what is waited for, which is there at once."""
        self.waits.append(events)
        return iter(())


class Unready(Wire):
    """A socket that is ready once after it was waited for, and then only every other time."""

    _is_ready = False

    def recv(self, size):
        """Give the next bytes, if they are there."""
        self._check_ready()
        return super().recv(size)

    def send(self, data):
        """Take the next bytes, if there is room."""
        self._check_ready()
        return super().send(data)

    def wait(self, sock, events):
        """Wait; what `poll` says is not always true."""
        super().wait(sock, events)
        yield Wait(0.0)
        self._is_ready = len(self.waits) % 2 == 0

    def _check_ready(self):
        if not self._is_ready:
            raise BlockingIOError
        self._is_ready = False


def build_line(wire):
    return Line(wire, wire.wait)


def read_body(line):
    parts = []
    while True:
        parts.append(run(line.read_part()))
        if not parts[-1]:
            return b''.join(parts)


def read(data, step=1 << 20, build=Wire):
    line = build_line(build(data, step))
    status = run(line.read_status())
    return status, read_body(line), line.keeps_alive


@pytest.mark.parametrize('step', [1, 7, 1 << 20])
@pytest.mark.parametrize('data, expected', [
    pytest.param(OK + b'Content-Length: 5\r\n\r\nhello', (200, b'hello', True), id='length'),
    pytest.param(OK + b'content-length:5\r\n\r\nhello', (200, b'hello', True), id='lower-case'),
    pytest.param(OK + b'CONTENT-LENGTH: 0\r\n\r\n', (200, b'', True), id='empty'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n',
                 (200, b'hello', True), id='chunked'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n', (200, b'', True),
                 id='chunked-with-trailers'),
    pytest.param(OK + b'\r\nhello', (200, b'hello', False), id='until-closed'),
    pytest.param(OK + b'Content-Length: 5\r\nConnection: close\r\n\r\nhello',
                 (200, b'hello', False), id='closes'),
    pytest.param(b'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello', (200, b'hello', False),
                 id='old'),
    pytest.param(b'HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello',
                 (200, b'hello', True), id='old-and-kept'),
    pytest.param(b'HTTP/1.1 100 Continue\r\n\r\n' + OK + b'Content-Length: 2\r\n\r\nhi',
                 (200, b'hi', True), id='continue'),
    pytest.param(b'HTTP/1.1 500 \r\nContent-Length: 2\r\n\r\nno', (500, b'no', True), id='500'),
    pytest.param(b'HTTP/1.1 204\r\n\r\n', (204, b'', True), id='nothing'),
    pytest.param(b'HTTP/1.1 200 OK\nContent-Length: 2\n\nhi', (200, b'hi', True), id='bare-lf'),
])
def test_answer_is_read_in_whatever_pieces_it_comes(data, expected, step):
    assert read(data, step) == expected


@pytest.mark.parametrize('data, said', [
    pytest.param(b'HTTP/1.1 200', 'head that breaks off', id='torn-head'),
    pytest.param(OK + b'Content-Length: 5\r\n', 'head that breaks off', id='no-end-of-head'),
    pytest.param(b'<html>\r\n\r\n', 'no answer of HTTP', id='no-http'),
    pytest.param(b'HTTP/2 200 OK\r\n\r\n', 'no answer of HTTP', id='other-version'),
    pytest.param(OK + b'Content-Length: 5\r\n\r\nhell', '1 bytes short', id='torn'),
    pytest.param(OK + b'Content-Length: -5\r\n\r\nhell', 'content-length', id='negative'),
    pytest.param(OK + b'Content-Length: ' + b'9' * 40 + b'\r\n\r\n', 'content-length', id='huge'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\nxyz\r\n', 'chunk whose size',
                 id='odd-chunk'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\n-1\r\n', 'chunk whose size',
                 id='negative-chunk'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\n5\r\nhel', '2 bytes short',
                 id='torn-chunk'),
    pytest.param(OK + b'Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n', 'between two chunks',
                 id='no-last-chunk'),
    pytest.param(OK + b'A: ' + b'x' * 200000, 'head without an end', id='endless-head'),
])
def test_what_is_no_whole_answer_is_not_http(data, said):
    with pytest.raises(NotHttp, match=said):
        read(data)


def test_connection_that_was_closed_before_the_answer_is_told_apart():
    with pytest.raises(Disconnected):
        read(b'')


def test_request_is_sent_in_one_piece():
    wire = Wire(b'')
    run(build_line(wire).send(b'POST / HTTP/1.1\r\n', b'body'))
    assert wire.sent == [b'POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody']
    assert wire.waits == []


@pytest.mark.parametrize('build', [Wire, Unready])
def test_request_is_sent_once_whatever_the_kernel_takes_at_a_time(build):
    wire = build(b'', 7)
    run(build_line(wire).send(b'POST / HTTP/1.1\r\n', b'body'))
    assert b''.join(wire.sent) == b'POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody'
    assert set(wire.waits) <= {WRITE} and bool(wire.waits) == (build is Unready)


@pytest.mark.parametrize('step', [1, 7, 1 << 20])
def test_what_is_not_ready_after_all_is_waited_for_again(step):
    answer = OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n'
    assert read(answer, step, Unready) == (200, b'hello', True)


def test_each_receive_is_waited_for_so_that_others_get_their_turn():
    wire = Wire(OK + b'Content-Length: 2000000\r\n\r\n' + b'x' * 2000000, 1 << 16)
    line = build_line(wire)
    run(line.read_status())
    assert len(read_body(line)) == 2000000
    assert wire.waits.count(READ) == len(wire.waits) >= 2000000 >> 16


def test_what_the_wait_raises_ends_the_reading():
    def give_up(_sock, _events):
        yield Wait(0.0)
        raise TimeoutError('no whole answer')
    with pytest.raises(TimeoutError):
        run(Line(Wire(OK), give_up).read_status())


def test_what_is_left_on_a_connection_spoils_it_for_the_next_request():
    line = build_line(Wire(OK + b'Content-Length: 2\r\n\r\nhi' + OK))
    run(line.send(b'', b''))
    run(line.read_status())
    assert not line.is_read
    assert read_body(line) == b'hi'
    assert not line.is_read


def wait_for(sock, events):
    assert (yield Wait(FOREVER, sock.fileno(), events))


def test_large_body_comes_in_bounded_parts():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        body = b'x' * 100000
        theirs.sendall(OK + b'Content-Length: %d\r\n\r\n' % len(body) + body)
        line = Line(ours, wait_for)
        assert run(line.read_status()) == 200
        assert read_body(line) == body and line.is_read


def cost(data, step=1 << 20):
    """Seconds of this thread that it takes to read an answer, whatever it leads to."""
    began_at = time.thread_time() if hasattr(time, 'thread_time') else time.process_time()
    try:
        read(data, step)
    except NotHttp:
        pass
    ended_at = time.thread_time() if hasattr(time, 'thread_time') else time.process_time()
    return ended_at - began_at


@pytest.mark.parametrize('build, length, step', [
    # Each of these took a time that grew with its square or its cube.
    pytest.param(lambda n: OK + b'content-length:' + b' ' * n + b'\rx\r\n\r\n', 60000, 1 << 20,
                 id='blanks'),
    pytest.param(lambda n: OK + b'connection:' + b'\t ' * n + b'\r\r\n\r\n', 30000, 1 << 20,
                 id='tabs'),
    pytest.param(lambda n: OK + b'content-length' + b' ' * n + b'5\r\n\r\n', 60000, 1 << 20,
                 id='no-colon'),
    pytest.param(lambda n: OK + b'a:b\n' * n + b'\n', 15000, 1 << 20, id='many-lines'),
    pytest.param(lambda n: OK + b'A: ' + b'\r' * n + b'\n\n', 40000, 1, id='dripping-head'),
    pytest.param(lambda n: b'HTTP/1.1 200 ' + b' ' * n, 60000, 1 << 20, id='long-status'),
    pytest.param(lambda n: b'HTTP/1.1 100\r\n\r\n' * n + OK + b'\r\n', 4000, 1 << 20,
                 id='continues'),
    pytest.param(lambda n: OK + b'Transfer-Encoding: chunked\r\n\r\n' + b'1\r\nx\r\n' * n
                 + b'0\r\n\r\n', 20000, 1 << 20, id='tiny-chunks'),
    pytest.param(lambda n: OK + b'Transfer-Encoding: chunked\r\n\r\n0\r\n' + b'a: b\r\n' * n
                 + b'\r\n', 20000, 1 << 20, id='trailers'),
    pytest.param(lambda n: OK + b'Transfer-Encoding: chunked\r\n\r\n1' + b' ' * n, 40000, 1,
                 id='size'),
])
def test_no_answer_costs_more_than_its_length(build, length, step):
    short, long = (min(cost(build(n), step) for _attempt in range(3))
                   for n in (length // 4, length))
    # Four times the length: 4 where it is read in one go, 16 or 64 where it is not. What takes no
    # time at all tells nothing, and need not.
    assert long < 10 * max(short, 0.002)


@given(st.lists(st.sampled_from([
    OK, b'HTTP/1.1 ', b'100', b'\r\n', b'\n', b'\r', b' ', b'\t', b':', b';', b'5', b'ffff',
    b'Content-Length', b'Transfer-Encoding', b'chunked', b'Connection', b'close', b'\0', b'\xff',
    b'hello']), max_size=60).map(b''.join), st.sampled_from([1, 3, 1 << 20]))
@example(OK + b'content-length:   \r\r\n\r\n', 1)
def test_whatever_comes_is_read_or_is_not_http(data, step):
    try:
        read(OK + data, step)
    except NotHttp:
        pass
