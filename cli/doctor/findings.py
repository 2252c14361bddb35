"""What a check of `doctor` finds: one identifier, one verdict, what was seen, what to do.  Pure."""

import enum
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

from cli.output.text import Style, escape

# On a terminal of less columns the advice would have no room below what was seen.
_NARROW = 80


class Judgement(enum.Enum):
    """How a check came out."""

    OK = 'ok'
    WARN = 'warn'
    FAIL = 'fail'
    SKIP = 'skip'


class Finding(NamedTuple):
    """The outcome of one check."""

    check: str
    judgement: Judgement
    saw: str
    advice: str = ''

    @property
    def document(self) -> Dict[str, Any]:
        """The finding for programs."""
        return {'check': self.check, 'verdict': self.judgement.value, 'saw': self.saw,
                'advice': self.advice or None}


Check = Callable[[Any], Iterable[Finding]]
"""Takes the Examination; gives a finding for each identifier that it stands for."""


def good(check: str, saw: str) -> Finding:
    """All is well."""
    return Finding(check, Judgement.OK, saw)


def doubtful(check: str, saw: str, advice: str) -> Finding:
    """It works, and needs a look."""
    return Finding(check, Judgement.WARN, saw, advice)


def bad(check: str, saw: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Judgement.FAIL, saw, advice)


def skipped(check: str, why: str) -> Finding:
    """It cannot be told, or does not matter here."""
    return Finding(check, Judgement.SKIP, why)


def render_findings(findings: Iterable[Finding], style: Style) -> List[str]:
    """One line per finding, with the advice below it."""
    lines: List[str] = []
    for finding in findings:
        word, colour = _WORDS[finding.judgement]
        label = style.colour(f'{word:4}', colour) if colour else f'{word:4}'
        lines.append(f'{label}  {finding.check:22}  {escape(finding.saw)}')
        if finding.advice:
            indent = 6 if 0 < style.width < _NARROW else 30
            lines.append(' ' * indent + f'-> {escape(finding.advice)}')
    return lines


def count(findings: Iterable[Finding]) -> Dict[str, int]:
    """How many there are of each judgement."""
    counts = {item.value: 0 for item in Judgement}
    for finding in findings:
        counts[finding.judgement.value] += 1
    return counts


_WORDS: Dict[Judgement, Tuple[str, str]] = {
    Judgement.OK: ('ok', 'good'),
    Judgement.WARN: ('WARN', 'warn'),
    Judgement.FAIL: ('FAIL', 'bad'),
    Judgement.SKIP: ('skip', ''),
}
