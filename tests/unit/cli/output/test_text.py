"""Text for terminals: hostile names, widths, tables."""

from typing import Optional

import pytest

from cli.output.text import (Style, cut, display_width, encodable, escape, list_vms_named, name_vms,
                             nearest, pad, say_unasked, table)


@pytest.mark.parametrize('text,shown', [
    pytest.param('plain name', 'plain name', id='plain'),
    pytest.param('a\x1b[31mb', 'a\\x1b[31mb', id='escape-sequence'),
    pytest.param('a\nb\tc', 'a\\x0ab\\x09c', id='line-and-tab'),
    pytest.param('a\x9bb', 'a\\x9bb', id='c1-control'),
    pytest.param('a\u202eb', 'a\\u202eb', id='bidi-override'),
    pytest.param('a\u2066b\u200fc', 'a\\u2066b\\u200fc', id='bidi-isolate-and-mark'),
    pytest.param('a\u2028b', 'a\\u2028b', id='line-separator'),
    pytest.param('a\ufeffb\u200bc', 'a\\ufeffb\\u200bc', id='zero-width'),
    pytest.param('a\ud800b', 'a\\ud800b', id='lone-surrogate'),
    pytest.param('a\U000e0041b', 'a\\U000e0041b', id='tag-character'),
    pytest.param('\u4e2d\u6587 caf\u00e9 \u0928\u200d', '\u4e2d\u6587 caf\u00e9 \u0928\u200d',
                 id='other-scripts'),
    pytest.param(None, '', id='no-name'),
])
def test_what_is_not_printed_is_shown_by_its_number(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize('text,width', [
    ('abc', 3), ('\u4e2d\u6587', 4), ('e\u0301', 1), ('\uff21', 2), ('', 0)])
def test_widths_are_those_of_a_terminal(text: str, width: int) -> None:
    assert display_width(text) == width
    assert display_width(pad(text, 10)) == 10


def test_a_wide_name_is_cut_at_its_width() -> None:
    assert display_width(cut('\u4e2d' * 40, 20)) <= 20
    assert cut('short', 20) == 'short'


def test_columns_line_up_in_any_script() -> None:
    lines = table(('A', 'B'), [('\u4e2d\u6587', 'x'), ('abcd', 'y')], Style())
    assert [display_width(line[:line.index(mark)]) for line, mark in zip(lines, 'Bxy')] == [6] * 3


def test_ticks_and_colours_only_where_they_can_be_shown() -> None:
    assert (Style().tick, Style().warning) == ('OK', '!')
    assert (Style(True).tick, Style(True).warning) == ('\u2713', '\u26a0')
    assert Style().colour('x', 'good') == 'x' != Style(True, True).colour('x', 'good')


def test_a_near_name_is_hinted_at_and_a_far_one_is_not() -> None:
    assert nearest('hgih', ('low', 'medium', 'high')) == "; did you mean 'high'?"
    assert nearest('urgent', ('low', 'medium', 'high')) == ''
    assert nearest('register', ('registry', 'register-vm')) == "; did you mean 'register-vm'?"


@pytest.mark.parametrize('width,lines', [
    pytest.param(0, ['KEY  NAME', 'a    ' + 'x' * 30], id='no-terminal'),
    pytest.param(50, ['KEY  NAME', 'a    ' + 'x' * 30], id='it-fits'),
    pytest.param(20, ['KEY  NAME', 'a    ' + 'x' * 12 + '...'], id='the-last-column-is-cut'),
    pytest.param(12, ['KEY: a', '  NAME: ' + 'x' * 30], id='blocks'),
])
def test_a_table_fits_the_terminal(width: int, lines: list) -> None:
    assert table(('KEY', 'NAME'), [('a', 'x' * 30)], Style(width=width)) == lines


UUID = 'd8f33418-0000-4000-8000-000000000001'


@pytest.mark.parametrize('text,said', [
    (f'VM {UUID} is not registered', f'web01 ({UUID}) is not registered'),
    (f'vm_id 2 is taken by VM {UUID} (desk06), which', f'vm_id 2 is taken by desk06 ({UUID}), which'),
    (f"remove it with 'vgpu-admin remove-vm --vm-uuid={UUID}'",) * 2,
    (f'VM {UUID[:-1]}2: gone',) * 2,
    ('the VM is gone',) * 2])
def test_a_message_calls_vms_by_their_names(text: str, said: str) -> None:
    assert name_vms(text, {UUID: 'web01'}) == said


def test_vms_without_a_name_in_the_message_are_listed() -> None:
    assert list_vms_named(f'VM {UUID} (web01) and VM {UUID[:-1]}2') == [f'{UUID[:-1]}2']


def test_that_xapi_could_not_be_asked_is_said_once() -> None:
    assert say_unasked('XAPI is not reachable: no socket') == 'XAPI is not reachable: no socket'
    assert say_unasked(OSError('torn')) == 'XAPI could not be asked: torn'


@pytest.mark.parametrize('encoding, shown', [
    ('utf-8', 'pool A → B: été'), ('latin-1', 'pool A -> B: été'),
    ('ascii', 'pool A -> B: \\xe9t\\xe9'), (None, 'pool A -> B: \\xe9t\\xe9')])
def test_an_arrow_is_spelt_where_it_cannot_be_shown(encoding: Optional[str], shown: str) -> None:
    assert encodable('pool A → B: été', encoding) == shown
