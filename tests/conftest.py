"""Fixtures that everybody uses, and the recording of all SQL that runs during the tests."""

import os
import signal
import time
import zlib
from typing import Any, Callable, Dict, Iterator, List

import hypothesis
import pytest
import structlog

from tests.packaging.sqlite_3_7 import recording
from watcher.config.settings import Settings

# Before any test opens a database; tests/meta/test_floor.py replays it on SQLite 3.7.17.
recording.start()

# How long this machine takes to make up an example is no fault of what is tried with it.
hypothesis.settings.register_profile(
    'any machine', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile('any machine')

# A shell starts what it puts into the background with SIGINT ignored, and that is inherited: the
# tests that press Ctrl-C would wait for ever. Set here, before processes for tests are started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests that take longest, by processor or by waiting: handed out first, none is left at the end.
_LONGEST = ('tests/packaging/package/', 'tests/verification/model_checker/',
            'tests/verification/assurance/test_storm.py', 'tests/meta/test_demo.py',
            'tests/playground/', 'is_given_up_after_forty_seconds')
# What each of these builds, or runs, it needs once: one process of those that run the tests takes
# all that begins so.
_TOGETHER = ('tests/packaging/package/test_tarball.py', 'tests/packaging/package/',
             'tests/verification/model_checker/test_pool_model.py', 'tests/meta/test_demo.py',
             'tests/monitoring/test_dashboard.py', 'tests/meta/test_architecture.py',
             'tests/playground/test_shell.py')


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Put what judges the other tests behind them, and what takes longest before them.

    The files are mixed: in some folders all tests wait, and in others all use a processor.
    """
    items.sort(key=lambda item: (item.get_closest_marker('runs_last') is not None,
                                 not any(part in item.nodeid for part in _LONGEST),
                                 zlib.crc32(item.nodeid.partition('::')[0].encode('utf-8'))))


# Marks of groups are xdist's own way, which pytest 9.2 does not hear of any more.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests one by one, but for those that go together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        """Scopes are what goes together."""

        def _split_scope(self, nodeid: str) -> str:
            return next((part for part in _TOGETHER if nodeid.startswith(part)), nodeid)

    return Scheduling(config, log)


# Most tests wait most of the time, for a real daemon or a time-out. So there are more at once than
# a machine could carry if none did: those of the first processes begin when it is their turn, and
# the others only while the processors are not busy, or when they are busy for so long.
_ALWAYS, _RUNNING_AT_MOST = 4, 2 * (os.cpu_count() or 1)
_HELD_SECONDS = 5.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Hold a test back where it would slow down those that run already."""
    number = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])
    deadline = time.monotonic() + _HELD_SECONDS
    while (number >= _ALWAYS and _count_running() > _RUNNING_AT_MOST
           and time.monotonic() < deadline):
        time.sleep(0.02)


def _count_running() -> int:
    """How many threads of this machine run or could."""
    with open('/proc/loadavg', encoding='ascii') as stream:
        return int(stream.read().split()[3].partition('/')[0])


@pytest.fixture
def settings(tmp_path: Any) -> Callable[..., Settings]:
    """Build settings: `settings(scan={'interval_seconds': 1})`; the registry is in tmp_path."""
    def build(**sections: Dict[str, Any]) -> Settings:
        built = Settings()
        sections.setdefault('registry', {'path': str(tmp_path / 'vgpu_config.db')})
        for section, keys in sections.items():
            built = built._replace(**{section: getattr(built, section)._replace(**keys)})
        return built
    return build


@pytest.fixture
def log_output() -> Iterator[List[Dict[str, Any]]]:
    """Collect what is logged: dictionaries with event, log_level and the fields."""
    with structlog.testing.capture_logs() as lines:
        yield lines
