"""consumer enable, disable, status: whether xenopsd runs our qemu-wrapper on this host.

Nothing is restarted here: a xenopsd that ends in the middle of something is for the operator to
choose. Neither the registry nor XAPI is asked.
"""

import os
from typing import Any, Dict, List, Optional, Sequence

from cli import options
from cli.consumer_form import MEANINGS, Form
from cli.consumer_host import (DIRECTORIES, FRAGMENTS, OURS, SETTING, STOCK, Awareness,
                               ConsumerHost, Setting)
from cli.consumer_options import ACTION, ROOT
from cli.context import Context
from cli.errors import CommandError, ExitStatus, Kind
from cli.parser import Arguments
from cli.result import Result, build_document, plain
from cli.text import escape

_RESTART = 'restart xenopsd on this host: xe-toolstack-restart (running VMs run on)'
_AWARENESS = {
    Awareness.AWARE: 'runs with our wrapper',
    Awareness.UNAWARE: 'runs without our wrapper',
    Awareness.NOT_RUNNING: 'does not run',
}


def consumer(arguments: Arguments, context: Context) -> Result:
    """Switch the consumer on or off, or tell how things are."""
    host = ConsumerHost(arguments.get(ROOT) or '/')
    action = {'enable': _enable, 'disable': _disable, 'status': _status}[arguments.get(ACTION)]
    try:
        result = action(host, context)
    except OSError as error:
        raise CommandError(Kind.FAILED, f'{error.filename or STOCK}: {error.strerror}') \
            from error
    if arguments.get(options.EXIT_CODE) and result.document['in_use']:
        return result._replace(status=ExitStatus.DRIFT)
    return result


def _enable(host: ConsumerHost, context: Context) -> Result:
    _check(host)
    form = host.find_form()
    is_new = not host.is_enabled()
    if is_new:
        host.write_fragment()
    if form is not Form.STOCK:
        context.note(f'{STOCK}: {MEANINGS[form]}. {_advise(form)}')
    if is_new:
        context.note("QEMU gets nothing of device-model-args but the span that is ours: other "
                     "arguments in it are dropped and logged. See 'vgpu-admin scan-vms'")
    text = (f'The consumer {"was enabled" if is_new else "is enabled already"}: '
            f'{FRAGMENTS[0]} names {OURS}.')
    return _build(host, 'enabled' if is_new else 'already_enabled', [text])


def _check(host: ConsumerHost) -> None:
    """Refuse what would leave xenopsd unable to start, or QEMU."""
    if not host.is_installed():
        # xenopsd ends at once when the wrapper that it is told of cannot be run.
        raise CommandError(Kind.FAILED, f'{OURS} is not there or cannot be run; install the '
                           'package again; nothing was changed')
    if host.find_form() is Form.MISSING:
        raise CommandError(Kind.FAILED, f'{STOCK} is not there, and our wrapper runs it; '
                           'nothing was changed')
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


def _disable(host: ConsumerHost, _context: Context) -> Result:
    had_fragment = host.has_fragment()
    if had_fragment:
        host.remove_fragment()
    text = ('The consumer was disabled: ' if had_fragment else 'The consumer is disabled already: '
            ) + f'there is no {FRAGMENTS[0]}.'
    return _build(host, 'disabled' if had_fragment else 'already_disabled', [text])


def _status(host: ConsumerHost, context: Context) -> Result:
    form = host.find_form()
    if form is not Form.STOCK:
        context.note(f'{STOCK}: {_advise(form)}')
    enabled = host.is_enabled()
    found = {item for directory in DIRECTORIES for item in host.list_settings(directory)}
    others = [f'Set elsewhere: {escape(item.path)}: {escape(item.value)}'
              for item in sorted(found) if item.path not in FRAGMENTS]
    return _build(host, 'enabled' if enabled else 'disabled', [
        f'Consumer: {"enabled" if enabled else "disabled"}',
        f'Stock wrapper: {STOCK}: {MEANINGS[form]}',
        f'Our wrapper: {OURS}: {"is there" if host.is_installed() else "is not there"}',
        f'Fragment: {FRAGMENTS[0]}: {"is there" if host.has_fragment() else "is not there"}']
        + others)


def _build(host: ConsumerHost, result: str, lines: List[str]) -> Result:
    """The document that all three give, and what there is left to do."""
    awareness = host.find_awareness()
    enabled = host.is_enabled()
    lines = lines + [f'xenopsd: {_AWARENESS[awareness]}']
    next_step = _next_step(enabled, awareness)
    fields: Dict[str, Any] = dict(
        result=result, form=host.find_form().value, enabled=enabled, installed=host.is_installed(),
        fragment=host.has_fragment(), xenopsd=awareness.value, next_step=next_step,
        in_use=host.has_fragment() or awareness is Awareness.AWARE)
    return Result(build_document(**fields),
                  plain(lines + ([f'Next: {next_step}'] if next_step else [])))


def _next_step(enabled: bool, awareness: Awareness) -> Optional[str]:
    if awareness is Awareness.NOT_RUNNING or enabled is (awareness is Awareness.AWARE):
        return None
    return _RESTART


def _advise(form: Form) -> str:
    if form.is_patched:
        return ('the patch goes on appending, so our wrapper leaves those arguments alone; it '
                'also lets through what our grammar refuses, so put the packaged file back')
    if form is Form.MISSING:
        return 'is not there: no VM with a QEMU can start on this host'
    return 'our wrapper looks at how it runs QEMU; see to it that the next boot is as_desired'
