"""What a host says of the consumer: the stock wrapper, ours, the fragment, and xenopsd.

xenopsd reads its fragments when it starts, from a directory that its unit names, or from one named
after the program: packages of XCP-ng 8.3 differ, and an update goes from one to the other. So our
fragment lies in both. No clock tells which xenopsd has read it: the fragment names the process that
ran when it was written, and had not read it; what was removed leaves the name of the process that
still goes by it, in a file that ends with the boot.

All paths are below a root, so that tests and images have one of their own.
"""

import contextlib
import enum
import os
import re
import tempfile
from typing import List, NamedTuple, Optional, Tuple

from cli.consumer.wrapper_variant import Form, find_form

STOCK = '/usr/lib64/xen/bin/qemu-wrapper'
OURS = '/opt/vgpu-watcher/qemu-wrapper/vgpu-qemu-wrapper'
CONFIGURATION = '/etc/xenopsd.conf'
# XCP-ng's since July 2025, and xenopsd's own default. It reads every file in there, whatever its
# name: nothing else of ours may lie in them.
DIRECTORIES = ('/etc/xenopsd.conf.d', '/etc/xenopsd-xc.conf.d')
FRAGMENTS = tuple(directory + '/vgpu-watcher.conf' for directory in DIRECTORIES)
REMEMBERED = '/run/vgpu-consumer.known'
SETTING = 'upstream-compat-qemu-dm-wrapper'

_XENOPSD = ('xenopsd-xc', 'xenopsd')
_UNAWARE = '# xenopsd that had not read this yet: '
_MAX_BYTES = 1 << 20
# Whatever the umask: who may write there has xenopsd run what he likes.
DIRECTORY_MODE = 0o755


class Awareness(enum.Enum):
    """Whether the xenopsd that runs goes by the fragment."""

    AWARE = 'aware'
    UNAWARE = 'unaware'
    NOT_RUNNING = 'not_running'


class Setting(NamedTuple):
    """One file that tells xenopsd which wrapper to run."""

    path: str
    value: str


class ConsumerHost:
    """The files and processes of one host."""

    def __init__(self, root: str = '/') -> None:
        self._root = root

    def find_form(self) -> Form:
        """The form of the stock wrapper."""
        return find_form(self._read(STOCK))

    def is_installed(self) -> bool:
        """Whether our wrapper could be run."""
        path = self.locate(OURS)
        return os.path.isfile(path) and os.access(path, os.X_OK)

    def is_enabled(self) -> bool:
        """Whether a xenopsd that starts now runs our wrapper, wherever it reads fragments."""
        return all(settings and settings[-1].value == OURS
                   for settings in map(self.list_settings, DIRECTORIES))

    def list_settings(self, directory: str) -> Tuple[Setting, ...]:
        """All that tells xenopsd which wrapper to run; the last one counts."""
        try:
            names = sorted(os.listdir(self.locate(directory)))
        except FileNotFoundError:
            names = []
        paths = [CONFIGURATION] + [f'{directory}/{name}' for name in names]
        return tuple(Setting(path, value) for path in paths
                     for value in _find_values(self._read(path) or ''))

    def has_fragment(self) -> bool:
        """Whether our fragment is there."""
        return any(os.path.lexists(self.locate(path)) for path in FRAGMENTS)

    def find_other_directory(self) -> Optional[str]:
        """A directory that the running xenopsd was told to read instead."""
        for identity in self.list_xenopsds():
            words = (self._read(f'/proc/{identity.split("/")[1]}/cmdline') or '').split('\0')
            for word, following in zip(words, words[1:] + ['']):
                option, equals, value = word.lstrip('-').partition('=')
                directory = (value if equals else following).rstrip('/')
                if option == 'config-dir' and directory not in DIRECTORIES:
                    return directory
        return None

    def find_awareness(self) -> Awareness:
        """Whether the xenopsd that runs has read our fragment, also one that is gone since."""
        running = self.list_xenopsds()
        if not running:
            return Awareness.NOT_RUNNING
        is_aware = self._list_aware(running) != []
        return Awareness.AWARE if is_aware else Awareness.UNAWARE

    @property
    def goes_on(self) -> bool:
        """Whether our wrapper was disabled, and the xenopsd that runs goes on with it."""
        return self.find_awareness() is Awareness.AWARE and not self.has_fragment()

    def write_fragment(self) -> None:
        """Tell xenopsd to run our wrapper, from its next start on."""
        running = self.list_xenopsds()
        aware = self._list_aware(running)
        unaware = ' '.join(item for item in running if item not in aware)
        for path in FRAGMENTS:
            self._write(path, '# Written by `vgpu-admin consumer enable`, removed by `vgpu-admin '
                        f'consumer disable`.\n{_UNAWARE}{unaware}\n{SETTING} = {OURS}\n')
        self._remove(REMEMBERED)

    def remove_fragment(self) -> None:
        """Take it back, from xenopsd's next start on."""
        aware = self._list_aware(self.list_xenopsds())
        if aware:
            self._write(REMEMBERED, ' '.join(aware) + '\n')
        for path in FRAGMENTS:
            self._remove(path)
        with contextlib.suppress(OSError):
            # No package has this one; it goes when nothing else uses it.
            os.rmdir(self.locate(DIRECTORIES[1]))

    def list_xenopsds(self) -> List[str]:
        """The xenopsds that run, each by what tells it from every other one."""
        proc = self.locate('/proc')
        boot = (self._read('/proc/sys/kernel/random/boot_id') or '').strip()
        pids = [name for name in os.listdir(proc) if name.isdigit()] if os.path.isdir(proc) else []
        return [f'{boot}/{pid}/{began}' for pid in sorted(pids, key=int)
                if (self._read(f'/proc/{pid}/comm') or '').strip() in _XENOPSD
                for began in _find_start(self._read(f'/proc/{pid}/stat') or '')]

    def locate(self, path: str) -> str:
        """Where a path of the host lies here."""
        return os.path.join(self._root, path.lstrip('/'))

    def _list_aware(self, running: List[str]) -> List[str]:
        text = next((text for text in map(self._read, FRAGMENTS) if text is not None), None)
        if text is None:
            remembered = (self._read(REMEMBERED) or '').split()
            return [item for item in running if item in remembered]
        unaware = [word for line in text.splitlines() if line.startswith(_UNAWARE)
                   for word in line[len(_UNAWARE):].split()]
        return [item for item in running if item not in unaware]

    def _read(self, path: str) -> Optional[str]:
        """The text of a file; None when it is not there."""
        try:
            with open(self.locate(path), 'rb') as stream:
                return stream.read(_MAX_BYTES).decode('utf-8', 'replace')
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            return None

    def _write(self, path: str, text: str) -> None:
        """Put a file there as a whole or not at all, readable for all users."""
        target = self.locate(path)
        directory = os.path.dirname(target)
        os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
        # A fragment one level up: a file that is half written must not lie where xenopsd reads all.
        # Others not: /run is a file system of its own, into which nothing can be renamed.
        place = os.path.dirname(directory) if path in FRAGMENTS else directory
        descriptor, made = tempfile.mkstemp(prefix='.vgpu-', dir=place)
        try:
            with open(descriptor, 'w', encoding='ascii') as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), 0o644)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(made, target)
        except BaseException:
            os.unlink(made)
            raise

    def _remove(self, path: str) -> None:
        try:
            os.unlink(self.locate(path))
        except FileNotFoundError:
            return


def _find_values(text: str) -> List[str]:
    """What a file sets the wrapper to, read as xenopsd reads it."""
    found = []
    for line in text.splitlines():
        match = re.match(r'\s*([^=\s]+)\s*=\s*(.*)', line.partition('#')[0])
        if match and match.group(1) == SETTING:
            found.append(match.group(2).strip().strip('"\''))
    return found


def _find_start(stat: str) -> List[str]:
    """When a process began, in ticks since the boot; nothing when it is gone by now."""
    # The name, in brackets, may hold blanks and brackets.
    words = stat.rpartition(')')[2].split()
    return words[19:20]
