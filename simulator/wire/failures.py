"""What XAPI answers when it says no, with codes and parameters exactly as they go over the wire."""

from typing import List, Sequence, Tuple


class Failure(Exception):
    """An error answer of XAPI: a code and its parameters."""

    def __init__(self, code: str, params: Sequence[str] = ()) -> None:
        super().__init__(code, list(params))
        self.code = code
        self.params = [str(param) for param in params]

    @property
    def description(self) -> List[str]:
        """Return the list that stands in ErrorDescription."""
        return [self.code] + self.params


class XapiGone(Exception):
    """The xapi process that was serving this call has ended: no answer will come."""


def session_invalid(session: str) -> Failure:
    """Build the answer to a session that is not, or no longer, known."""
    return Failure('SESSION_INVALID', [session])


def handle_invalid(table: str, ref: str) -> Failure:
    """Build the answer to a reference that is not in the table."""
    return Failure('HANDLE_INVALID', [table, ref])


def uuid_invalid(table: str, uuid: str) -> Failure:
    """Build the answer to a UUID that no row bears."""
    return Failure('UUID_INVALID', [table, uuid])


def duplicate_key(table: str, field: str, ref: str, key: str) -> Failure:
    """Build the answer to adding a key that is there, be the value equal or not."""
    return Failure('MAP_DUPLICATE_KEY', [table, field, ref, key])


def bad_power_state(ref: str, expected: Sequence[str], actual: str) -> Failure:
    """Build the answer to an operation that the power state forbids."""
    return Failure('VM_BAD_POWER_STATE', [ref, ', '.join(expected).lower(), actual.lower()])


def internal_error(text: str) -> Failure:
    """Build the answer to what xapi did not expect: the text of the exception in it."""
    return Failure('INTERNAL_ERROR', [text])


def empty_key() -> Failure:
    """Build the answer to a map with an empty key."""
    return internal_error('Db_exn.Empty_key_in_map')


def invalid_value() -> Failure:
    """Build the answer to a text with characters that XML does not allow."""
    return internal_error('Db_exn.Invalid_value')


def method_unknown(method: str) -> Failure:
    """Build the answer to a method that does not exist."""
    return Failure('MESSAGE_METHOD_UNKNOWN', [method])


def count_mismatch(method: str, expected: int, received: int) -> Failure:
    """Build the answer to too few or too many parameters; neither number counts the session."""
    return Failure('MESSAGE_PARAMETER_COUNT_MISMATCH', [method, str(expected), str(received)])


def operation_in_progress(
    version: Tuple[int, ...], ref: str, operations: Sequence[Tuple[str, str]], wanted: str
) -> Failure:
    """Build the answer to a second operation; since 25.27 it names the first one and its task."""
    if version < (25, 27):
        return Failure('OTHER_OPERATION_IN_PROGRESS', ['VM.' + wanted, ref])
    names = [name for _, name in operations]
    tasks = [task for task, _ in operations]
    if len(operations) == 1:
        return Failure('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, names[0], tasks[0]])
    braced = ['{' + ','.join(words) + '}' for words in (names, tasks)]
    return Failure('OTHER_OPERATION_IN_PROGRESS', ['VM', ref] + braced)
