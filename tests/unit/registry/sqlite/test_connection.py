"""What reaches the caller while SQLite reads rows."""

import signal

import pytest

from registry.sqlite.connection import Connection
from registry.sqlite.lock_wait import Patience

_TEN = '(%s)' % ' UNION ALL '.join(['SELECT 1'] * 10)
_ROWS = "SELECT 'uuid', 'name', 'pool' FROM %s, %s, %s" % ((_TEN,) * 3)


def test_ctrl_c_among_the_rows_is_no_other_error() -> None:
    """On Python 3.6 it was a SystemError where code of ours decoded the text."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with Connection(journal_path=None, registry_path=None,
                        patience=Patience(1.0)) as connection:
            for _ in range(20):
                with pytest.raises(KeyboardInterrupt):
                    _read_rows(connection)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _read_rows(connection: Connection) -> None:
    """Read rows until the alarm interrupts that."""
    while True:
        # Again: one that comes while Python runs a finalizer is swallowed there.
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        for _ in range(100):
            connection.execute(_ROWS)
