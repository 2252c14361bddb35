"""No error names a session or a password: errors become log lines and messages (P31)."""

import pytest

from registry.errors import Conflict
from watcher.errors import SessionLost, XapiFailure, XapiNonsense, XapiUnreachable
from watcher.xapi.rpc import without_secrets

SESSION = 'OpaqueRef:4f1d2c3b-0000-4000-8000-123456789abc'
VM = 'OpaqueRef:11111111-0000-4000-8000-123456789abc'


@pytest.mark.parametrize('error', [
    SessionLost('SESSION_INVALID', [SESSION]),
    XapiFailure('HANDLE_INVALID', ['session', SESSION]),
    XapiFailure('INTERNAL_ERROR', ['Server_error(SESSION_INVALID, [ %s ])' % SESSION]),
    XapiFailure('INTERNAL_ERROR', ['(HANDLE_INVALID session %s)' % SESSION]),
    XapiNonsense('a call: [\'SESSION_INVALID\', \'%s\']' % SESSION),
    XapiUnreachable('XAPI refuses: SESSION_INVALID: %s' % SESSION)])
def test_session_that_was_refused_is_in_no_text(error):
    assert SESSION not in str(error) + repr(error) + ' '.join(getattr(error, 'params', ()))
    assert 'hidden' in str(error)


@pytest.mark.parametrize('method, params, secret', [
    ('VM.get_record', (SESSION, VM), SESSION), ('session.logout', (SESSION,), SESSION),
    ('session.get_auth_user_name', ('OpaqueRef:own', SESSION), SESSION),
    ('session.login_with_password', ('root', 'sesame'), 'sesame')])
def test_what_a_call_was_made_with_is_in_no_text(method, params, secret):
    for error in (XapiFailure('INTERNAL_ERROR', ['in %s' % secret, VM, 'root']),
                  XapiNonsense('no answer: %r' % secret)):
        with pytest.raises(type(error)) as caught:
            with without_secrets(method, params):
                raise error
        assert secret not in str(caught.value) + ' '.join(getattr(caught.value, 'params', ()))


def test_other_references_stay_they_say_what_an_error_is_about():
    error = XapiFailure('HANDLE_INVALID', ['VM', VM])
    with pytest.raises(XapiFailure), without_secrets('VM.start', (SESSION, VM)):
        raise error
    assert error.params == ('VM', VM) and str(error) == 'HANDLE_INVALID: VM, %s' % VM


def test_text_of_others_makes_no_second_line():
    for error in (XapiFailure('OPERATION_BLOCKED', [VM, 'a\nb']), XapiNonsense('a\nb'),
                  Conflict('VM (a\nb) has it')):
        assert 'a\\x0ab' in str(error) and '\n' not in str(error)


def test_text_of_any_length_costs_linear_time():
    assert len(str(XapiNonsense('SESSION_INVALID ' + '[' * 1000000))) > 1000000
