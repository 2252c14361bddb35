"""Who may import whom, which modules are pure, and how large a file may become."""

import ast
import functools
import os
import re
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGES = ('watcher', 'registry', 'cli', 'simulator')
MAY_IMPORT = {
    'watcher': {'watcher', 'registry'},
    'registry': {'registry'},
    'cli': {'cli', 'watcher', 'registry'},
    'simulator': {'simulator'},
}
# The rooms of each package, lowest first: a module imports from its own room and from those before
# it. What is no folder is a module at the root.
LAYERS = {
    'watcher': ('errors', 'version', 'vm', 'config', 'runtime', 'loop', 'xapi', 'state', 'consumer',
                'staging', 'boots', 'mirror', 'vm_names', 'numbers_keeper', 'job_dispatch',
                'daemon', 'metrics', 'writer_guard', 'assembly', 'service', '__main__'),
    'registry': ('errors', 'values', 'paths', 'sqlite', 'inotify', 'kept_copies', 'schema',
                 'rows', 'creation', 'journal', 'writer_lock', 'file_watch', 'quick_read',
                 'file_check', 'difference', 'proposal', 'draft', 'row_writer', 'edit', 'commit',
                 'store'),
    'cli': ('quick_named_tuples', 'errors', 'interrupts', 'mediator', 'output', 'commandline',
            'xapi_session', 'context', 'queries', 'exchange', 'forwarding', 'effects', 'consumer', 'doctor',
            'commands', 'app', 'plugin', '__main__'),
    'simulator': ('settings', 'wire', 'faults', 'database', 'hypervisor', 'state', 'vms', 'api',
                  'hosts', 'server', 'pool', 'demo', 'playground', '__main__'),
}
# A foreign package, and the one place that knows it.
ONLY_IN = {
    'XenAPI': ('watcher/xapi/rpc.py',),
    'apscheduler': ('watcher/staging/scan_schedule.py',),
    'structlog': ('watcher/runtime/logs.py',),
    'sqlite3': ('registry/',),
}
PURE = ('watcher/vm/record.py', 'watcher/vm/device_args.py', 'watcher/vm/plan.py', 'watcher/runtime/backoff.py',
        'watcher/vm/numbers.py', 'watcher/vm/hazards.py', 'watcher/vm/boot.py', 'watcher/vm/mirror_keys.py',
        'watcher/runtime/line_limit.py', 'watcher/xapi/record_parser.py',
        'watcher/runtime/log_format.py', 'watcher/mirror/entries.py',
        'watcher/mirror/comparison.py', 'watcher/mirror/absentees.py', 'watcher/mirror/settling.py',
        'watcher/runtime/timers.py',
        'watcher/consumer/numbers_file.py',
        'registry/values.py', 'simulator/database/rows.py',
        'cli/output/tables.py')
IMPURE_MODULES = {
    'time', 'os', 'io', 'sys', 'socket', 'select', 'ssl', 'http', 'logging', 'sqlite3', 'random',
    'secrets', 'subprocess', 'threading', 'signal', 'shutil', 'tempfile', 'pathlib', 'glob',
    'structlog', 'XenAPI', 'apscheduler'}
# Calls that lose what others have written, or hold up their starts (P5, P7): who may name them.
ONLY_NAMED_IN = {
    'set_platform': ('simulator/', 'watcher/xapi/client.py', 'watcher/staging/injector.py'),
    'add_to_blocked_operations': ('simulator/',),
    'set_blocked_operations': ('simulator/',),
}
# The daemon has one thread; others ask one question each (decision 15).
STARTS_A_THREAD = 'watcher/loop/blocking.py'
# No start is ever held up (P7): by a call of XAPI, or by xe.
BLOCKING = re.compile(r'(?:add_to|set)_blocked_operations'
                      r'|(?:-add|-set)\b.*blocked[-_]operations')
LONGEST_FILE = 400
LONGEST_LINE = 100
LONGEST_FUNCTION = 60
THIRD_PARTY = {'XenAPI', 'apscheduler', 'structlog', 'pytz', 'tzlocal', 'six'}


def list_modules():
    found = []
    for package in PACKAGES:
        for directory, _names, files in os.walk(os.path.join(ROOT, package)):
            found += [os.path.relpath(os.path.join(directory, name), ROOT)
                      for name in files if name.endswith('.py')]
    return sorted(found)


MODULES = list_modules()


def list_shipped():
    """Whatever runs on a host: our packages, and all that the package places beside them."""
    found = [path for path in MODULES if not path.startswith('simulator/')]
    for directory, _names, files in os.walk(os.path.join(ROOT, 'deploy')):
        found += [os.path.relpath(os.path.join(directory, name), ROOT) for name in files
                  if not name.endswith('.pyc')]
    return sorted(set(found))


SHIPPED = list_shipped()


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as stream:
        return stream.read()


@functools.lru_cache(maxsize=None)
def list_nodes(source):
    """All that the source consists of; several tests look at each module."""
    return tuple(ast.walk(ast.parse(source)))


def find_imports(source):
    """Every module that the source imports, wherever the import stands."""
    for node in list_nodes(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            # A relative import would hide its direction from this test.
            yield '.' * node.level + (node.module or '')


def find_wrong_imports(path, source):
    package = path.split('/')[0]
    for name in find_imports(source):
        top = name.split('.')[0]
        if not top:
            yield '%s: relative import %s' % (path, name)
        elif top in PACKAGES and top not in MAY_IMPORT[package]:
            yield '%s: %s may not import %s' % (path, package, name)
        elif top in ONLY_IN and not path.startswith(ONLY_IN[top]):
            yield '%s: %s belongs into %s' % (path, top, ONLY_IN[top][0])
        elif package in ('registry', 'simulator') and top in THIRD_PARTY | {'tests'}:
            yield '%s: only the standard library, not %s' % (path, name)


def find_room(module):
    """The room of a dotted module, or the module itself where it stands at the root."""
    return module.split('.')[1] if '.' in module else None


def find_rising_imports(path, source):
    package = path.split('/')[0]
    rank = {room: number for number, room in enumerate(LAYERS[package])}
    own = find_room(path[:-len('.py')].replace('/', '.'))
    for name in find_imports(source):
        room = find_room(name)
        if name.split('.')[0] == package and room is not None and rank[room] > rank[own]:
            yield '%s: %s lies below %s' % (path, own, name)


def find_impurity(path, source):
    for name in find_imports(source):
        if name.split('.')[0] in IMPURE_MODULES:
            yield '%s: a pure module imports %s' % (path, name)
    for node in list_nodes(source):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield '%s:%d: a pure module has no globals' % (path, node.lineno)
        elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
              and node.func.id in ('open', 'print', 'input')):
            yield '%s:%d: a pure module calls %s' % (path, node.lineno, node.func.id)
        elif (isinstance(node, ast.Attribute)
              and node.attr in ('now', 'utcnow', 'today')
              and isinstance(node.value, ast.Name)):
            yield '%s:%d: a pure module asks the clock' % (path, node.lineno)


def find_forbidden_text(path, source):
    if re.search(r'shell\s*=\s*True|os\.system\(|os\.popen\(', source):
        yield '%s: starts a shell' % path
    for name, where in ONLY_NAMED_IN.items():
        if name in source and not path.startswith(where):
            yield '%s: names %s, which belongs to %s' % (path, name, where or 'nobody')


def find_excess(path, source):
    lines = source.splitlines()
    if len(lines) > LONGEST_FILE:
        yield '%s: %d lines' % (path, len(lines))
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            yield '%s:%d: %d columns' % (path, number, len(line))
    for name, length in find_functions(source):
        if length > LONGEST_FUNCTION:
            yield '%s: %s has %d lines' % (path, name, length)


def find_functions(source):
    for node in list_nodes(source):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            last = max(getattr(child, 'lineno', node.lineno) for child in ast.walk(node))
            yield node.name, last - node.lineno + 1


def test_all_packages_are_looked_at():
    assert {path.split('/')[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize('path', MODULES)
def test_imports_go_in_the_right_direction(path):
    assert list(find_wrong_imports(path, read(path))) == []


@pytest.mark.parametrize('path', [
    path for path in MODULES if not (path.endswith('/__init__.py') and path.count('/') == 1)])
def test_no_import_runs_up(path):
    assert list(find_rising_imports(path, read(path))) == []


def test_the_daemon_starts_no_thread_but_for_a_question_that_blocks():
    found = [path for path in MODULES if path.startswith(('watcher/', 'registry/'))
             and {'threading', 'queue', '_thread'} & set(find_imports(read(path)))]
    assert found == [STARTS_A_THREAD]


def test_import_that_runs_up_is_found():
    assert list(find_rising_imports('watcher/vm/plan.py', 'from watcher.xapi.client import Client'))
    assert not list(find_rising_imports('watcher/service.py', 'import watcher.xapi.client'))


def test_each_room_has_its_layer():
    rooms = {package: {find_room(path[:-len('.py')].replace('/', '.'))
                       for path in MODULES if path.startswith(package + '/')} - {'__init__'}
             for package in PACKAGES}
    assert rooms == {package: set(layers) for package, layers in LAYERS.items()}


@pytest.mark.parametrize('path', PURE)
def test_pure_module_has_no_clock_no_files_and_no_logging(path):
    assert list(find_impurity(path, read(path))) == []


@pytest.mark.parametrize('path', MODULES)
def test_no_shell_is_started_and_no_platform_map_is_written_as_a_whole(path):
    assert list(find_forbidden_text(path, read(path))) == []


@pytest.mark.parametrize('path', SHIPPED)
def test_nothing_that_is_shipped_blocks_an_operation(path):
    assert not BLOCKING.search(read(path))


@pytest.mark.parametrize('text', [
    "call('VM.add_to_blocked_operations', ref, 'start', 'x')", 'client.set_blocked_operations(ref)',
    'xe vm-param-set uuid=1 blocked-operations:start=x',
    'xe vm-param-add uuid=1 param-name=blocked-operations param-key=start'])
def test_what_blocks_an_operation_is_found(text):
    assert BLOCKING.search(text)
    assert not BLOCKING.search(text.replace('set', 'get').replace('add', 'remove'))


def find_shared_names(sources):
    """Public classes of which two modules have one, so that a name says two things."""
    defined = [node.name for source in sources for node in ast.parse(source).body
               if isinstance(node, ast.ClassDef) and not node.name.startswith('_')]
    return sorted({name for name in defined if defined.count(name) > 1})


def test_each_class_has_a_name_of_its_own():
    assert find_shared_names(read(path) for path in MODULES
                             if not path.startswith('simulator')) == []
    assert find_shared_names(['class Kind:\n    ...\n', 'class Kind(Enum):\n    ...\n']) == ['Kind']


def find_forgotten_steps(sources):
    """Calls that make steps (`watcher/loop/steps.py`) and leave them: none of them is ever taken."""
    makers = {(path, node.name) for path, source in sources.items() for node in list_nodes(source)
              if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Subscript)
              and getattr(node.returns.value, 'id', None) == 'Steps'}
    for path, source in sources.items():
        names = {alias.asname or alias.name: (node.module.replace('.', '/') + '.py', alias.name)
                 for node in list_nodes(source) if isinstance(node, ast.ImportFrom)
                 for alias in node.names}
        for node in list_nodes(source):
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
                continue
            called = node.value.func
            if isinstance(called, ast.Name):
                maker = names.get(called.id, (path, called.id))
            else:
                is_own = getattr(getattr(called, 'value', None), 'id', None) == 'self'
                maker = (path, called.attr) if is_own else None
            if maker in makers:
                yield '%s:%d: nobody takes the steps of %s' % (path, node.lineno, maker[1])


def test_steps_that_are_made_are_taken():
    assert list(find_forgotten_steps({path: read(path) for path in SHIPPED
                                      if path.endswith('.py')})) == []
    lift = 'class Lifting:\n    def lift(self) -> Steps[None]:\n        yield\n'
    assert list(find_forgotten_steps({
        'a/b.py': 'def lift(client) -> Steps[int]:\n    yield\n',
        'c.py': 'from a.b import lift\nlift(1)\nrun(lift(1))\n',
        'd.py': lift + '    def go(self):\n        self.lift()\n        run(self.lift())\n',
    })) == ['c.py:2: nobody takes the steps of lift', 'd.py:5: nobody takes the steps of lift']


def find_abbreviations(path, source):
    """Every parser that would take a part of an option's name for the option."""
    if 'Parser' not in source and '_parser' not in source:
        return
    for node in list_nodes(source):
        if isinstance(node, ast.Call) and 'allow_abbrev' not in [word.arg for word in node.keywords] \
                and getattr(node.func, 'attr', None) in ('ArgumentParser', 'add_parser'):
            yield '%s:%d: options may be abbreviated' % (path, node.lineno)


def test_no_program_takes_abbreviated_options():
    trees = PACKAGES + ('deploy', 'benchmarks', 'docs', 'tests')
    paths = [os.path.relpath(os.path.join(directory, name), ROOT) for tree in trees
             for directory, _names, files in os.walk(os.path.join(ROOT, tree))
             for name in files if name.endswith('.py')]
    assert not [found for path in paths for found in find_abbreviations(path, read(path))]


@pytest.mark.parametrize('path', MODULES)
def test_files_lines_and_functions_stay_short(path):
    assert list(find_excess(path, read(path))) == []


@pytest.mark.parametrize('path, source', [
    pytest.param('registry/a.py', 'import watcher.vm.plan', id='registry-imports-watcher'),
    pytest.param('watcher/a.py', 'from cli import x', id='watcher-imports-cli'),
    pytest.param('simulator/a.py', 'import registry', id='simulator-imports-ours'),
    pytest.param('cli/a.py', 'import simulator.server', id='cli-imports-simulator'),
    pytest.param('watcher/xapi/event_stream.py', 'def f():\n    import XenAPI', id='inside-a-function'),
    pytest.param('cli/a.py', 'import sqlite3', id='sqlite-outside-the-registry'),
    pytest.param('watcher/daemon.py', 'from apscheduler.x import y', id='scheduler'),
    pytest.param('watcher/daemon.py', 'import structlog', id='structlog'),
    pytest.param('watcher/daemon.py', 'from . import plan', id='relative'),
    pytest.param('registry/a.py', 'import six', id='registry-imports-a-package'),
])
def test_wrong_direction_is_found(path, source):
    assert len(list(find_wrong_imports(path, source))) == 1


@pytest.mark.parametrize('source', [
    'import time', 'from os import path', 'import logging.handlers', 'x = open("y")',
    'def f():\n    global x', 'datetime.now()', 'def f():\n    import random'])
def test_impurity_is_found(source):
    assert len(list(find_impurity('watcher/vm/plan.py', source))) == 1


@pytest.mark.parametrize('source', [
    'run(x, shell=True)', 'run(x, shell = True)', 'os.system("x")', 'call("VM.set_platform")',
    'call("VM.add_to_blocked_operations")', 'client.set_platform(ref, {})'])
def test_forbidden_text_is_found(source):
    assert len(list(find_forbidden_text('watcher/a.py', source))) == 1


@pytest.mark.parametrize('source', [
    'x = 1\n' * (LONGEST_FILE + 1), 'x' * (LONGEST_LINE + 1),
    'def f():\n' + '    x = 1\n' * LONGEST_FUNCTION])
def test_excess_is_found(source):
    assert len(list(find_excess('watcher/a.py', source))) == 1


@pytest.mark.skipif(not hasattr(sys, 'stdlib_module_names'), reason='Python before 3.10')
@pytest.mark.parametrize('path', [path for path in MODULES
                                  if path.startswith(('registry/', 'simulator/'))])
def test_registry_and_simulator_need_the_standard_library_only(path):
    package = path.split('/')[0]
    allowed = set(sys.stdlib_module_names) | {package}
    assert {name.split('.')[0] for name in find_imports(read(path))} <= allowed
