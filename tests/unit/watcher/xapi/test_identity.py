"""Whom a session talks to, where XAPI lacks some of the calls that tell it."""

import pytest

from watcher.errors import (NoAnswer, SessionLost, XapiError, XapiFailure, XapiNonsense,
                            XapiUnreachable)
from watcher.loop.steps import TURN, run
from watcher.xapi.identity import read_identity
from watcher.xapi.role import decide_role

ANSWERS = {'pool.get_all': ['pool'], 'pool.get_all_records': {'pool': {'master': 'here'}},
           'pool.get_master': 'here', 'pool.get_record': {'master': 'here'},
           'session.get_this_host': 'here', 'session.get_record': {'this_host': 'here'},
           'host.get_all': ['here'], 'host.get_software_version': {'xapi': '26.1'},
           'host.get_record': {'software_version': {'xapi': '26.1'}}}
UNKNOWN = XapiFailure('MESSAGE_METHOD_UNKNOWN', ('x',))


def answer_or_raise(answer):
    """Steps of a call that ends in this way."""
    yield TURN
    if isinstance(answer, Exception):
        raise answer
    return answer


def ask(failing, is_forgiving=False, **answers):
    """The identity that an XAPI tells in which these calls fail."""
    calls = []

    def call(method, *_params):
        calls.append(method)
        answer = failing.get(method, answers.get(method.replace('.', '_'), ANSWERS[method]))
        return answer_or_raise(answer)
    identity = run(read_identity(call, 'session', is_forgiving=is_forgiving))
    return identity, calls


def test_four_calls_tell_it():
    identity, calls = ask({})
    assert identity == ('here', 'here', {'xapi': '26.1'}, True)
    assert calls == ['pool.get_all', 'pool.get_master', 'session.get_this_host',
                     'host.get_software_version']


@pytest.mark.parametrize('error', [UNKNOWN, XapiFailure('INTERNAL_ERROR', ('Not_found',)),
                                   XapiNonsense('fault'), NoAnswer('HTTP 500')], ids=str)
@pytest.mark.parametrize('method', ['pool.get_all', 'pool.get_master', 'session.get_this_host',
                                    'host.get_software_version'])
def test_another_call_tells_the_same(method, error):
    assert ask({method: error})[0] == ('here', 'here', {'xapi': '26.1'}, True)


def test_on_which_host_of_several_is_not_guessed():
    failing = {'session.get_this_host': UNKNOWN, 'session.get_record': UNKNOWN}
    identity = ask(failing, host_get_all=['here', 'there'])[0]
    assert (identity.host, identity.master) == ('', 'here')
    role = decide_role(identity, is_local=True)
    assert not (role.is_writer or role.is_member) and 'master' in role.refusal
    assert decide_role(identity, is_local=False).is_writer
    assert ask(failing)[0].host == 'here'


@pytest.mark.parametrize('answer', [UNKNOWN, '26.1', [], None, 7], ids=repr)
def test_version_that_is_not_told_is_an_unreadable_one(answer):
    identity = ask({}, host_get_software_version=answer,
                   host_get_record={'software_version': answer}
                   if answer is not UNKNOWN else UNKNOWN)[0]
    assert (identity.software_version, identity.is_certain) == ({}, True)
    assert not decide_role(identity, is_local=True).is_writer


@pytest.mark.parametrize('error', [XapiFailure('HOST_STILL_BOOTING'), XapiNonsense('fault'),
                                   NoAnswer('HTTP 500'), XapiUnreachable('no answer')], ids=str)
def test_what_may_pass_is_raised_until_it_has_failed_again_and_again(error):
    failing = {'host.get_software_version': error, 'host.get_record': error}
    with pytest.raises(XapiError):
        ask(failing)
    identity = ask(failing, is_forgiving=True)[0]
    assert identity == ('here', 'here', {}, False)


@pytest.mark.parametrize('is_forgiving', [False, True])
@pytest.mark.parametrize('method', ['pool.get_all', 'host.get_software_version'])
def test_lost_session_is_raised(method, is_forgiving):
    with pytest.raises(SessionLost):
        ask({method: SessionLost('SESSION_INVALID', ('x',))}, is_forgiving)


def test_nobody_is_asked_again_where_nobody_is():
    calls = []

    def call(method, *_params):
        calls.append(method)
        return answer_or_raise(XapiUnreachable('no answer within 15 s'))
    with pytest.raises(XapiUnreachable):
        run(read_identity(call, 'session'))
    assert calls == ['pool.get_all']
