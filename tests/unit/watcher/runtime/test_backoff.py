"""Delays before XAPI is tried again."""

import itertools

import pytest

from watcher.runtime.backoff import LOCAL_CAP_SECONDS, REMOTE_CAP_SECONDS, delays


def take(count, is_local, chance):
    return list(itertools.islice(delays(is_local, lambda: chance), count))


@pytest.mark.parametrize('is_local', [True, False])
def test_first_attempt_comes_at_once(is_local):
    assert next(delays(is_local, lambda: 1.0)) == 0.0


def test_delays_double_until_the_cap_of_the_local_socket():
    assert take(8, True, 1.0) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


@pytest.mark.parametrize('is_local, cap', [
    pytest.param(True, LOCAL_CAP_SECONDS, id='local'),
    pytest.param(False, REMOTE_CAP_SECONDS, id='remote'),
])
def test_delays_grow_to_the_cap_and_stay_there(is_local, cap):
    assert take(40, is_local, 1.0)[-1] == cap
    assert max(take(40, is_local, 1.0)) == cap


def test_caps_are_those_of_the_contract():
    assert (LOCAL_CAP_SECONDS, REMOTE_CAP_SECONDS) == (2.0, 30.0)


def test_unlucky_draws_never_make_a_tight_loop():
    assert take(8, True, 0.0)[1:] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_jitter_follows_the_source_of_chance():
    assert take(3, True, 0.25) == pytest.approx([0.0, 0.0625, 0.125])
