"""Telling a stock wrapper from the patched ones by its text."""

from typing import Optional

import pytest

from cli.consumer.wrapper_variant import MEANINGS, Form, find_form
from tests.integration.qemu_wrapper import stock
from tests.integration.qemu_wrapper.stock import Stock

_READ = "    extra = read('/local/domain/%d/platform/device-model-args' % domid)\n"


def _render(form: Stock) -> str:
    return form.render('/')


@pytest.mark.parametrize('text, form', [
    pytest.param(_render(stock.OLD), Form.STOCK, id='24.0-to-26.8'),
    pytest.param(_render(stock.NEW), Form.STOCK, id='26.9-to-26.17'),
    pytest.param(_render(stock.PATCHED_1), Form.PATCHED_1, id='1'),
    pytest.param(_render(stock.PATCHED_2), Form.PATCHED_2, id='2'),
    pytest.param(_render(stock.PATCHED_3), Form.PATCHED_3, id='3'),
    pytest.param(_render(stock.PATCHED_OTHERWISE), Form.PATCHED_OTHERWISE, id='4-is-not-known'),
    pytest.param(_render(Stock(last=_READ + '    for w in extra.split():\n'
                                            '        qemu_args.append(w)\n')),
                 Form.PATCHED_1, id='1-word-by-word'),
    pytest.param(_render(Stock(last=_READ + '    qemu_args.extend(extra.split())\n')),
                 Form.PATCHED_1, id='1-by-extend'),
    pytest.param(_render(Stock(last=_READ)), Form.PATCHED_OTHERWISE, id='read-and-not-used'),
    pytest.param(_render(stock.OLD) + '# device-model-args\n', Form.STOCK, id='comment-only'),
    pytest.param('#!/bin/sh\nexec qemu-system-i386 "$@" -xen-domid 1\n', Form.UNKNOWN,
                 id='shell-script'),
    pytest.param('print("x")\n', Form.UNKNOWN, id='another-program'),
    pytest.param('', Form.UNKNOWN, id='empty'),
    pytest.param('x = "\0"', Form.UNKNOWN, id='nul'),
    pytest.param('x = r"-xen-domid qemu-system-"\ny = "\\d"\n', Form.STOCK, id='odd-escape'),
    pytest.param(None, Form.MISSING, id='missing'),
])
def test_form_is_told_by_the_text(text: Optional[str], form: Form) -> None:
    assert find_form(text) is form


def test_each_form_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Form)
