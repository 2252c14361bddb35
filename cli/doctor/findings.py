"""What a check of `doctor` finds: one identifier, one verdict, what was seen, what to do.  Pure."""

import enum
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

from cli.output.text import Style, escape
from cli.output.wrap import wrap

# On a terminal of less columns the advice would have no room below what was seen.
_NARROW = 80
_INDENT = ' ' * 30
_ARROW = '-> '


class CheckResult(enum.Enum):
    """How a check came out."""

    OK = 'ok'
    WARN = 'warn'
    FAIL = 'fail'
    SKIP = 'skip'


class Finding(NamedTuple):
    """The outcome of one check."""

    check: str
    result: CheckResult
    saw: str
    advice: str = ''

    @property
    def document(self) -> Dict[str, Any]:
        """The finding for programs."""
        return {'check': self.check, 'verdict': self.result.value, 'saw': self.saw,
                'advice': self.advice or None}


Check = Callable[[Any], Iterable[Finding]]
"""Takes the Examination; gives a finding for each identifier that it stands for."""


def good(check: str, saw: str) -> Finding:
    """All is well."""
    return Finding(check, CheckResult.OK, saw)


def doubtful(check: str, saw: str, advice: str) -> Finding:
    """It works, and needs a look."""
    return Finding(check, CheckResult.WARN, saw, advice)


def bad(check: str, saw: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, CheckResult.FAIL, saw, advice)


def skipped(check: str, why: str) -> Finding:
    """It cannot be told, or does not matter here."""
    return Finding(check, CheckResult.SKIP, why)


def render_findings(findings: Iterable[Finding], style: Style) -> List[str]:
    """One line per finding, with the advice below it."""
    lines: List[str] = []
    for finding in findings:
        word, colour = _WORDS[finding.result]
        label = style.colour(f'{word:4}', colour) if colour else f'{word:4}'
        first, *more = _fit(escape(finding.saw), style)
        lines.append(f'{label}  {finding.check:22}  {first}')
        lines += [_INDENT + part for part in more]
        if finding.advice:
            lines += _render_advice(escape(finding.advice), style)
    return lines


def _render_advice(advice: str, style: Style) -> List[str]:
    if 0 < style.width < _NARROW:
        return [f'      {_ARROW}{advice}']
    first, *more = _fit(advice, style, len(_ARROW))
    return [_INDENT + _ARROW + first] + [_INDENT + ' ' * len(_ARROW) + part for part in more]


def _fit(text: str, style: Style, indent: int = 0) -> List[str]:
    """What stands beside the name of the check: on a wide terminal it stays in its column."""
    if style.width < _NARROW:
        return [text]
    return [part.strip() for part in wrap(text, style.width - len(_INDENT) - indent)]


def count(findings: Iterable[Finding]) -> Dict[str, int]:
    """How many there are of each judgement."""
    counts = {item.value: 0 for item in CheckResult}
    for finding in findings:
        counts[finding.result.value] += 1
    return counts


_WORDS: Dict[CheckResult, Tuple[str, str]] = {
    CheckResult.OK: ('ok', 'good'),
    CheckResult.WARN: ('WARN', 'warn'),
    CheckResult.FAIL: ('FAIL', 'bad'),
    CheckResult.SKIP: ('skip', ''),
}
