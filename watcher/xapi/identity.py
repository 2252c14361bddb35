"""Whom a session talks to: which host answers, which is master, and in which version.

Asked in more ways than one, since XAPIs differ in which of these calls they have, and to their
session some may be forbidden. What none of them tells stays unknown, and decides for caution
(role.py).
"""

from typing import Any, Callable, List, Mapping, NamedTuple, Tuple

from watcher.errors import (NoAnswer, NotTheMaster, SessionLost, XapiError, XapiFailure,
                            XapiNonsense, XapiUnreachable)
from watcher.loop.steps import Steps

# XAPI does not have the call, or not for us: it need not be tried again in this session.
NOT_FOR_US = frozenset(['MESSAGE_METHOD_UNKNOWN', 'MESSAGE_REMOVED', 'RBAC_PERMISSION_DENIED',
                        'MESSAGE_PARAMETER_COUNT_MISMATCH', 'NOT_IMPLEMENTED'])

Call = Callable[..., Steps[Any]]
_Way = Tuple[Any, ...]


class Identity(NamedTuple):
    """Whom a session talks to; what XAPI does not tell is empty."""
    host: str
    """The host that the session was opened on."""
    master: str
    software_version: Mapping[str, str]
    is_certain: bool = True
    """False when something is unknown because XAPI failed to tell it: it may do so later."""


def read_identity(call: Call, session: str, *, is_forgiving: bool = False) -> Steps[Identity]:
    """Ask who answers. `is_forgiving` once it has failed before: what fails stays unknown then.

    While XAPI starts, each of these calls fails in its own way, and succeeds a moment later.
    """
    asking = _Asking(call, is_forgiving)
    pool = yield from asking.ask((_first, 'pool.get_all'), (_first_key, 'pool.get_all_records'))
    master = (yield from asking.ask(
        (_text, 'pool.get_master', pool),
        (lambda record: _text(record['master']), 'pool.get_record', pool))) if pool else ''
    host = yield from asking.ask(
        (_text, 'session.get_this_host', session),
        (lambda record: _text(record['this_host']), 'session.get_record', session),
        (_only, 'host.get_all'))
    asked = host or master
    versions = (yield from asking.ask(
        (_map, 'host.get_software_version', asked),
        (lambda record: _map(record['software_version']), 'host.get_record', asked))
    ) if asked else {}
    return Identity(host or '', master or '', versions or {}, asking.is_certain)


class _Asking:
    """Tries one way after the other."""

    def __init__(self, call: Call, is_forgiving: bool) -> None:
        self._call = call
        self._is_forgiving = is_forgiving
        self.is_certain = True

    def ask(self, *ways: _Way) -> Steps[Any]:
        """The first answer; None when XAPI has no way to tell.

        A way is what is made of the answer, the method, and its parameters.
        """
        failed: List[XapiError] = []
        for read, method, *params in ways:
            try:
                return read((yield from self._call(method, *params)))
            except (SessionLost, NotTheMaster):
                raise
            except (TypeError, KeyError, IndexError) as error:
                failed.append(XapiNonsense(f'XAPI does not tell who it is: {error!r}'))
            except XapiError as error:
                self._check(error)
                failed.append(error)
        passing = [error for error in failed if not _is_final(error)]
        if passing and not self._is_forgiving:
            raise passing[0]
        self.is_certain = self.is_certain and not passing
        return None

    def _check(self, error: XapiError) -> None:
        """Give up where XAPI does not answer: another way would have to wait as well."""
        if not self._is_forgiving and isinstance(error, XapiUnreachable) \
                and not isinstance(error, NoAnswer):
            raise error


def _is_final(error: XapiError) -> bool:
    return isinstance(error, XapiFailure) and error.code in NOT_FOR_US


def _first(items: Any) -> str:
    if not isinstance(items, list) or not items:
        raise XapiNonsense('XAPI knows no resource pool yet')
    return _text(items[0])


def _first_key(items: Any) -> str:
    return _first(list(items))


def _only(items: Any) -> str:
    """The one host of a pool of one."""
    if not isinstance(items, list) or len(items) != 1:
        raise XapiFailure('NOT_IMPLEMENTED', ('XAPI does not say which host this is',))
    return _text(items[0])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise XapiNonsense(f'XAPI does not tell who it is: {value!r}')
    return value


def _map(value: Any) -> Mapping[str, str]:
    """What is no map tells no version, and that is an answer (P23)."""
    if not isinstance(value, dict):
        raise XapiFailure('NOT_IMPLEMENTED', (f'the version is no map: {value!r}',))
    return value
