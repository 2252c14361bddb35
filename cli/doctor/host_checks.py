"""The checks of `doctor` that look at this host: versions, verification, consumer, hooks."""

import os
import platform
import stat
from typing import Any, Iterator, List

from cli.consumer.installation import OURS, STOCK, Awareness, ConsumerHost
from cli.consumer.withholding import (advise_consumer, describe_consumer, find_paused,
                                      find_run_directory, read_consumer_state)
from cli.consumer.wrapper_variant import Form
from cli.doctor.findings import Finding, bad, doubtful, good, skipped
from cli.output.text import plural
from watcher.errors import WatcherError
from watcher.version import VERSION

HOOKS = '/etc/xapi.d'
OUR_HOOK = '50-vgpu-watcher'
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_versions(_examination: Any) -> Iterator[Finding]:
    """Which programs answer here; for the support bundle."""
    yield good('versions', f'vgpu-watcher {VERSION}, Python {platform.python_version()}')


def check_verification(examination: Any) -> Iterator[Finding]:
    """Can it be seen what the VMs of this host run with?"""
    settings = examination.context.settings
    program, proc = settings.host.xenstore_read, settings.host.proc
    if settings.xapi.address.scheme != 'unix':
        yield skipped('verification', 'XAPI is reached over TCP: nothing is verified here')
    elif not program:
        yield doubtful('verification', 'is switched off: every boot is recorded as unverified',
                       'set [host] xenstore_read to /usr/bin/xenstore-read')
    elif not os.access(program, os.X_OK) or not os.path.isdir(proc):
        yield bad('verification', f'{program} cannot be run, or {proc} is not there',
                  'correct the section [host] of the configuration')
    else:
        yield good('verification', f'{program} and {proc} are there')


def check_password(examination: Any) -> Iterator[Finding]:
    """Is XAPI's password readable by root only?"""
    path = examination.context.settings.xapi.password_file
    if not path:
        yield skipped('password', 'there is none')
        return
    found = os.stat(path)
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()) or mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield bad('password', f'{path} belongs to user {found.st_uid} and has mode {mode:04o}',
                  f'chown root and chmod 0600 {path}, and change the password')
    else:
        yield _check_content(path, examination.context.settings.xapi)


def _check_content(path: str, settings: Any) -> Finding:
    from watcher.xapi.password import describe_oddity, read_password
    try:
        oddity = describe_oddity(read_password(settings), settings)
    except WatcherError as error:
        return bad('password', str(error), f'write the password into {path}, in one line of UTF-8')
    if oddity:
        return doubtful('password', oddity, 'see whether that belongs to it')
    return good('password', f'{path} is for root only')


def check_consumer(examination: Any) -> Iterator[Finding]:
    """Does something on this host hand our arguments to QEMU?"""
    host = ConsumerHost(examination.root)
    form = host.find_form()
    if form is Form.MISSING:
        yield skipped('consumer', f'there is no {STOCK}: this is not dom0')
    elif form.is_patched:
        yield doubtful('consumer', f'{STOCK} is patched by hand ({form.value}): an update of the '
                       'package takes the patch away, and beside it no stolen number is withheld',
                       "put the packaged file back and run 'vgpu-admin consumer enable'")
    elif host.goes_on and host.is_installed():
        yield doubtful('consumer', 'is disabled, and the xenopsd that runs goes on with it until '
                       'it is started again', "'vgpu-admin consumer enable', or "
                       "'xe-toolstack-restart' to end that")
    elif not host.is_enabled():
        yield bad('consumer', f'nothing hands our arguments to QEMU: {STOCK} is {form.value} and '
                  'our wrapper is not enabled', "'vgpu-admin consumer enable'")
    elif not host.is_installed():
        yield bad('consumer', f'xenopsd is told to run {OURS}, which is not there or cannot be '
                  'run: no VM can start', "install the package again, or "
                  "'vgpu-admin consumer disable'")
    elif host.find_awareness() is Awareness.UNAWARE:
        yield doubtful('consumer', 'is enabled, but the xenopsd that runs has not read that yet',
                       "'xe-toolstack-restart' (running VMs run on)")
    elif form is Form.UNKNOWN:
        yield doubtful('consumer', f'is enabled, but {STOCK} is not one that is known',
                       'check that the next boot is as_desired')
    else:
        yield _check_withholding(examination, host)


def _check_withholding(examination: Any, host: ConsumerHost) -> Finding:
    """Does it withhold a stolen number?"""
    root = examination.root if examination.root != '/' else None
    state = read_consumer_state(host, find_paused(examination.context, root),
                                find_run_directory(examination.context))
    if state.is_well:
        return good('consumer', f'xenopsd runs {OURS}, which {describe_consumer(state)}')
    return doubtful('consumer', f'xenopsd runs {OURS}; it is {describe_consumer(state)}',
                    advise_consumer(state))


def check_hooks(examination: Any) -> Iterator[Finding]:
    """Is each hook of ours a program of root that only root may change?"""
    directory = os.path.join(examination.root, HOOKS.lstrip('/'))
    if not os.path.isdir(directory):
        yield skipped('hooks', f'there is no {HOOKS}: this is not dom0')
        return
    found = [os.path.join(directory, name, OUR_HOOK) for name in sorted(os.listdir(directory))]
    found = [path for path in found if os.path.lexists(path)]
    faults = [fault for path in found for fault in _find_faults(path)]
    if faults:
        yield bad('hooks', '; '.join(faults), 'install the package again (root, 0755)')
    elif not found:
        yield doubtful('hooks', f'there is no {OUR_HOOK} below {HOOKS}: HA may restart VMs before '
                       'they are staged', 'install the package again')
    else:
        yield good('hooks', f'{plural(len(found), "hook")}, each for root to change only')


def _find_faults(path: str) -> List[str]:
    found = os.lstat(path)
    faults = []
    if not stat.S_ISREG(found.st_mode):
        return [f'{path} is not a regular file']
    if found.st_uid not in (0, os.geteuid()):
        faults.append(f'{path} belongs to user {found.st_uid}')
    if found.st_mode & _OTHERS_MAY_WRITE:
        faults.append(f'{path} may be written by others ({stat.S_IMODE(found.st_mode):04o})')
    if not found.st_mode & stat.S_IXUSR:
        faults.append(f'{path} cannot be run ({stat.S_IMODE(found.st_mode):04o})')
    return faults


CHECKS = (check_versions, check_verification, check_password, check_consumer, check_hooks)
