"""The two sessions: opened together, told together, given back together."""

import pytest

from watcher.config.settings import XapiSettings
from watcher.errors import XapiError, XapiUnreachable
from watcher.loop.steps import run
from watcher.xapi.sessions import SessionOpened, Sessions


@pytest.fixture
def settings(simulator):
    return XapiSettings(url='unix:' + simulator.settings.socket_path)


def count_open(simulator):
    methods = [call.method for call in simulator.calls]
    return methods.count('session.login_with_password') - methods.count('session.logout')


def test_both_are_opened_and_told(simulator, settings):
    told = []
    sessions = Sessions(lambda: settings, told.append)
    stream = run(sessions.open())
    opened, = told
    assert isinstance(opened, SessionOpened) and opened.role.is_writer
    assert stream.handle and stream.handle != opened.handle and count_open(simulator) == 2
    stream.close()
    sessions.log_out()
    assert count_open(simulator) == 0


def test_those_of_before_are_given_back_when_new_ones_are_open(simulator, settings):
    sessions = Sessions(lambda: settings, lambda _message: None)
    run(sessions.open()).close()
    run(sessions.open()).close()
    assert count_open(simulator) == 2
    sessions.log_out()
    assert count_open(simulator) == 0


def test_none_is_left_when_the_configuration_changes_meanwhile(simulator, settings):
    told = []
    sessions = Sessions(lambda: settings._replace(), told.append)
    with pytest.raises(XapiUnreachable, match='changed meanwhile'):
        run(sessions.open())
    assert told == [] and count_open(simulator) == 0


@pytest.mark.parametrize('methods', [
    ('session.get_this_host', 'session.get_record', 'host.get_all'),
    ('host.get_software_version', 'host.get_record')], ids=lambda methods: methods[0])
def test_none_is_left_when_xapi_does_not_say_who_it_is(simulator, settings, methods):
    for method in methods:
        simulator.add_fault('failure', method=method, parameters={'code': 'INTERNAL_ERROR'})
    told = []
    sessions = Sessions(lambda: settings, told.append)
    for _attempt in range(3):
        with pytest.raises(XapiError):
            run(sessions.open())
        assert count_open(simulator) == 0 and not told
    # What fails again and again is done without, and asked for again before long.
    run(sessions.open()).close()
    assert not told[0].role.is_writer and not told[0].role.is_certain
    sessions.log_out()
