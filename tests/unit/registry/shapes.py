"""The four shapes of the shared file that are in the field."""

import os
import shutil

from tests.unit.registry.helpers import FIXTURES, other_program

LATER_COLUMNS = (
    'weight INTEGER NOT NULL DEFAULT 50', 'max_jobs_per_sec INTEGER NOT NULL DEFAULT 0',
    'max_queue_depth INTEGER NOT NULL DEFAULT 0', 'quarantined INTEGER NOT NULL DEFAULT 0',
    'error_count INTEGER NOT NULL DEFAULT 0')
SCRIPT = (
    """CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY CHECK(pool_id IN ('A', 'B')),
        pool_name TEXT NOT NULL, description TEXT,
        enabled INTEGER DEFAULT 1 CHECK(enabled IN (0, 1)),
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT UNIQUE NOT NULL,
        vm_name TEXT, pool_id CHAR(1) NOT NULL DEFAULT 'A' CHECK(pool_id IN ('A', 'B')),
        priority INTEGER NOT NULL DEFAULT 1 CHECK(priority IN (0, 1, 2)),
        weight REAL DEFAULT 1.0, max_jobs_per_sec INTEGER NOT NULL DEFAULT 0,
        max_queue_depth INTEGER NOT NULL DEFAULT 0,
        quarantined INTEGER NOT NULL DEFAULT 0 CHECK(quarantined IN (0, 1)),
        error_count INTEGER NOT NULL DEFAULT 0,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        FOREIGN KEY (pool_id) REFERENCES pools(pool_id))""",
    "INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'Pool A')",
    "INSERT INTO vms (vm_id, vm_uuid, vm_name, priority, weight) "
    "VALUES (7, '00000007-1111-2222-3333-444444444447', 'seven', 2, 2.5)",
    "INSERT INTO vms (vm_id, vm_uuid, quarantined) "
    "VALUES (8, '00000008-1111-2222-3333-444444444448', 1)",
)


def build_first(path):
    _copy('registry-first-form.db', path)


def build_later(path):
    _copy('registry-later-form.db', path)


def build_extended(path):
    """Build a first form that a later program has extended by ALTER TABLE."""
    build_first(path)
    with other_program(path) as connection:
        for column in LATER_COLUMNS:
            connection.execute(f'ALTER TABLE vms ADD COLUMN {column}')
        connection.execute('UPDATE vms SET weight = 70, quarantined = 1 WHERE vm_id = 10')


def build_scripted(path):
    """Build what a script made: other column order and defaults, and pool B forgotten."""
    with other_program(path) as connection:
        for statement in SCRIPT:
            connection.execute(statement)


SHAPES = {'first': build_first, 'later': build_later, 'extended': build_extended,
          'scripted': build_scripted}


def dump(path):
    """Read schema and rows, of both tables, as another program sees them."""
    with other_program(path) as connection:
        schema = connection.execute(
            'SELECT type, name, sql FROM sqlite_master ORDER BY name').fetchall()
        return (schema, connection.execute('SELECT * FROM vms ORDER BY vm_id').fetchall(),
                connection.execute('SELECT * FROM pools ORDER BY pool_id').fetchall())


def _copy(name, path):
    shutil.copyfile(os.path.join(FIXTURES, name), path)
