"""What the values of the configuration may be: one parse_ function per kind of value.

Stands under `settings.py`. Each raises ValueError with the reason; the caller adds the place.
"""

import enum
import re
from typing import NamedTuple, Tuple, Type, TypeVar

from watcher.vm.device_args import DEVICE_NAME, InvalidTemplate, Template, parse_template

MAX_INTERVAL_SECONDS = 86400
# The kernel's limit of a Unix socket's path, without the final NUL.
MAX_SOCKET_PATH = 107

_URL = re.compile(r'(https?)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?/?\Z')
_PORTS = {'http': 80, 'https': 443}
# As INI files are read everywhere (configparser.RawConfigParser.BOOLEAN_STATES).
_FLAGS = {'1': True, 'yes': True, 'true': True, 'on': True,
          '0': False, 'no': False, 'false': False, 'off': False}
_Choice = TypeVar('_Choice', bound=enum.Enum)


class LogFormat(str, enum.Enum):
    """How log lines look."""
    JSON = 'json'
    CONSOLE = 'console'


class LogLevel(str, enum.Enum):
    """The least that is logged."""
    DEBUG = 'debug'
    INFO = 'info'
    WARNING = 'warning'
    ERROR = 'error'


class XapiAddress(NamedTuple):
    """Where XAPI listens: `path` for unix, `host` and `port` for http and https."""
    scheme: str
    path: str = ''
    host: str = ''
    port: int = 0


def parse_url(text: str) -> XapiAddress:
    """Take an url of XAPI apart; raise ValueError with the reason."""
    if text.startswith('unix:'):
        return _parse_socket_path(text[len('unix:'):])
    match = _URL.match(text)
    if match is None:
        raise ValueError(f'{text!r} is not understood; allowed: unix:/path, http://host:port, '
                         'https://host')
    scheme, address, name, port = match.groups()
    if address:
        import ipaddress  # costs 2 ms, and few configurations have one
        ipaddress.IPv6Address(address)
    number = int(port) if port else _PORTS[scheme]
    if not 1 <= number <= 65535:
        raise ValueError(f'port {number} is not between 1 and 65535')
    return XapiAddress(scheme, host=address or name, port=number)


def parse_checked_url(text: str) -> str:
    """An url of XAPI that can be taken apart."""
    parse_url(text)
    return text


def parse_word(text: str) -> str:
    """Any text of one line."""
    if not text or '\n' in text:
        raise ValueError('needs a value of one line')
    return text


def parse_path(text: str) -> str:
    """An absolute path."""
    # The daemon's working directory is the service manager's business.
    if not parse_word(text).startswith('/'):
        raise ValueError(f'{text!r} is not an absolute path')
    return text


def parse_path_or_nothing(text: str) -> str:
    """An absolute path, or nothing."""
    return parse_path(text) if text else ''


def parse_listen(text: str) -> Tuple[str, int]:
    """An address of the loopback and a port: 127.0.0.1:9477 or [::1]:9477."""
    match = re.match(r'(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})\Z', text)
    if match is None:
        raise ValueError(f'{text!r} is no address and port: 127.0.0.1:9477')
    import ipaddress
    address = ipaddress.ip_address(match.group(1) or match.group(2))
    if not address.is_loopback:
        raise ValueError(f'{address} is not an address of the loopback: dom0 opens no port to '
                         'the network')
    if not 1 <= int(match.group(3)) <= 65535:
        raise ValueError(f'port {match.group(3)} is not between 1 and 65535')
    return str(address), int(match.group(3))


def parse_listen_or_nothing(text: str) -> str:
    """An address of the loopback and a port, or nothing."""
    if text:
        parse_listen(text)
    return text


def parse_flag(text: str) -> bool:
    """Yes or no, in any spelling that INI files know."""
    if text.lower() not in _FLAGS:
        raise ValueError(f'{text!r} is neither yes nor no')
    return _FLAGS[text.lower()]


def parse_device_template(text: str) -> Template:
    """A template that fits the grammar."""
    try:
        return parse_template(text)
    except InvalidTemplate as error:
        raise ValueError(f'{text!r} {error}') from error


def parse_names(text: str) -> Tuple[str, ...]:
    """Names of devices with blanks between."""
    for name in text.split():
        if not DEVICE_NAME.match(name):
            raise ValueError(f'{name!r} is no name of a device: [A-Za-z][A-Za-z0-9_-]*')
    return tuple(text.split())


def parse_interval(text: str) -> int:
    """Whole seconds."""
    if not re.match(r'[0-9]{1,6}\Z', text) or not 1 <= int(text) <= MAX_INTERVAL_SECONDS:
        raise ValueError(f'{text!r} is no whole number from 1 to {MAX_INTERVAL_SECONDS}')
    return int(text)


def parse_format(text: str) -> LogFormat:
    """The format of log lines."""
    return _parse_choice(LogFormat, text)


def parse_level(text: str) -> LogLevel:
    """The least level that is logged."""
    return _parse_choice(LogLevel, text)


def _parse_choice(choices: Type[_Choice], text: str) -> _Choice:
    words = [item.value for item in choices]
    if text not in words:
        raise ValueError(f'{text!r} is not understood; allowed: ' + ', '.join(words))
    return choices(text)


def _parse_socket_path(path: str) -> XapiAddress:
    parse_path(path)
    if len(path.encode('utf-8')) > MAX_SOCKET_PATH:
        raise ValueError(f'the path of a socket may have at most {MAX_SOCKET_PATH} bytes')
    return XapiAddress('unix', path=path)
