"""The man pages are what the code says now, and the programs that show them find no fault."""

import os
import shutil
import subprocess

import pytest

from cli.commandline.commands import COMMANDS
from cli.errors import ExitStatus
from docs.man.concepts import read_rows
from docs.man.layout import escape
from docs.man.pages import render_pages
from tests.support.documents import ROOT
from watcher.config import settings
from watcher.vm.boot import Verdict
from watcher.vm.hazards import DangerKind
from watcher.vm.plan import State

DIRECTORY = os.path.join(ROOT, 'docs', 'man')
PAGES = sorted(render_pages())
CHECKERS = {'mandoc': ['-Tlint', '-Wwarning'], 'groff': ['-man', '-ww', '-Tascii']}


def _read(name: str) -> str:
    with open(os.path.join(DIRECTORY, name), encoding='ascii') as stream:
        return stream.read()


@pytest.mark.parametrize('name', PAGES)
def test_the_page_is_made_from_the_code_of_now(name: str) -> None:
    assert _read(name) == render_pages()[name], 'run: python -m docs.man'


@pytest.mark.parametrize('name', PAGES)
@pytest.mark.parametrize('program', sorted(CHECKERS))
def test_the_page_is_understood_without_a_warning(name: str, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip('there is no %s here' % program)
    done = subprocess.run([program] + CHECKERS[program] + [os.path.join(DIRECTORY, name)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    said = (done.stderr if program == 'groff' else done.stdout).decode().splitlines()
    # A page is the same whenever it is made.
    assert [line for line in said if 'missing date' not in line] == []
    assert done.returncode == (2 if said else 0)


def test_every_command_but_the_hidden_one_has_its_section_and_every_option_its_line() -> None:
    text = _read('vgpu-admin.1')
    for command in COMMANDS:
        title = '.SS ' + escape(' '.join((command.name,) + command.words))
        assert (title in text.splitlines()) is (command.name != 'complete'), command.name
        assert all('.B ' + escape(option.shown) in text for option in command.options)
    assert all('.B %d' % status in text.splitlines() for status in ExitStatus)


def test_every_key_of_the_configuration_is_described_with_its_default() -> None:
    text = _read('vgpu-watcher.conf.5')
    lines = text.splitlines()
    assert [key for key in settings.KEYS
            if '.B ' + escape(('%s = %s' % (key.name, key.default)).rstrip()) not in lines] == []


@pytest.mark.parametrize('text,escaped', [
    ('--a\\b', '\\-\\-a\\eb'), ('.TH', '\\&.TH'), ("'so x", '\\(aqso x')])
def test_no_text_is_taken_for_a_request(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_words_of_the_service_are_explained_with_their_cures() -> None:
    lines = _read('vgpu.7').splitlines()
    for kind in (State, Verdict, DangerKind):
        assert [item.value for item in kind if '.B ' + escape(item.value) not in lines] == []
    warnings = [row for row in read_rows('log-events', 'event') if row[1] != 'info']
    assert len(warnings) > 30 and {len(row) for row in warnings} == {5}
    for name, _level, _fields, _meaning, cure in warnings:
        assert escape(cure.rstrip('.')) in lines[lines.index('.B ' + escape(name)) + 1]
