"""The password's file: what is read of it, and what is said when it is not as it should be."""

import os

import pytest

from watcher.config.settings import XapiSettings
from watcher.errors import XapiUnreachable
from watcher.xapi.password import read_password


def test_password_file_that_cannot_be_read_is_said(tmp_path):
    settings = XapiSettings(password_file=str(tmp_path / 'missing'))
    with pytest.raises(XapiUnreachable, match='missing'):
        read_password(settings)
    assert read_password(XapiSettings()) == ''


def test_password_file_that_is_no_file_is_not_waited_for(tmp_path):
    pipe = str(tmp_path / 'pipe')
    os.mkfifo(pipe)
    with pytest.raises(XapiUnreachable, match='not a regular file'):
        read_password(XapiSettings(password_file=pipe))


def test_no_byte_of_a_password_is_told(tmp_path):
    path = tmp_path / 'password'
    path.write_bytes(b'secret\xe9')
    with pytest.raises(XapiUnreachable) as caught:
        read_password(XapiSettings(password_file=str(path)))
    assert 'not UTF-8' in str(caught.value) and 'xe9' not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize('content', [b'sesame', b'sesame\n', b'sesame\r\n', b'sesame\n\n'])
def test_final_newlines_do_not_belong_to_it(tmp_path, content):
    path = tmp_path / 'password'
    path.write_bytes(content)
    assert read_password(XapiSettings(password_file=str(path))) == 'sesame'


@pytest.mark.parametrize('content, said', [
    pytest.param(b'\xef\xbb\xbfsesame', 'a byte order mark', id='bom'),
    pytest.param('sesame'.encode('utf-16'), 'a byte order mark', id='utf-16'),
    pytest.param('sesame'.encode('utf-16-le'), 'a NUL byte', id='utf-16-without-its-mark'),
    pytest.param(b'', 'it is empty', id='empty'), pytest.param(b'\r\n', 'it is empty', id='blank'),
    pytest.param(b'sesame\n# of xapi\n', 'more than one line', id='lines'),
    pytest.param(b'sesame\rother', 'more than one line', id='carriage-return')])
def test_file_that_cannot_be_meant_is_refused(tmp_path, content, said):
    path = tmp_path / 'password'
    path.write_bytes(content)
    with pytest.raises(XapiUnreachable, match=said) as caught:
        read_password(XapiSettings(password_file=str(path)))
    assert 'sesame' not in str(caught.value) and str(path) in str(caught.value)
