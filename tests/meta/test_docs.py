"""The documents against the code: log events, words, configuration, exit statuses, modules."""

import fnmatch
import functools
import glob
import os
import re

import pytest

from cli.errors import ExitStatus
from docs.man.concepts import render_concepts
from registry.journal.history import HISTORY_ROWS
from registry.journal.receipts import RECEIPTS_IN_ALL, RECEIPTS_PER_VM
from tests.support.documents import DOCUMENTS, ROOT, find_rows, read, read_tables
from tests.support.log_calls import collect_events, find_unread_loggers
from watcher import __main__ as watcher_program
from watcher.config import settings
from watcher.service import INSPECTORS
from watcher.staging.stager import STAGING_AT_ONCE
from watcher.vm.boot import BootKind, Verdict
from watcher.vm.plan import SETTLE_SECONDS, PlanReason, State
from watcher.xapi.callers import CALLERS

EVENT = re.compile(r'[a-z]+\.(?!py\Z)[a-z_]+\Z')


def list_sources(*packages):
    """(path, source) of each module of these packages."""
    return [(path, read(path)) for package in packages or ('watcher',)
            for path in list_modules(package)]


def list_modules(package):
    """The files of a package, those of its rooms as well."""
    return sorted(os.path.relpath(path, ROOT) for path in glob.glob(
        os.path.join(ROOT, package, '**/*.py'), recursive=True))


@functools.lru_cache(maxsize=None)
def list_events():
    return collect_events([source for _path, source in list_sources()])


def test_each_log_event_is_documented_with_its_levels_and_fields():
    documented = {row[0]: (frozenset(row[1].split(', ')), frozenset(row[2].split()))
                  for row in find_rows('docs/log-events.md', 'event')}
    assert documented == list_events()


def test_each_log_event_is_explained():
    rows = find_rows('docs/log-events.md', 'event')
    assert rows and all(len(row) == 5 and row[3] and row[4] for row in rows)


def test_no_use_of_a_logger_is_overlooked():
    # get_logger itself fetches one, to hand it on.
    unread = [line for path, source in list_sources() for line in find_unread_loggers(source)
              if path != 'watcher/runtime/logs.py' or 'structlog.' not in source.splitlines()[line - 1]]
    assert unread == []


@pytest.mark.parametrize('body', [
    'x(get_logger())', 'return get_logger()', 'get_logger().msg("a")'])
def test_overlooked_use_of_a_logger_is_found(body):
    assert find_unread_loggers('def f():\n    %s\n' % body) == [2]


@pytest.mark.parametrize('body, expected', [
    pytest.param('get_logger().info("a.b", x=1)', ('a.b', {'info'}, {'x'}), id='plain'),
    pytest.param('log = get_logger()\n    log.error("a.b")', ('a.b', {'error'}, set()),
                 id='by-a-name'),
    pytest.param('log = get_logger()\n    say = log.info if x else log.warning\n'
                 '    f = dict(y=1)\n    f["z"] = 2\n    say("a.b", **f)',
                 ('a.b', {'info', 'warning'}, {'y', 'z?'}), id='level-and-fields-chosen'),
    pytest.param('get_logger().info("a.b", x=1)\n    get_logger().info("a.b")',
                 ('a.b', {'info'}, {'x?'}), id='field-in-one-of-two'),
    pytest.param('name = "a.b" if x else "a.c"\n    name = "a.b"\n    get_logger().info(name)\n',
                 ('a.b', {'info'}, set()), id='name-chosen'),
    pytest.param('return {"event": "a.b", "level": "warning", "x": 1}',
                 ('a.b', {'warning'}, {'x'}), id='built-by-hand'),
])
def test_log_call_is_read(body, expected):
    source = 'def f(x):\n    %s\n' % body
    assert collect_events([source])[expected[0]] == expected[1:]


@pytest.mark.parametrize('column, values', [
    ('verdict', Verdict), ('reason', PlanReason)])
def test_each_word_of_the_log_is_explained(column, values):
    assert {row[0] for row in find_rows('docs/log-events.md', column)} \
        == {item.value for item in values}


def test_each_kind_of_boot_is_named():
    line = next(line for line in read('docs/log-events.md').splitlines()
                if line.startswith('`kind` is'))
    assert {kind.value for kind in BootKind} <= set(re.findall('`([a-z]+)`', line))


def test_each_state_is_explained():
    assert {row[0] for row in find_rows('docs/operations.md', 'state')} \
        == {item.value for item in State}


@functools.lru_cache(maxsize=None)
def list_functions_by_module():
    """Names in the form of `event_stream.follow`, which look like events."""
    return {'%s.%s' % (os.path.basename(path)[:-len('.py')], name)
            for path, source in list_sources('watcher', 'registry')
            for name in re.findall(r'^ *(?:def|class) (\w+)', source, re.MULTILINE)}


@pytest.mark.parametrize('path', DOCUMENTS)
def test_no_document_names_an_event_that_does_not_exist(path):
    events = list_events()
    subjects = {event.split('.')[0] for event in events}
    named = {word for word in re.findall('`([^`\n]+)`', read(path))
             if EVENT.match(word) and word.split('.')[0] in subjects}
    known = set(events) | list_functions_by_module() | list_checks()
    assert named - known == set()


def list_checks():
    """The identifiers of `vgpu-admin doctor`, which look like events."""
    sources = [read(os.path.relpath(path, ROOT))
               for path in glob.glob(os.path.join(ROOT, 'cli/doctor/*.py'))]
    return {name for source in sources for name in re.findall(r"'([a-z]+\.[a-z]+)'", source)}


# Configuration and exit statuses.

def test_each_key_of_the_configuration_is_documented():
    documented = [(heading.strip('[]'),) + tuple(row)
                  for heading, heads, rows in read_tables('docs/configuration.md')
                  if heads[0] == 'key' for row in rows]
    assert documented == [(key.section, key.name, key.default, key.unit, key.reason)
                          for key in settings.KEYS]


def read_statuses():
    """The statuses of vgpu-admin, and those of vgpu-watcher."""
    return [{int(row[0]) for row in rows}
            for _heading, heads, rows in read_tables('docs/operations.md')
            if heads[0] == 'status']


def test_each_exit_status_is_documented():
    of_watcher = {value for name, value in vars(watcher_program).items()
                  if name.startswith('EXIT_')}
    # 2 is argparse's own.
    assert read_statuses() == [{int(item) for item in ExitStatus}, of_watcher | {2}]


def test_each_message_in_the_troubleshooting_of_the_registry_is_one_of_ours():
    # Texts that go on over lines are put together first.
    sources = re.sub(r"""['"]\n *f?['"]""", '',
                     '\n'.join(source for _path, source in list_sources('registry')))
    rows = find_rows('docs/troubleshooting.md', 'the message says')
    parts = [part.strip() for row in rows for part in re.split('[,…]', row[0])]
    assert parts and [part for part in parts if part not in sources] == []


@pytest.mark.parametrize('text, number', [
    ('**Callers** (up to %d)', CALLERS), ('**Inspectors** (up to %d)', INSPECTORS),
    ('At most %d stage', STAGING_AT_ONCE), ('%g ms after XAPI', SETTLE_SECONDS * 1000),
    ('%s history entries', '{:,}'.format(HISTORY_ROWS)),
    ('%d receipts per VM', RECEIPTS_PER_VM), ('and %s in all', '{:,}'.format(RECEIPTS_IN_ALL))])
def test_number_in_the_architecture_is_that_of_the_code(text, number):
    assert text % number in ' '.join(read('docs/architecture.md').split())


# Modules and links.

def read_modules():
    return ['%s/%s' % (heading.split(':')[0].rstrip('/'), row[0])
            for heading, heads, rows in read_tables('docs/architecture.md')
            if heads[0] == 'module' for row in rows]


@pytest.mark.parametrize('package', ['watcher', 'registry', 'cli', 'simulator'])
def test_each_module_has_its_line_in_the_architecture(package):
    there = [path for path in list_modules(package)
             if path.count('/') == 1 or not path.endswith('/__init__.py')]
    told = [module for module in read_modules() if module.startswith(package + '/')]
    assert [path for path in there if not any(fnmatch.fnmatch(path, name) for name in told)] == []
    assert [name for name in told if not fnmatch.filter(there, name)] == []
    assert len(told) == len(set(told))


def list_anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', read(path), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('path', DOCUMENTS)
def test_each_link_leads_somewhere(path):
    for target in re.findall(r'\]\(([^)\s]+)\)', read(path)):
        name, _hash, anchor = target.partition('#')
        found = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        assert os.path.exists(os.path.join(ROOT, found)), target
        assert not anchor or anchor in list_anchors(found), target


def list_long_lines(text):
    """Lines of prose of more than 100 columns: no tables, code, headings, nor what a run writes."""
    kept = re.sub(r'^```.*?^```|^<!-- \w+ of the last run.*?(?=^#|\Z)', '', text,
                  flags=re.MULTILINE | re.DOTALL)
    return [line for line in kept.split('\n')
            if len(line) > 100 and not re.match(r'\||#|    ', line)]


@pytest.mark.parametrize('path', DOCUMENTS)
def test_prose_has_lines_of_100_columns(path):
    assert list_long_lines(read(path)) == []


def test_line_that_is_too_long_is_found():
    assert list_long_lines('# Title\n\n' + 'word ' * 21 + '\n```\n' + 'x' * 101 + '\n```\n') \
        == ['word ' * 21]


def test_page_of_words_and_events_is_made_from_the_guides_of_now():
    assert read('docs/man/vgpu.7') == render_concepts(), 'run: make man'


def test_whoever_puts_files_back_masks_the_service_first():
    told = [paragraph for path in DOCUMENTS if path.startswith('docs/')
            for paragraph in read(path).split('\n\n')
            if re.search(r'(stop|mask)\w* (and stop\w* )?the (daemon|service)|'
                         r'the (daemon|service)[^.]* (stopped|masked)', paragraph, re.IGNORECASE)
            and re.search(r'\b(move|put)\b.*\b(away|back|place)\b', paragraph, re.IGNORECASE)]
    # systemd 219 may start what is only stopped, in the middle of it.
    assert told and [paragraph for paragraph in told if 'mask' not in paragraph] == []
