"""The two sessions: opened together, told together, given back together where they were opened."""

from typing import Any, Iterator

import pytest

from simulator.server import Simulator
from simulator.settings import Settings
from watcher.config.settings import XapiSettings
from watcher.errors import XapiError, XapiUnreachable
from watcher.loop.steps import run
from watcher.xapi.sessions import SessionOpened, Sessions


@pytest.fixture
def settings(simulator):
    return XapiSettings(url='unix:' + simulator.settings.socket_path)


@pytest.fixture
def elsewhere(tmp_path: Any) -> Iterator[Simulator]:
    """Another XAPI."""
    simulator = Simulator(Settings(socket_path=str(tmp_path / 'elsewhere'), seed=2))
    simulator.start()
    yield simulator
    simulator.stop()


def build(read_settings, put=lambda _message: None, beside=run):
    return Sessions(read_settings, put, beside=beside)


def count_open(simulator):
    methods = [call.method for call in simulator.calls]
    return methods.count('session.login_with_password') - methods.count('session.logout')


def test_both_are_opened_and_told(simulator, settings):
    told = []
    sessions = build(lambda: settings, told.append)
    stream = run(sessions.open())
    opened, = told
    assert isinstance(opened, SessionOpened) and opened.role.is_writer
    assert stream.handle and stream.handle != opened.handle and count_open(simulator) == 2
    stream.close()
    sessions.log_out()
    assert count_open(simulator) == 0


def test_those_of_before_are_given_back_when_new_ones_are_open(simulator, settings):
    sessions = build(lambda: settings)
    run(sessions.open()).close()
    run(sessions.open()).close()
    assert count_open(simulator) == 2
    sessions.log_out()
    assert count_open(simulator) == 0


def list_given_back(simulator):
    return [call.session for call in simulator.calls if call.method == 'session.logout']


def test_those_of_another_xapi_are_given_back_there_and_never_named_here(
        simulator, elsewhere, settings):
    """To whoever is asked now a session of the XAPI before is a secret of others (P31)."""
    current, beside = [settings], []
    sessions = build(lambda: current[0], beside=beside.append)
    run(sessions.open()).close()
    current[0] = XapiSettings(url='unix:' + elsewhere.settings.socket_path)
    run(sessions.open()).close()
    assert count_open(simulator) == count_open(elsewhere) == 2, 'nothing is waited for'
    run(beside[-1])
    sessions.log_out()
    assert count_open(simulator) == count_open(elsewhere) == 0
    assert not set(list_given_back(simulator)) & set(list_given_back(elsewhere))


def test_those_of_before_are_given_back_there_when_the_configuration_has_changed_at_the_end(
        simulator, elsewhere, settings):
    current = [settings]
    sessions = build(lambda: current[0])
    run(sessions.open()).close()
    current[0] = XapiSettings(url='unix:' + elsewhere.settings.socket_path)
    sessions.log_out()
    assert count_open(simulator) == 0 and not elsewhere.calls


def test_those_that_are_being_opened_are_given_back_also_when_the_xapi_before_is_away(
        simulator, elsewhere, settings):
    """The daemon is stopped in the midst of a reconnect to another XAPI."""
    current = [XapiSettings(url='unix:' + elsewhere.settings.socket_path)]

    def read_settings():
        if count_open(simulator) == 2:  # both are open, and not told yet
            sessions.log_out()
        return current[0]
    sessions = build(read_settings)
    run(sessions.open()).close()
    elsewhere.stop()
    current[0] = settings
    run(sessions.open()).close()
    assert count_open(simulator) == 0


def test_none_is_left_when_the_configuration_changes_meanwhile(simulator, settings):
    told = []
    sessions = build(lambda: settings._replace(), told.append)
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
    sessions = build(lambda: settings, told.append)
    for _attempt in range(3):
        with pytest.raises(XapiError):
            run(sessions.open())
        assert count_open(simulator) == 0 and not told
    # What fails again and again is done without, and asked for again before long.
    run(sessions.open()).close()
    assert not told[0].role.is_writer and not told[0].role.is_certain
    sessions.log_out()
