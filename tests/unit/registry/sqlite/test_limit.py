"""SQLite asks, in each long statement, whether it takes too long; the answer outlives the question."""

import gc
from typing import Any

from registry.sqlite.connection import Connection
from registry.sqlite.lock_wait import Patience

_TEN = '(%s)' % ' UNION ALL '.join(['SELECT 1'] * 10)
_LONG = 'SELECT count(*) FROM %s, %s, %s, %s' % ((_TEN,) * 4)


def test_one_transaction_after_the_other_has_a_long_statement(tmp_path: Any) -> None:
    """On Python 3.6 and 3.7 the second one called freed memory, and the process died."""
    with Connection(journal_path=None, registry_path=None, patience=Patience(1.0)) as connection:
        for _transaction in range(20):
            with connection.writing():
                gc.collect()
                assert connection.execute(_LONG) == [(10000,)]
