"""The XAPI plugin `vgpu-watcher`: other hosts and clients of XAPI ask this host through it.

XAPI runs it with the call as its one argument, which the program overwrites before it imports this
module (argv.py), and takes its standard output for the answer. All
arguments are input from elsewhere: they are checked, never reach a shell, and name no path that
would be followed. Who may ask for what: docs/security.md.
"""

import contextlib
import json
import os
import signal
import sys
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from cli.commandline.argv import take_arguments
from watcher.config import settings as config
from watcher.errors import HostUnreadable
from watcher.version import VERSION
from watcher.xapi.plugin_protocol import (FORMAT, MAX_ANSWER_BYTES, Call, CallInvalid, parse_call,
                                          parse_inspection, render_failure, render_finding,
                                          render_success)

# What a look or a check may take before it is given up; XAPI itself sets no limit.
LOOK_SECONDS = 8
CHECK_SECONDS = 60

Function = Callable[[Call, Optional[str]], str]


def main(words: Optional[Sequence[str]] = None, *, config_path: Optional[str] = None) -> int:
    """Answer one call; the exit status is 0 also when the answer is a failure."""
    taken = take_arguments() if words is None else words
    answers = _take_standard_output()
    answer = _answer(taken, config_path)
    with os.fdopen(answers, 'w', encoding='utf-8') as stream:
        stream.write(answer)
    return 0


def _take_standard_output() -> int:
    """Keep standard output for the answer: whatever else is printed goes to standard error."""
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _answer(words: Sequence[str], config_path: Optional[str]) -> str:
    name = 'vgpu-watcher'
    try:
        if len(words) != 1:
            raise CallInvalid('one argument is expected, the call')
        # XAPI gives a plugin no locale, and Python 3.6 then takes words apart byte by byte.
        call = parse_call(os.fsencode(words[0]).decode('utf-8'))
        name = call.function
        function = FUNCTIONS.get(name)
        if function is None:
            return render_failure('UNKNOWN_XENAPI_PLUGIN_FUNCTION', name)
        value = function(call, config_path)
        if len(value) > MAX_ANSWER_BYTES:
            raise CallInvalid(f'the answer has {len(value)} bytes, and at most '
                              f'{MAX_ANSWER_BYTES} can be sent')
        return render_success(value)
    except (Exception, CallTookTooLong) as error:  # XAPI is always answered, in its own way
        return render_failure('XENAPI_PLUGIN_FAILURE', name, type(error).__name__, str(error))


def _inspect(call: Call, config_path: Optional[str]) -> str:
    """What the QEMU of one domain of this host runs with.

    The answer has only devices with a name of this host's own configuration: a caller that could
    choose the names would read any device of any VM.
    """
    from watcher.boots.host import Host
    from watcher.boots.inspection import inspect_domain
    from watcher.loop.steps import run
    from watcher.vm.boot import BootFinding
    request = parse_inspection(call.arguments)
    settings = config.load(config_path)
    host = Host(settings.host.xenstore_read, settings.host.proc, settings.run_directory)
    with limited(LOOK_SECONDS):
        finding = BootFinding(is_readable=False, problem='this host cannot look at its domains')
        if host.is_available:
            finding = run(inspect_domain(host, settings.device.known_names, request.domid,
                                         lambda: True))
            finding = _refuse_another_vm(host, request.domid, request.vm_uuid, finding)
    return render_finding(finding)


def _refuse_another_vm(host: Any, domid: int, vm_uuid: str, finding: Any) -> Any:
    """A domain that is another VM's by now says nothing about the one that was meant."""
    from watcher.loop.steps import run
    try:
        owner = run(host.read_vm_uuid(domid))
    except HostUnreadable as error:
        return finding._replace(is_readable=False, problem=str(error))
    if owner == vm_uuid:
        return finding
    return finding._replace(found=None, delivered=None, is_readable=False,
                            problem=f'domain {domid} is not a domain of this VM')


def _version(_call: Call, _config_path: Optional[str]) -> str:
    """Which version of the plugin this host has, and what it can do."""
    return json.dumps({'format': FORMAT, 'version': VERSION, 'functions': sorted(FUNCTIONS)})


def _mirror(call: Call, config_path: Optional[str]) -> str:
    """What this host remembers of the mirror of a resource pool; the journal is asked.

    How far its copy has been, and not where it is: it may have followed an older mirror that was
    put back.
    """
    from registry.journal.journal import Journal
    from registry.store import Registry
    from watcher.mirror.entries import find_furthest
    from watcher.mirror.trust import read_memory
    path = Registry(config.load(config_path).registry.path, timeout_seconds=1.0).journal_path
    furthest, memory = '', read_memory(None)
    resource_pool = call.arguments.get('resource_pool', '')
    if os.path.exists(path):
        with Journal(path, timeout_seconds=1.0) as journal:
            memory = read_memory(journal)
            if not journal.has_moved(resource_pool):
                furthest = find_furthest(journal.lineage())
    return json.dumps({'format': FORMAT, 'generation': furthest,
                       'is_signed': resource_pool in memory.pools})


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End the block with CallTookTooLong after so many seconds."""
    def give_up(_number: int, _frame: Any) -> None:
        raise CallTookTooLong(f'it took more than {seconds} s')

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


class CallTookTooLong(BaseException):
    """It took longer than a caller waits. No error: no check on the way takes it for its own."""


def _admin(call: Call, config_path: Optional[str]) -> str:
    """One command of vgpu-admin."""
    from cli.plugin.admin import admin  # a look shall not pay for it
    return admin(call, config_path)


def _cancel(call: Call, config_path: Optional[str]) -> str:
    """End a command that is under way."""
    from cli.plugin.admin import cancel
    return cancel(call, config_path)


def _doctor(_call: Call, config_path: Optional[str]) -> str:
    """What the doctor of this host finds."""
    from cli.commandline.parser import parse
    from cli.context import Context
    from cli.doctor.command import doctor
    arguments = parse(['doctor', '--json'] + (['--config', config_path] if config_path else []))
    context = Context(arguments, errors=sys.stderr, answers=None, environment={},
                      is_forwarded=True)
    with contextlib.closing(context), limited(CHECK_SECONDS):
        return json.dumps(doctor(arguments, context).document)


FUNCTIONS: Dict[str, Function] = {
    'doctor': _doctor, 'look': _inspect, 'mirror': _mirror, 'version': _version, 'admin': _admin,
    'cancel': _cancel}
