"""consumer enable, disable, pause, resume, status: whether xenopsd runs our qemu-wrapper here.

Nothing is restarted here: a xenopsd that ends in the middle of something is for the operator to
choose. Neither the registry nor XAPI is asked.
"""

import os
from typing import Any, Dict, List, Optional, Sequence

from cli.commandline import options
from cli.commandline.parser import Arguments
from cli.consumer.installation import (DIRECTORIES, DIRECTORY_MODE, FRAGMENTS, OURS, SETTING, STOCK,
                                       Awareness, ConsumerHost, Setting)
from cli.consumer.withholding import (NO_DOM0, NOT_IN_FORCE, NOT_READ, OFF, RESTART, ConsumerState,
                                      advise_consumer, describe_consumer, find_paused,
                                      find_run_directory, read_consumer_state)
from cli.consumer.wrapper_variant import MEANINGS, Form
from cli.context import Context
from cli.errors import CommandError, ExitStatus, Kind
from cli.output.result import Result, build_document, plain
from cli.output.text import escape

# Why a pause has no effect now.
_IDLE = {
    OFF: "the consumer is disabled, so it has no effect until 'vgpu-admin consumer enable'",
    NOT_IN_FORCE: 'the stock wrapper is patched by hand, so it has no effect',
    NOT_READ: 'the xenopsd that runs was started before the consumer was enabled, so it has no '
              'effect yet',
    NO_DOM0: 'this is not dom0, so it has no effect',
}
_AWARENESS = {
    Awareness.AWARE: 'runs with our wrapper',
    Awareness.UNAWARE: 'runs without our wrapper',
    Awareness.NOT_RUNNING: 'does not run',
}


def consumer(arguments: Arguments, context: Context) -> Result:
    """Switch the consumer on or off, or tell how things are."""
    place = ConsumerPlace(context, arguments.get(options.ROOT))
    action = {'enable': _enable, 'disable': _disable, 'pause': _pause, 'resume': _resume,
              'status': _status}[arguments.get(options.CONSUMER_ACTION)]
    try:
        result = action(place, context)
    except OSError as error:
        raise CommandError(Kind.FAILED, f'{error.filename or STOCK}: {error.strerror}') \
            from error
    if arguments.get(options.EXIT_CODE) and result.document['in_use']:
        return result._replace(status=ExitStatus.DRIFT)
    return result


class ConsumerPlace:
    """One host, and where its consumer finds the pause and the numbers."""

    def __init__(self, context: Context, root: Optional[str]) -> None:
        self.host = ConsumerHost(root or '/')
        self.paused = find_paused(context, root)
        self._run_directory = find_run_directory(context)

    def read(self) -> ConsumerState:
        """What the consumer would find now."""
        return read_consumer_state(self.host, self.paused, self._run_directory)


def _enable(place: ConsumerPlace, context: Context) -> Result:
    host = place.host
    _check(host)
    form = host.find_form()
    is_new = not host.is_enabled()
    if is_new:
        host.write_fragment()
    if form is not Form.STOCK:
        context.note(f'{STOCK}: {MEANINGS[form]}; {_advise(form)}')
    if is_new:
        context.note("QEMU gets nothing of device-model-args but our arguments: other "
                     "arguments in it are dropped and logged; see 'vgpu-admin scan-vms'")
    text = (f'The consumer {"was enabled" if is_new else "is enabled already"}: '
            f'{FRAGMENTS[0]} names {OURS}.')
    return _build(place, 'enabled' if is_new else 'already_enabled', [text])


def _check(host: ConsumerHost) -> None:
    """Refuse what would leave xenopsd unable to start, or QEMU."""
    if not host.is_installed():
        # xenopsd ends at once when the wrapper that its configuration names cannot be run.
        raise CommandError(Kind.FAILED, f'{OURS} is not there or cannot be run; install the '
                           'package again; nothing was changed')
    if host.find_form() is Form.MISSING:
        raise CommandError(Kind.FAILED, f'{STOCK} is not there, and our wrapper runs it; '
                           'nothing was changed')
    if host.find_form().is_patched:
        raise CommandError(Kind.CONFLICT, f'{STOCK}: {MEANINGS[host.find_form()]}. Beside it our '
                           'wrapper is not in force: the patch also lets through what our grammar '
                           'refuses, and stolen numbers. Put the packaged file back first; nothing '
                           'was changed')
    other = host.find_other_directory()
    if other is not None:
        raise CommandError(Kind.CONFLICT, f'xenopsd was told to read {escape(other)}, and our '
                           f'fragment lies in {DIRECTORIES[0]}; nothing was changed')
    for directory in DIRECTORIES:
        _check_settings(host.list_settings(directory))


def _check_settings(settings: Sequence[Setting]) -> None:
    """Refuse to compete with another file that sets the wrapper."""
    for item in settings:
        # What is read later wins; what names the stock wrapper only says what is so anyway.
        is_stock = item.value in (STOCK, os.path.basename(STOCK))
        is_later = os.path.basename(item.path) > os.path.basename(FRAGMENTS[0]) and (
            os.path.dirname(item.path) in DIRECTORIES)
        if item.path not in FRAGMENTS and (is_later or not is_stock):
            raise CommandError(Kind.CONFLICT, f'{escape(item.path)} sets {SETTING} to '
                               f'{escape(item.value)}; remove that line first; nothing was '
                               'changed')


def _disable(place: ConsumerPlace, _context: Context) -> Result:
    host = place.host
    had_fragment = host.has_fragment()
    if had_fragment:
        host.remove_fragment()
    text = ('The consumer was disabled: ' if had_fragment else 'The consumer is disabled already: '
            ) + f'there is no {FRAGMENTS[0]}.'
    return _build(place, 'disabled' if had_fragment else 'already_disabled', [text])


def _pause(place: ConsumerPlace, _context: Context) -> Result:
    """Have the consumer withhold nothing from the next start on; a restart changes nothing."""
    os.makedirs(os.path.dirname(place.paused), DIRECTORY_MODE, exist_ok=True)
    try:
        descriptor = os.open(place.paused, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return _build(place, 'already_paused', ['The consumer is paused already.'])
    os.close(descriptor)
    idle = _IDLE.get(place.read().state)
    return _build(place, 'paused', [
        f'The pause is noted; {idle}.' if idle else
        'The consumer is paused: from now on each VM gets what XAPI carries, a stolen number too. '
        "'vgpu-admin consumer resume' ends it."])


def _resume(place: ConsumerPlace, _context: Context) -> Result:
    try:
        os.unlink(place.paused)
    except FileNotFoundError:
        return _build(place, 'already_resumed', ['The consumer is not paused.'])
    return _build(place, 'resumed', ['The consumer is not paused any more.'])


def _status(place: ConsumerPlace, context: Context) -> Result:
    host = place.host
    form = host.find_form()
    enabled = host.is_enabled()
    if form is Form.MISSING and not enabled \
            and host.find_awareness() is Awareness.NOT_RUNNING:
        lines = [f'{STOCK} does not exist: this is not dom0']
        return _build(place, 'disabled', lines)._replace(lines=plain(lines))
    if form is Form.MISSING:
        context.note(f'{STOCK} does not exist: no VM with a QEMU can start on this host')
    elif form is not Form.STOCK:
        context.note(f'{STOCK}: {_advise(form)}')
    found = {item for directory in DIRECTORIES for item in host.list_settings(directory)}
    others = [f'Set elsewhere: {escape(item.path)}: {escape(item.value)}'
              for item in sorted(found) if item.path not in FRAGMENTS]
    return _build(place, 'enabled' if enabled else 'disabled', [
        f'Consumer: {"enabled" if enabled else "disabled"}',
        f'Stock wrapper: {STOCK}: {MEANINGS[form]}',
        f'Our wrapper: {OURS}: {"is there" if host.is_installed() else "is not there"}',
        f'Fragment: {FRAGMENTS[0]}: {"is there" if host.has_fragment() else "is not there"}']
        + (['Paused: yes'] if place.read().is_paused else []) + others)


def _build(place: ConsumerPlace, result: str, lines: List[str]) -> Result:
    """The document that all of them give, and what there is left to do."""
    host, state = place.host, place.read()
    awareness = host.find_awareness()
    enabled = host.is_enabled()
    lines = lines + [f'xenopsd: {_AWARENESS[awareness]}']
    if state.state != NO_DOM0:
        lines.append(f'Stolen numbers: {describe_consumer(state)}')
    advice = advise_consumer(state)
    if advice and enabled and state.state != NOT_READ:
        lines.append(f'To have them withheld: {advice}')
    elif result == 'disabled' and state.state == OFF:
        lines.append(f'To switch it on: {advice}')
    next_step = _next_step(enabled, awareness)
    fields: Dict[str, Any] = dict(
        result=result, form=host.find_form().value, enabled=enabled, installed=host.is_installed(),
        fragment=host.has_fragment(), xenopsd=awareness.value, next_step=next_step,
        stolen_numbers=state.document,
        in_use=host.has_fragment() or awareness is Awareness.AWARE)
    return Result(build_document(**fields),
                  plain(lines + ([f'Next: {next_step}'] if next_step else [])))


def _next_step(enabled: bool, awareness: Awareness) -> Optional[str]:
    if awareness is Awareness.NOT_RUNNING or enabled is (awareness is Awareness.AWARE):
        return None
    return RESTART


def _advise(form: Form) -> str:
    if form.is_patched:
        return ('the patch goes on appending, so our wrapper leaves those arguments alone; it '
                'also lets through what our grammar refuses, so put the packaged file back')
    return 'our wrapper looks at how it runs QEMU; check that the next boot is as_desired'
