"""The list of doctor: what stands in which column."""

from typing import List

import pytest

from cli.doctor.findings import bad, good, render_findings
from cli.output.text import Style

SEEN = 'the file /etc/vgpu/vgpu_config.db is there and can be read by everybody on this host'


@pytest.mark.parametrize('width,lines', [
    (0, ['FAIL  registry                ' + SEEN, ' ' * 30 + '-> see to it']),
    (80, ['FAIL  registry                the file /etc/vgpu/vgpu_config.db is there and can',
          ' ' * 30 + 'be read by everybody on this host', ' ' * 30 + '-> see to it']),
    (60, ['FAIL  registry                ' + SEEN, '      -> see to it'])])
def test_what_was_seen_stays_in_its_column_where_that_is_wide_enough(width: int,
                                                                     lines: List[str]) -> None:
    assert render_findings([bad('registry', SEEN, 'see to it')], Style(width=width)) == lines


def test_a_finding_without_advice_is_one_line() -> None:
    for width in (0, 60, 80):
        assert render_findings([good('clock', 'right')], Style(width=width)) == [
            'ok    clock                   right']


def test_advice_stays_behind_its_arrow() -> None:
    lines = render_findings([bad('registry', 'gone', SEEN)], Style(width=80))
    assert lines[1:] == [' ' * 30 + '-> the file /etc/vgpu/vgpu_config.db is there and',
                         ' ' * 33 + 'can be read by everybody on this host']
