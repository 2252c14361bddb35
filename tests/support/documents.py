"""Reads the documents: their tables, their console blocks, the tests that they name."""

import ast
import glob
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'] + [
    'docs/%s.md' % name for name in ('architecture', 'log-events', 'configuration', 'operations',
                                     'troubleshooting', 'integration', 'workflows', 'monitoring',
                                     'security', 'consumer', 'deployment', 'cli', 'earlier-tool',
                                     'pool-wide', 'tutorial')] + sorted(
    os.path.relpath(path, ROOT) for folder in ('decisions', 'reference')
    for path in glob.glob(os.path.join(ROOT, f'docs/{folder}/*.md')))

# Their commands are run by tests/integration/cli/test_guide.py, which has an `xe` for them.
GUIDES = ('docs/cli.md', 'docs/integration.md', 'docs/workflows.md')
# Its commands are run in the playground, by tests/playground/test_tutorial.py.
TUTORIAL = 'docs/tutorial.md'


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as stream:
        return stream.read()


def read_tables(path):
    """Every table: (heading above it, heads of its columns, rows), cells without backticks."""
    tables, heading, block = [], '', []
    for line in read(path).splitlines() + ['']:
        if line.startswith('#'):
            heading = line.lstrip('#').strip()
        if line.startswith('|'):
            cells = line.replace('\\|', '\0').strip('|').split('|')
            block.append([cell.replace('\0', '|').replace('`', '').strip() for cell in cells])
        elif block:
            tables.append((heading, block[0], block[2:]))
            block = []
    return tables


def find_rows(path, first_head):
    """The rows of all tables whose first column has this head."""
    return [row for _heading, heads, rows in read_tables(path)
            if heads[0] == first_head for row in rows]


def find_named_tests(text):
    """The tests that a text names, each as (path, name)."""
    return re.findall(r'(tests/[\w/]+\.py)::(test_\w+)', text)


def list_missing_tests(path):
    """The tests that a document names and that do not exist."""
    return [(where, name) for where, name in find_named_tests(read(path))
            if name not in _list_tests(where)]


def _list_tests(path):
    if not os.path.exists(os.path.join(ROOT, path)):
        return set()
    return {node.name for node in ast.walk(ast.parse(read(path)))
            if isinstance(node, ast.FunctionDef)}


def read_blocks(path, *, is_run):
    return [block for mark, block in
            re.findall(r'^```console( run)?\n(.*?)^```$', read(path), re.MULTILINE | re.DOTALL)
            if bool(mark) == is_run]


def read_steps(block):
    """(command, lines expected below it)."""
    parts = re.split(r'^\$ ', block, flags=re.MULTILINE)
    assert parts[0] == '', 'a console block begins with a command'
    return [(part.partition('\n')[0], part.partition('\n')[2]) for part in parts[1:]]
