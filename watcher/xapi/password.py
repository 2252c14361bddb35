"""The password of XAPI, read from its file at each login; what is odd about that file is said.

Rule: nothing of the content stands in a message, not even a byte.
"""

import codecs

from watcher.config.settings import XapiSettings, read_regular_file
from watcher.errors import XapiUnreachable

_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_password(settings: XapiSettings) -> str:
    """Read the password, without the final newline; '' when no file is named."""
    if not settings.password_file:
        return ''
    try:
        return _parse(read_regular_file(settings.password_file))
    except UnicodeDecodeError:
        # Its text names the byte, which is part of a secret.
        problem = 'it is not UTF-8'
    except (OSError, ValueError) as error:
        problem = str(error)
    raise XapiUnreachable(f'cannot read the password file {settings.password_file}: {problem}')


def describe_oddity(password: str, settings: XapiSettings) -> str:
    """Say what about a refused password may be a slip in how its file was saved; '' for nothing."""
    problem = ''
    if password != password.strip():
        problem = 'begins or ends with a blank'
    elif not password.isprintable():
        problem = 'holds a control character'
    elif any(ord(character) > 126 for character in password):
        problem = 'holds characters beyond ASCII'
    return f'the password in {settings.password_file} {problem}' if problem else ''


def _parse(content: bytes) -> str:
    if content.startswith(_MARKS):
        raise ValueError('it begins with a byte order mark: save it as UTF-8 without one')
    if b'\0' in content:
        raise ValueError('it holds a NUL byte, as UTF-16 does: save it as UTF-8')
    password = content.decode('utf-8').rstrip('\r\n')
    if not password:
        raise ValueError('it is empty')
    if '\n' in password or '\r' in password:
        raise ValueError('it holds more than one line: only the password is expected')
    return password
