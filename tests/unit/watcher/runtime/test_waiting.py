"""The inbox: messages, and a descriptor that gives one."""

import os

import pytest

from watcher.runtime.waiting import Inbox


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_messages_are_given_in_their_order():
    inbox = Inbox()
    inbox.put('a')
    inbox.put('b')
    assert inbox.take(60.0) == ['a', 'b'] and inbox.take(0.0) == []


def test_descriptor_that_can_be_read_gives_its_message_until_it_was_read(pipe):
    reader, writer = pipe
    inbox = Inbox()
    inbox.listen(reader, 'told')
    assert inbox.take(0.0) == []
    os.write(writer, b'x')
    assert inbox.take(60.0) == inbox.take(60.0) == ['told']
    os.read(reader, 1)
    assert inbox.take(0.0) == []


def test_descriptor_that_is_listened_to_no_more_gives_none(pipe):
    inbox = Inbox()
    inbox.listen(pipe[0], 'told')
    os.write(pipe[1], b'x')
    inbox.listen(None, 'told')
    assert inbox.take(0.0) == []
    inbox.put('a')
    assert inbox.take(60.0) == ['a']
