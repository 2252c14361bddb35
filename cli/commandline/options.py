"""The options of vgpu-admin: their names, their values, and the words that explain them."""

import re
from typing import Any, Callable, NamedTuple, Optional, Tuple

from registry.errors import InvalidValue
from registry.values import parse_pool_id, parse_priority, parse_uuid, parse_vm_id

# str.isdigit takes superscripts too, which int does not.
_DIGITS = re.compile(r'[0-9]+\Z')


class Option(NamedTuple):
    """One option; without a placeholder it is a flag."""

    name: str
    placeholder: Optional[str]
    summary: str
    parse: Callable[[str], Any] = str
    xe_names: Tuple[str, ...] = ()
    """How xe people spell it: `uuid=...`, without dashes."""
    choices: Tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The spelling on the command line."""
        return '--' + self.name

    @property
    def shown(self) -> str:
        """How it is shown in help texts."""
        return f'{self.flag}={self.placeholder}' if self.placeholder else self.flag


def parse_text(text: str) -> str:
    """Check that there is something."""
    if not text:
        raise InvalidValue('needs a value')
    return text


def parse_row(text: str) -> str:
    """Take a UUID in lower case, and any other text as it is: rows of others may have it."""
    try:
        return parse_uuid(text)
    except InvalidValue:
        return text


def parse_seconds(text: str) -> int:
    """Check a number of seconds."""
    if not _DIGITS.match(text) or len(text) > 6 or not 1 <= int(text) <= 86400:
        raise InvalidValue(f'{ascii(text)} is not a number of seconds; allowed: 1 to 86400')
    return int(text)


def parse_count(text: str) -> int:
    """Check a number of things to show."""
    if not _DIGITS.match(text) or len(text) > 9 or int(text) < 1:
        raise InvalidValue(f'{ascii(text)} is not a number from 1')
    return int(text)


def parse_time(text: str) -> str:
    """Check a time, and give it as timestamps are written, in UTC.

    A date is its beginning. Without a zone, and with `Z`, it is UTC.
    """
    from datetime import datetime, timedelta
    match = _TIME.match(text)
    try:
        if match is None:
            raise ValueError
        date, clock, seconds, zone = match.groups()
        found = datetime.strptime(f"{date} {clock or '00:00'}:{seconds or '00'}",
                                  '%Y-%m-%d %H:%M:%S')
        if zone not in (None, 'Z', 'z'):
            shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].lstrip(':') or 0))
            found += shift if zone[0] == '-' else -shift
    except (ValueError, OverflowError):
        raise InvalidValue(f'{ascii(text)} is not a time; allowed: a date, or '
                           'YYYY-MM-DDTHH:MM:SSZ (UTC where no zone is given)') from None
    return f'{found:%Y-%m-%d %H:%M:%S}'


def parse_window(text: str) -> Any:
    """Check a span of each day, in UTC."""
    from cli.commandline.time_window import parse_window as parse
    return parse(text)


_TIME = re.compile(r'([12][0-9]{3}-[0-9]{2}-[0-9]{2})'
                   r'(?:[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,][0-9]{1,9})?)?'
                   r' ?([Zz]|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?)?\Z', re.ASCII)
STREAM = '-'
"""The file that stands for standard input or output."""

CONFIG = Option('config', 'FILE', 'configuration file (/etc/vgpu/vgpu-watcher.conf)', parse_text)
DB = Option('db', 'FILE', 'registry file, instead of the configured one', parse_text)
JSON = Option('json', None, 'print one JSON document')
MINIMAL = Option('minimal', None, 'print identifiers only, comma-separated, as xe does')
HELP = Option('help', None, 'show this help')
VERSION = Option('version', None, 'show the version')
EVERYWHERE = (CONFIG, DB, JSON, MINIMAL, HELP, VERSION)

VM_UUID = Option('vm-uuid', 'UUID', 'the VM, by its UUID', parse_uuid, ('uuid', 'vm-uuid'))
VM_NAME = Option('vm-name', 'NAME', 'the VM, by its name', parse_text, ('name-label', 'vm-name'))
VM = (VM_UUID, VM_NAME)
VMS = Option('vm', 'VM', 'a VM, by its UUID or its name', parse_text)
"""Several VMs, as bare words; one alone is turned into one of the options above."""

ROW_UUID = VM_UUID._replace(parse=parse_row, summary='the VM, by its UUID; or the text by which '
                            'check names a row')
ROW = (ROW_UUID, VM_NAME)
FROM = Option('from', 'UUID', 'the VM that the row is of now', parse_uuid)
TO = Option('to', 'VM', 'the VM that gets the row, by its UUID or its name', parse_text)
MISSING_OK = Option('missing-ok', None, 'register a UUID that XAPI does not know yet')
GONE = Option('gone', None, 'the rows of all VMs that are gone from XAPI')

POOL = Option('pool', 'A|B', 'the vGPU pool', parse_pool_id, (), ('A', 'B'))
POOL_ID = Option('pool-id', 'A|B', 'the vGPU pool', parse_pool_id, (), ('A', 'B'))
PRIORITY = Option('priority', 'low|medium|high', 'the priority', parse_priority, (),
                  ('low', 'medium', 'high'))
# The same where they choose what is shown, and where they have a default.
ONLY_POOL = POOL._replace(summary='only VMs of this vGPU pool')
ONLY_POOL_ID = POOL_ID._replace(summary='only this vGPU pool')
ONLY_PRIORITY = PRIORITY._replace(summary='only VMs of this priority')
NEW_POOL = POOL._replace(summary='the vGPU pool (A)')
NEW_PRIORITY = PRIORITY._replace(summary='the priority (medium)')
VM_ID = Option('vm-id', 'N', 'the number (1 to 2147483646)', parse_vm_id)
NEW_VM_ID = VM_ID._replace(summary='the number, 1 to 2147483646 (one more than the largest so far)')

EMPTY = Option('empty', None, 'start over: give up what the mirror and the journal hold')
SOURCE = Option('source', 'mirror|history|FILE', 'where the assignments come from: the mirror in '
                'XAPI (the default), the history of this host, or a kept copy', parse_text)
REGISTRY_ACTIONS = ('compare', 'rebuild', 'keep', 'copies')
REGISTRY_ACTION = Option('with-mirror', '|'.join(REGISTRY_ACTIONS), 'what to do with registry and '
                         'mirror', choices=REGISTRY_ACTIONS)
YES = Option('yes', None, 'answer the question with yes')
NO_RESTART = Option('no-restart', None, 'leave a running VM running; the change is pending')
RESTART = Option('restart', None, 'restart the VM if it is running')
FORCE = Option('force', None, 'stop the VM hard when it does not stop cleanly in time')
TIMEOUT = Option('timeout', 'SECONDS', 'how long a clean stop may take (120)', parse_seconds)
NO_WAIT = Option('no-wait', None, 'do not wait until the VM is staged (3 s at most)')
VERBOSE = Option('verbose', None, 'also show the whole VM')
POOL_VERBOSE = VERBOSE._replace(summary='also show each VM, and the whole vGPU pool')
DRY_RUN = Option('dry-run', None, 'check everything and change nothing')
EXIT_CODE = Option('exit-code', None, 'exit with 6 when something differs')
ALL_HOSTS = Option('all-hosts', None, 'check the other hosts of the pool as well, through their '
                   'plugins')
BOOT = Option('boot', 'N', 'the boot by its number (the newest)', parse_count)
LIFE = Option('all', None, 'the whole life of the VM: every change and every boot')
AT = Option('at', 'TIME', 'the registration at a time: a date (its beginning), or '
            'YYYY-MM-DDTHH:MM:SSZ, in UTC where no zone is given', parse_time)
SINCE = Option('since', 'TIME', 'what was done from then on: a date (its beginning), or '
               'YYYY-MM-DDTHH:MM:SSZ, in UTC where no zone is given', parse_time)
UNTIL = Option('until', 'TIME', 'what was done before then', parse_time)
WHO = Option('who', 'NAME', "what this user or program did: a login name, vgpu-watcher, or "
             "'another program'", parse_text)
STATES = ('as_desired', 'pending', 'drift', 'unregistered', 'manual', 'doubled', 'contested',
          'orphaned', 'unreadable', 'waits_for_xapi', 'no_qemu', 'fought_over')
STATE = Option('state', 'STATE', 'only VMs in this state', choices=STATES)
SCAN_FORMAT = Option('format', 'table|lines', "a table (the default on a terminal), or the earlier "
                     "tool's lines (elsewhere)", choices=('table', 'lines'))
ENABLE = Option('enable', None, 'enable the vGPU pool')
DISABLE = Option('disable', None, 'disable it: its VMs get no arguments')
ALL = Option('all', None, 'list all commands')
NAME = Option('name', 'TEXT', 'the new name', parse_text)
DESCRIPTION = Option('description', 'TEXT', 'the new description')
FILE = Option('file', 'FILE', "the file; '-' for standard input or output", parse_text)
FORMAT = Option('format', 'json|csv', 'how the file is written (json)', choices=('json', 'csv'))
FROM_FILE = Option('from-file', 'FILE', 'register the VMs that a file lists, one a line, or as '
                   'CSV or JSON', parse_text)
LIMIT = Option('limit', 'N', 'how many to show (50)', parse_count)
NEWEST = LIMIT._replace(summary='how many of the newest to begin with (10)')
COUNT = Option('limit', 'N', 'restart this many VMs at most', parse_count)
WINDOW = Option('window', 'HH:MM-HH:MM', 'begin restarts in these hours only, in UTC: wait until '
                'they begin, end when they do', parse_window)
ACCEPT_UNVERIFIED = Option('accept-unverified', None, 'go on also after a boot that cannot be '
                           'inspected')
CONSUMER_ACTIONS = ('enable', 'disable', 'pause', 'resume', 'status')
CONSUMER_ACTION = Option('action', '|'.join(CONSUMER_ACTIONS), 'what to do',
                         choices=CONSUMER_ACTIONS)
CONSUMER_EXIT_CODE = EXIT_CODE._replace(
    summary='exit with 6 while our files must stay: xenopsd uses them, or will')
ROOT = Option('root', 'DIR', 'the directory that holds dom0 (/)', parse_text)
EXCLUSIVE = ((JSON, MINIMAL), (RESTART, NO_RESTART), (ENABLE, DISABLE), (BOOT, LIFE))
"""Options that contradict each other."""
RESTARTING = (YES, NO_RESTART, FORCE, TIMEOUT)
EDITING = (NO_WAIT, VERBOSE, DRY_RUN)
