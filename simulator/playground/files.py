"""The files of the playground: for each host what the package would install, and the programs.

Below one directory: host-1 and host-2, each with its configuration, registry, log and XAPI plugin,
and bin with vgpu-admin, vgpu-watcher and xe. The first host is the master; the shell is there.
"""

import os
import stat
import sys
from typing import List

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOSTS = ('host-1', 'host-2')
SECRET = 'the secret of the simulated pool\n'
CONFIGURATION = '''# The configuration of this host. `vgpu-admin` finds it by VGPU_CONFIG.
[xapi]
url = unix:{host}/xapi
[registry]
path = {host}/vgpu_config.db
[host]
xenstore_read = {host}/bin/xenstore-read
proc = {host}/proc
[mirror]
key_file = {host}/ptoken
[metrics]
textfile = {host}/vgpu-watcher.prom
[log]
format = console
'''
PROGRAM = '''#!{python} -Es
import sys
sys.path[:1] = {path!r}
from {module} import main
sys.exit(main({arguments}))
'''
# As deploy/xapi-plugin, with a configuration of its own.
PLUGIN = '''#!{python} -Es
import sys
sys.path[:1] = {path!r}
from cli.commandline.argv import take_arguments
words = take_arguments()
from cli.plugin.__main__ import main
sys.exit(main(words, config_path={config!r}))
'''


def write_files(place: str) -> None:
    """Write everything that is there before the first program starts."""
    for name in HOSTS:
        host = os.path.join(place, name)
        os.makedirs(host)
        _write(os.path.join(host, 'ptoken'), SECRET, stat.S_IRUSR | stat.S_IWUSR)
        _write(find_configuration(place, name), CONFIGURATION.format(host=host))
        _write_program(os.path.join(host, 'root/etc/xapi.d/plugins/vgpu-watcher'), PLUGIN.format(
            python=sys.executable, path=_list_paths(), config=find_configuration(place, name)))
    socket = find_socket(place)
    for name, module, arguments in (('vgpu-admin', 'cli.__main__', ''),
                                    ('vgpu-watcher', 'watcher.__main__', ''),
                                    ('xe', 'simulator.playground.xe', f'sys.argv[1:], {socket!r}')):
        _write_program(find_program(place, name), PROGRAM.format(
            python=sys.executable, path=_list_paths(), module=module, arguments=arguments))


def find_configuration(place: str, host: str = HOSTS[0]) -> str:
    """Find the configuration of a host; it is also where the simulated consumer looks for it."""
    return os.path.join(place, host, 'vgpu-watcher.conf')


def find_program(place: str, name: str) -> str:
    """Find a program of ours, as it is called where it is installed."""
    return os.path.join(place, 'bin', name)


def find_log(place: str, host: str) -> str:
    """Find the log of a host's daemon."""
    return os.path.join(place, host, 'vgpu-watcher.log')


def find_socket(place: str) -> str:
    """Find the socket of the master's XAPI."""
    return os.path.join(place, HOSTS[0], 'xapi')


def _list_paths() -> List[str]:
    return [ROOT] + [path for path in sys.path if path and os.path.exists(path)]


def _write_program(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, text, stat.S_IRWXU)


def _write(path: str, text: str, mode: int = stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP) -> None:
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)
    os.chmod(path, mode)
