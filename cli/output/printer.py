"""The only place that prints: results on standard output, everything else on standard error."""

import contextlib
import os
from typing import Any, Iterator, List, Mapping, Optional, Sequence, TextIO

from cli.errors import CommandError, ExitStatus
from cli.output.result import Result, build_document
from cli.output.text import Style, encodable, escape, escape_all_but_colours


class Output:
    """Standard output and standard error of one run."""

    def __init__(self, results: Optional[TextIO], errors: Optional[TextIO],
                 environment: Mapping[str, str], *, style: Optional[Style] = None) -> None:
        self._results = results or _open_nowhere()
        self._errors = errors or _open_nowhere()
        self._problem = ''
        self.outcome = ''
        """What was done, told where the result cannot be printed."""
        self._environment = environment
        self._given_style = style
        """What another host's terminal can do, when the text is for that."""

    @property
    def style(self) -> Style:
        """What the place where results go can do."""
        return self._given_style or self._style()

    def print_result(self, result: Result, notes: Sequence[str], *, is_json: bool,
                     is_minimal: bool) -> None:
        """Print a result, and what should be known beside it."""
        if result.stream is not None:
            self._print_stream(result.stream(None if is_json else self.style))
            return
        if is_json:
            import json  # costs 3 ms, and people do not need it
            document = dict(result.document, notes=list(notes)) if notes else result.document
            self._write(self._results, [json.dumps(document, indent=2)])
            return
        if notes and not is_minimal:
            # What the result says itself is not said twice.
            said = result.lines(Style())
            notes = [note for note in notes if not any(escape(note) in line for line in said)]
        self._tell(notes)
        if is_minimal:
            self._write(self._results,
                        [','.join(item.replace(',', '\\,') for item in result.minimal)])
        else:
            self._write(self._results, self._fitted(result), is_data=result.is_data)

    def _fitted(self, result: Result) -> List[str]:
        style = self.style
        lines = result.lines(style)
        if not style.width or result.is_data:
            return lines
        from cli.output.wrap import fit  # programs do not need it
        return fit(lines, style)

    def print_error(self, error: CommandError, notes: Sequence[str], *, is_json: bool) -> None:
        """Print why a command came to nothing."""
        if is_json:
            import json
            content: dict = {'kind': error.kind.value, 'message': str(error)}
            if notes:
                content['notes'] = list(notes)
            self._write(self._errors, [json.dumps(build_document(error=content))])
            return
        self._tell(notes)
        self._tell(str(error).split('\n'))

    def _tell(self, texts: Sequence[str]) -> None:
        """Write to people, beside the result."""
        self._write_fitted([f'vgpu-admin: {escape(text)}' for text in texts])

    def _write_fitted(self, errors: List[str]) -> None:
        # Before Python 3.9 standard error keeps what is written until the end, but on a terminal.
        self._write(self._errors, fitted(errors, self._errors), at_once=True)

    def print_lines(self, results: List[str], errors: List[str], *,
                    is_data: bool = False) -> None:
        """Print what another host has made ready for our terminal; data goes to no terminal raw."""
        self._write_fitted([escape_all_but_colours(line) for line in errors])
        if not is_data or self._results.isatty():
            results = [escape_all_but_colours(line) for line in results]
        self._write(self._results, results, is_data=is_data)

    def _print_stream(self, texts: Iterator[str]) -> None:
        """Print each text at once; Ctrl-C is the way to end it."""
        try:
            for text in texts:
                if not self._write(self._results, [text], at_once=True):
                    return
        except KeyboardInterrupt:
            self._write(self._results, ['\r'] if self._results.isatty() else [])

    def close(self) -> None:
        """Flush; a reader that went away early (`| head`) is not an error."""
        for stream in (self._results, self._errors):
            try:
                stream.flush()
            except (OSError, ValueError) as error:
                self._lose(stream, error)

    def settle(self, status: int) -> int:
        """Close, and give the exit status: what could not be written is a failure."""
        self.close()
        if not self._problem:
            return status
        outcome = f'; {self.outcome}' if self.outcome else ''
        self._write(self._errors, [f'vgpu-admin: the output could not be written: '
                                   f'{self._problem}{escape(outcome)}'])
        self.close()
        return status or int(ExitStatus.FAILED)

    def _lose(self, stream: TextIO, error: Exception) -> None:
        """Send the rest nowhere: the reader has gone (`| head`)."""
        _discard(stream)
        if stream is self._results and isinstance(error, OSError) \
                and not isinstance(error, BrokenPipeError):
            self._problem = error.strerror or str(error)

    def _style(self) -> Style:
        is_terminal = self._results.isatty()
        has_colours = (is_terminal and 'NO_COLOR' not in self._environment
                       and self._environment.get('TERM') not in (None, '', 'dumb'))
        is_plain = _is_c_locale(self._environment) and not self._environment.get('PYTHONIOENCODING')
        has_ticks = not is_plain and _can_show(self._results, '\u2713\u26a0')
        style = Style(has_ticks, has_colours, is_terminal)
        return measured(style) if is_terminal else style

    def _write(self, stream: TextIO, lines: List[str], *, at_once: bool = False,
               is_data: bool = False) -> bool:
        """Write lines; False when the reader has gone away."""
        for line in lines:
            try:
                if is_data and not stream.isatty() and hasattr(stream, 'buffer'):
                    stream.buffer.write(line.encode('utf-8', 'backslashreplace') + b'\n')
                else:
                    stream.write(encodable(line, stream.encoding) + '\n')
                if at_once:
                    stream.flush()
            except OSError as error:
                self._lose(stream, error)
                return False
        return True


def fitted(lines: List[str], stream: Optional[TextIO]) -> List[str]:
    """Lines broken at blanks, where they go to a terminal."""
    if not lines or stream is None or not stream.isatty():
        return lines
    from cli.output.wrap import fit
    with contextlib.suppress(OSError, ValueError):
        return fit(lines, Style(width=os.get_terminal_size(stream.fileno()).columns))
    return lines


def measured(style: Style) -> Style:
    """The style with the size that the terminal has now."""
    import shutil  # costs 5 ms, and programs do not need it
    size = shutil.get_terminal_size()
    return style._replace(width=size.columns, height=size.lines)


def _open_nowhere() -> TextIO:
    """What stands for a stream that was closed before we began."""
    return open(os.devnull, 'w', encoding='utf-8')


def _is_c_locale(environment: Mapping[str, str]) -> bool:
    """Whether the user asked for the locale C, in which Python 3.7 and later writes UTF-8."""
    names = [environment.get(name) for name in ('LC_ALL', 'LC_CTYPE', 'LANG')]
    if names[1] == 'C.UTF-8':
        del names[1]  # Python itself sets it where LANG says C (PEP 538)
    return next(filter(None, names), '') in ('C', 'POSIX')


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or 'ascii')
    except (UnicodeError, LookupError):
        return False
    return True


def _discard(stream: Any) -> None:
    """Send the rest nowhere, so that Python does not complain when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):
        pass  # a stream without a descriptor has nothing to complain about
    finally:
        os.close(nowhere)
