"""The configuration: one INI file, read once, into a frozen `Settings`.

The defaults stand in the classes below and nowhere else; `KEYS` adds to each key its unit and
the reason for its default. The shipped file and the documentation are checked against both.

Rule: a file that does not pass is refused as a whole, with all its problems at once.
"""

import enum
import os
import re
import stat
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from registry.paths import OwnFile, find_own, list_own_files, locate, resolve_path
from watcher.config.values import (LogFormat, LogLevel, XapiAddress, parse_checked_url,
                                   parse_device_template, parse_flag, parse_format, parse_interval,
                                   parse_level, parse_listen_or_nothing, parse_names, parse_path,
                                   parse_path_or_nothing, parse_url, parse_word)
from watcher.errors import ConfigError
from watcher.vm.device_args import Template, parse_template

DEFAULT_PATH = '/etc/vgpu/vgpu-watcher.conf'
# A configuration is a page; what is larger is another file that was named by mistake.
MAX_BYTES = 1 << 20

_CONTROL = re.compile(r'[\x00-\x08\x0b-\x1f\x7f-\x9f]')


class XapiSettings(NamedTuple):
    """How to reach XAPI, and as whom."""
    url: str = 'unix:/var/lib/xcp/xapi'
    username: str = 'root'
    password_file: str = ''
    verify_tls: bool = True

    @property
    def address(self) -> XapiAddress:
        """The parts of the url."""
        return parse_url(self.url)


class RegistrySettings(NamedTuple):
    """Where the registry is, and what it may lose at once."""
    path: str = '/etc/vgpu/vgpu_config.db'
    trust_mass_removals: bool = False


class DeviceSettings(NamedTuple):
    """Which device is written, and which count as ours."""
    template: Template = parse_template(
        '-device vgpu-stub,pool_id={pool_id},priority={priority},vm_id={vm_id}')
    names: Tuple[str, ...] = ('vgpu-stub', 'vgpu-cuda')

    @property
    def known_names(self) -> FrozenSet[str]:
        """Every name that counts as ours: the configured ones, and always the template's."""
        return frozenset(self.names) | {self.template.name}


class HostSettings(NamedTuple):
    """Where this host shows what runs; an empty `xenstore_read` switches verification off."""
    xenstore_read: str = '/usr/bin/xenstore-read'
    proc: str = '/proc'


class ScanSettings(NamedTuple):
    """How often all VMs are compared with the registry."""
    interval_seconds: int = 60


class MirrorSettings(NamedTuple):
    """The registry's mirror in XAPI's database."""
    enabled: bool = True
    accept_edits: bool = False
    key_file: str = '/etc/xensource/ptoken'


# Below the directory that holds the host's /proc.
RUN_DIRECTORY = 'run/vgpu-watcher'


class ConsumerSettings(NamedTuple):
    """What the daemon tells the consumer of this host."""
    run_directory: str = ''


class MetricsSettings(NamedTuple):
    """Where the metrics go; empty is nowhere."""
    textfile: str = ''
    listen: str = ''


class LogSettings(NamedTuple):
    """What is logged, and how it looks."""
    format: LogFormat = LogFormat.JSON
    level: LogLevel = LogLevel.INFO


class Settings(NamedTuple):
    """The whole configuration; without arguments, the defaults."""
    xapi: XapiSettings = XapiSettings()
    registry: RegistrySettings = RegistrySettings()
    device: DeviceSettings = DeviceSettings()
    host: HostSettings = HostSettings()
    scan: ScanSettings = ScanSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    mirror: MirrorSettings = MirrorSettings()
    consumer: ConsumerSettings = ConsumerSettings()

    @property
    def run_directory(self) -> str:
        """Where the daemon tells the consumer: by default in the /run that goes with the /proc."""
        return self.consumer.run_directory or os.path.join(
            os.path.dirname(self.host.proc.rstrip('/')), RUN_DIRECTORY)


class Key(NamedTuple):
    """One key of the file: how it is read, its unit, and why its default is what it is."""
    section: str
    name: str
    parse: Callable[[str], Any]
    unit: str
    reason: str

    @property
    def default(self) -> str:
        """The default as it stands in a file."""
        return self.render(Settings())

    @property
    def is_path(self) -> bool:
        """Whether it names a file."""
        return self.parse in (parse_path, parse_path_or_nothing)

    def render(self, settings: Settings) -> str:
        """Its value in these settings, as it stands in a file."""
        return _render_value(getattr(getattr(settings, self.section), self.name))


def load(path: Optional[str]) -> Settings:
    """Read the file; None means the default one, which may be missing. Raises ConfigError."""
    settings = _load(path)
    _refuse_own_files(settings, DEFAULT_PATH if path is None else path)
    # Resolved once: each spelling of the registry's path means the same lock and journal.
    return settings._replace(registry=settings.registry._replace(
        path=resolve_path(settings.registry.path)))


def _refuse_own_files(settings: Settings, path: str) -> None:
    """Refuse a key that names a file of the registry, or the configuration, for another purpose.

    The metrics would be written over it, and SQLite's locks be lost by reading it as a password.
    """
    problems = []
    for key in KEYS:
        value = key.render(settings)
        if not key.is_path or value in ('', key.default):
            continue
        taken: Tuple[OwnFile, ...] = (OwnFile(path, 'this configuration'),)
        if key.section != 'registry':
            taken += list_own_files(settings.registry.path)
        place = locate(value)
        found = find_own(place, taken) if place is not None else None
        if found is not None:
            problems.append(f'{path}: [{key.section}] {key.name}: {value} is {found.what}')
    if problems:
        raise ConfigError(problems)


def _load(path: Optional[str]) -> Settings:
    try:
        text = _read_text(DEFAULT_PATH if path is None else path)
    except FileNotFoundError as error:
        if path is None:
            return Settings()
        raise ConfigError(f'{path}: there is no such file') from error
    return parse(text, DEFAULT_PATH if path is None else path)


def parse(text: str, path: str) -> Settings:
    """Turn the text of a file into settings; `path` is for the messages."""
    values: Dict[Tuple[str, str], Any] = {}
    problems: List[str] = []
    known = {(key.section, key.name): key for key in KEYS}
    for section, name, value in _read_items(text, path):
        try:
            values[section, name] = _parse_item(known, section, name, value)
        except ValueError as error:
            place = f'[{section}] {name}' if name else f'[{section}]'
            problems.append(f'{path}: {place}: {error}')
    if problems:
        raise ConfigError(problems)
    return _build(values)


def render(settings: Settings) -> str:
    """The settings as the text of a file."""
    lines: List[str] = []
    for section in Settings._fields:
        lines.append(f'[{section}]')
        lines += [f'{key.name} = {key.render(settings)}'.rstrip()
                  for key in KEYS if key.section == section]
    return '\n'.join(lines) + '\n'


def _read_text(path: str) -> str:
    """The text of a regular file; a missing one is FileNotFoundError, all else ConfigError."""
    try:
        content = read_regular_file(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f'{path}: cannot be read: {reason}') from error
    if content.startswith(b'\xef\xbb\xbf'):
        raise ConfigError(f'{path}: begins with a byte order mark; save it as UTF-8 without one')
    if content.startswith((b'\xff\xfe', b'\xfe\xff')):
        raise ConfigError(f'{path}: is UTF-16; save it as UTF-8')
    if b'\0' in content:
        number = _count_lines(content[:content.index(b'\0')])
        raise ConfigError(f'{path}: line {number} holds a NUL byte')
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as error:
        number = _count_lines(content[:error.start])
        raise ConfigError(f'{path}: line {number} is not UTF-8') from error


def _count_lines(content: bytes) -> int:
    return content.count(b'\n') + 1


def read_regular_file(path: str) -> bytes:
    """The content of a file of bounded size; OSError, or ValueError for what is no such file."""
    with open(path, 'rb', opener=_open_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError('it is not a regular file')
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f'it is larger than {MAX_BYTES} bytes')
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a named pipe would otherwise hold up the start for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _read_items(text: str, path: str) -> List[Tuple[str, str, str]]:
    """(section, key, value) as written; a section without keys has an item with empty key."""
    import configparser  # only where there is a file
    parser = configparser.RawConfigParser(
        delimiters=('=',), comment_prefixes=('#', ';'), inline_comment_prefixes=None, strict=True,
        empty_lines_in_values=False, default_section='\0')
    parser.optionxform = str  # type: ignore
    try:
        parser.read_string(text, path)
    except configparser.Error as error:
        problem = ' '.join(str(error).split())
        raise ConfigError(f'{path}: {problem}') from error
    return [(section, name, value) for section in parser.sections()
            for name, value in parser.items(section) or [('', '')]]


def _parse_item(known: Dict[Tuple[str, str], Key], section: str, name: str, value: str) -> Any:
    if section not in Settings._fields:
        raise ValueError('there is no such section; allowed: ' + ', '.join(Settings._fields))
    if not name:
        return None
    if (section, name) not in known:
        raise ValueError('there is no such key; allowed: '
                         + ', '.join(key for part, key in known if part == section))
    if _CONTROL.search(value):
        raise ValueError('holds a control character')
    return known[section, name].parse(value)


def _build(values: Dict[Tuple[str, str], Any]) -> Settings:
    settings = Settings()
    for section in Settings._fields:
        found = {name: value for (part, name), value in values.items() if part == section and name}
        settings = settings._replace(
            **{section: getattr(settings, section)._replace(**found)})
    return settings


def _render_value(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, Template):
        return value.text
    if isinstance(value, tuple):
        return ' '.join(value)
    return value.value if isinstance(value, enum.Enum) else str(value)


KEYS = (
    Key('xapi', 'url', parse_checked_url, 'url', 'the socket of dom0, which needs no password'),
    Key('xapi', 'username', parse_word, 'name', 'the only user that XAPI always knows'),
    Key('xapi', 'password_file', parse_path_or_nothing, 'path',
        'empty is no password, which is right for the local socket'),
    Key('xapi', 'verify_tls', parse_flag, 'yes or no',
        'keeps the password from an impostor; matters for https only'),
    Key('registry', 'path', parse_path, 'path', 'where the earlier tool keeps it'),
    Key('registry', 'trust_mass_removals', parse_flag, 'yes or no',
        'many rows that vanish at once are an accident more often than not'),
    Key('device', 'template', parse_device_template, 'device',
        'the properties that the device takes, priority as a word'),
    Key('device', 'names', parse_names, 'names',
        "what the earlier tools wrote; the template's own name always counts as well"),
    Key('host', 'xenstore_read', parse_path_or_nothing, 'path',
        'where dom0 has it; empty switches verification off'),
    Key('host', 'proc', parse_path, 'path', 'where Linux shows its processes'),
    Key('scan', 'interval_seconds', parse_interval, 'seconds',
        'one bulk read a minute is nothing to XAPI, and what it does not show is found soon'),
    Key('log', 'format', parse_format, 'json or console', 'programs read the log of a service'),
    Key('log', 'level', parse_level, ' '.join(item.value for item in LogLevel),
        'a steady pool then writes one line per scan'),
    Key('metrics', 'textfile', parse_path_or_nothing, 'path',
        'not every host has node_exporter; empty writes none'),
    Key('metrics', 'listen', parse_listen_or_nothing, 'address:port',
        'a service of dom0 opens no port unasked; empty opens none'),
    Key('mirror', 'enabled', parse_flag, 'yes or no',
        'a registry that exists once is lost with its host'),
    Key('mirror', 'accept_edits', parse_flag, 'yes or no',
        'users who may edit a VM may write there, and are not all meant to assign vGPUs'),
    Key('mirror', 'key_file', parse_path_or_nothing, 'path',
        "the pool's secret: root only, and the same on all hosts; empty signs nothing"),
    Key('consumer', 'run_directory', parse_path_or_nothing, 'path',
        'empty is /run/vgpu-watcher, of the host whose [host] proc it is'),
)
