"""Whom a session talks to: which host answers, which is master, and in which version.

Asked in more ways than one, since XAPIs differ in which of these calls they have, and to their
session some may be forbidden. What none of them tells stays unknown, and decides for caution
(role.py).
"""

from typing import Any, Callable, List, Mapping, NamedTuple

from watcher.errors import (NoAnswer, NotTheMaster, SessionLost, XapiError, XapiFailure,
                            XapiNonsense, XapiUnreachable)

# XAPI does not have the call, or not for us: it need not be tried again in this session.
NOT_FOR_US = frozenset(['MESSAGE_METHOD_UNKNOWN', 'MESSAGE_REMOVED', 'RBAC_PERMISSION_DENIED',
                        'MESSAGE_PARAMETER_COUNT_MISMATCH', 'NOT_IMPLEMENTED'])

Call = Callable[..., Any]
_Way = Callable[[], Any]


class Identity(NamedTuple):
    """Whom a session talks to; what XAPI does not tell is empty."""
    host: str
    """The host that the session was opened on."""
    master: str
    software_version: Mapping[str, str]
    is_certain: bool = True
    """False when something is unknown because XAPI failed to tell it: it may do so later."""


def read_identity(call: Call, session: str, *, is_forgiving: bool = False) -> Identity:
    """Ask who answers. `is_forgiving` once it has failed before: what fails stays unknown then.

    While XAPI starts, each of these calls fails in its own way, and succeeds a moment later.
    """
    asking = _Asking(call, is_forgiving)
    pool = asking.ask(lambda: _first(call('pool.get_all')),
                      lambda: _first(list(call('pool.get_all_records'))))
    master = asking.ask(lambda: _text(call('pool.get_master', pool)),
                        lambda: _text(call('pool.get_record', pool)['master'])) if pool else ''
    host = asking.ask(lambda: _text(call('session.get_this_host', session)),
                      lambda: _text(call('session.get_record', session)['this_host']),
                      lambda: _only(call('host.get_all')))
    asked = host or master
    versions = asking.ask(
        lambda: _map(call('host.get_software_version', asked)),
        lambda: _map(call('host.get_record', asked)['software_version'])) if asked else {}
    return Identity(host or '', master or '', versions or {}, asking.is_certain)


class _Asking:
    """Tries one way after the other."""

    def __init__(self, call: Call, is_forgiving: bool) -> None:
        self._call = call
        self._is_forgiving = is_forgiving
        self.is_certain = True

    def ask(self, *ways: _Way) -> Any:
        """The first answer; None when XAPI has no way to tell."""
        failed: List[XapiError] = []
        for way in ways:
            try:
                return way()
            except (SessionLost, NotTheMaster):
                raise
            except (TypeError, KeyError, IndexError) as error:
                failed.append(XapiNonsense('XAPI does not tell who it is: %r' % error))
            except XapiError as error:
                self._check(error)
                failed.append(error)
        passing = [error for error in failed if not _is_final(error)]
        if passing and not self._is_forgiving:
            raise passing[0]
        self.is_certain = self.is_certain and not passing
        return None

    def _check(self, error: XapiError) -> None:
        """Nobody is there: another way would only be waited for as well."""
        if not self._is_forgiving and isinstance(error, XapiUnreachable) \
                and not isinstance(error, NoAnswer):
            raise error


def _is_final(error: XapiError) -> bool:
    return isinstance(error, XapiFailure) and error.code in NOT_FOR_US


def _first(items: Any) -> str:
    if not isinstance(items, list) or not items:
        raise XapiNonsense('XAPI knows no resource pool yet')
    return _text(items[0])


def _only(items: Any) -> str:
    """The one host of a pool of one."""
    if not isinstance(items, list) or len(items) != 1:
        raise XapiFailure('NOT_IMPLEMENTED', ('XAPI does not say which host this is',))
    return _text(items[0])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise XapiNonsense('XAPI does not tell who it is: %r' % (value,))
    return value


def _map(value: Any) -> Mapping[str, str]:
    """What is no map tells no version, and that is an answer (P23)."""
    if not isinstance(value, dict):
        raise XapiFailure('NOT_IMPLEMENTED', ('the version is no map: %r' % (value,),))
    return value
