"""vgpu-qemu-wrapper, run as xenopsd runs it: what QEMU gets, and what the log says."""

import ast
import os
import re
import socket
import stat
import sys
from typing import Any, List

import pytest

from tests.integration.qemu_wrapper import stock
from tests.integration.qemu_wrapper.conftest import ARGUMENTS, DOMID, Dom0
from tests.integration.qemu_wrapper.wrapper import WRAPPER
from tests.support.waiting import wait_until
from watcher.config.settings import Settings
from watcher.vm.device_args import MAX_SPAN, MAX_VALUE

SPAN = '-device vgpu-stub,pool_id=B,priority=high,vm_id=10'
WORDS = SPAN.split()
FORMS = [pytest.param(stock.OLD, id='24.0-to-26.8'), pytest.param(stock.NEW, id='26.9-to-26.17'),
         pytest.param(stock.BECOMES_QEMU, id='becomes-qemu')]


@pytest.mark.parametrize('form', FORMS)
def test_qemu_gets_the_span_as_its_last_arguments(dom0: Dom0, form: stock.Stock) -> None:
    dom0.set_stock(form)
    dom0.set_value(SPAN)
    assert dom0.boot().added == WORDS


@pytest.mark.parametrize('form', FORMS)
def test_vm_without_a_value_starts_as_if_we_were_not_there(dom0: Dom0, form: stock.Stock) -> None:
    dom0.set_stock(form)
    boot = dom0.boot()
    assert (boot.status, boot.added) == (0, [])
    assert dom0.read_log() == []


@pytest.mark.parametrize('value', [None, SPAN], ids=['without', 'with-a-span'])
def test_stock_wrapper_runs_unchanged(dom0: Dom0, value: Any) -> None:
    dom0.set_value(value)
    boot = dom0.boot()
    assert boot.status == 0 and boot.said.startswith('Arguments: ' + ' '.join(ARGUMENTS))
    pid = _read(dom0, 'qemu-pid')
    assert 'logged -t qemu-dm-%s[%s]' % (DOMID, pid) in boot.said
    assert _read(dom0, 'logged') == 'preload jemalloc\n'
    assert _read(dom0, 'clipboard') == '-d %s\n' % DOMID
    # Its function for the child sees its globals, and it finds what lies beside it.
    assert _read(dom0, 'child') == 'serial False limit 3'


@pytest.mark.parametrize('value', [None, SPAN], ids=['without', 'with-a-span'])
def test_exit_status_and_complaint_of_the_stock_wrapper_are_passed_on(
        dom0: Dom0, value: Any) -> None:
    dom0.set_value(value)
    dom0.write('limits.py', 'raise KeyError("of the stock wrapper")\n')
    boot = dom0.boot()
    assert boot.status == 1 and boot.qemu is None and 'of the stock wrapper' in boot.said


def test_what_was_appended_is_logged_once(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    dom0.boot()
    line, = dom0.read_log()
    assert re.match(r'<30>[A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} vgpu-qemu-wrapper\[[0-9]+\]: ', line)
    assert line.endswith(': domain 7: appended ' + SPAN)


@pytest.mark.parametrize('value, words', [
    pytest.param('-device vgpu-cuda,vm_id=1', ['-device', 'vgpu-cuda,vm_id=1'], id='other-name'),
    pytest.param('-device vgpu-cuda,addr=5,pool_id=A,vm_id=1,prefer_bar1_htod=on',
                 ['-device', 'vgpu-cuda,addr=5,pool_id=A,vm_id=1,prefer_bar1_htod=on'],
                 id='properties-by-hand'),
    pytest.param('-device vgpu-stub,a=._:-Z9', ['-device', 'vgpu-stub,a=._:-Z9'], id='all-signs'),
    pytest.param(SPAN + ' ' + SPAN, WORDS, id='twice-the-same-is-once'),
    pytest.param('-priv ' + SPAN, WORDS, id='priv-before'),
    pytest.param(SPAN + ' -priv', WORDS, id='priv-behind'),
    pytest.param("-name 'a b' " + SPAN, WORDS, id='quoted-foreign-text'),
    pytest.param('-device e1000,mac=00:11 ' + SPAN, WORDS, id='foreign-device'),
    pytest.param('-device vgpu-stub,a=' + 'x' * (MAX_SPAN - 20),
                 ['-device', 'vgpu-stub,a=' + 'x' * (MAX_SPAN - 20)], id='as-long-as-allowed'),
    pytest.param(SPAN + ' ' + 'x' * (MAX_VALUE - len(SPAN) - 1), WORDS,
                 id='in-a-value-as-long-as-allowed'),
])
def test_span_is_taken_and_nothing_else(dom0: Dom0, value: str, words: List[str]) -> None:
    dom0.set_value(value)
    assert dom0.boot().added == words


HOSTILE = [
    pytest.param('-priv', id='priv'),
    pytest.param('-chardev file,id=x,path=/etc/passwd', id='chardev'),
    pytest.param('-serial file:/etc/passwd', id='serial'),
    pytest.param('-loadvm /etc/shadow', id='loadvm'),
    pytest.param('-D /root/x -pidfile /root/y', id='files-opened-by-root'),
    pytest.param('-device vfio-pci,host=0000:00:1f.0', id='device-of-dom0'),
    pytest.param('-device vgpu-stub2,vm_id=1', id='name-begins-like-ours'),
    pytest.param('-device driver=vgpu-stub,vm_id=1', id='name-as-a-property'),
    pytest.param('-device=vgpu-stub,vm_id=1', id='one-word'),
    pytest.param('--device vgpu-stub,vm_id=1', id='two-dashes'),
    pytest.param('-device vgpu-stub', id='no-property'),
    pytest.param('-device vgpu-stub,', id='empty-property'),
    pytest.param('-device vgpu-stub,vm_id', id='no-value'),
    pytest.param('-device vgpu-stub,vm_id=', id='empty-value'),
    pytest.param('-device vgpu-stub,vm_id=1,,romfile=x', id='doubled-comma'),
    pytest.param('-device vgpu-stub,vm_id=1=2', id='two-equals'),
    pytest.param('-device vgpu-stub,Vm_id=1', id='capital-key'),
    pytest.param('-device vgpu-stub,romfile=/etc/passwd', id='path'),
    pytest.param('-device vgpu-stub,vm_id=$(reboot)', id='shell'),
    pytest.param('-device vgpu-stub,vm_id=1;-priv', id='semicolon'),
    pytest.param('-device  vgpu-stub,vm_id=1', id='two-blanks'),
    pytest.param('-device\tvgpu-stub,vm_id=1', id='tab'),
    pytest.param('-device vgpu-stub,vm_id=1\n-priv', id='newline'),
    pytest.param('-device vgpu-stub,vm_id=1\r', id='carriage-return'),
    pytest.param(SPAN + '\n', id='newline-at-the-end'),
    pytest.param('-device vgpu-stub,vm_id=1\0-priv', id='nul'),
    pytest.param('-device vgpu-stub,vm_id=1\\n-priv', id='escaped-newline'),
    pytest.param('"-device" vgpu-stub,vm_id=1', id='quoted-option'),
    pytest.param('-device "vgpu-stub,vm_id=1 -priv"', id='quoted-device'),
    pytest.param('-name "x -device vgpu-stub,vm_id=1 y"', id='device-inside-quotes'),
    pytest.param(SPAN + ' "', id='unbalanced-quote'),
    pytest.param(SPAN + ' \\', id='backslash-at-the-end'),
    pytest.param('-device vgpu-stub,vm_id=1 -device vgpu-stub,vm_id=2', id='two-that-differ'),
    pytest.param('-device vgpu-stub,vm_id=1 -device vgpu-cuda,vm_id=1', id='two-names'),
    pytest.param('-device vgpu-stub,vm_id=\u0661', id='digit-that-is-not-ascii'),
    pytest.param('-device vgpu-stub,vm_id=1\u2028', id='line-separator'),
    pytest.param(b'-device vgpu-stub,vm_id=\xff', id='not-utf-8'),
    pytest.param('-device vgpu-stub,a=' + 'x' * (MAX_SPAN - 19), id='one-too-long'),
    pytest.param(SPAN + ' ' * 4096, id='4-kb-of-blanks'),
    pytest.param('-device vgpu-stub,a=' + 'x' * 4096, id='4-kb'),
    pytest.param(SPAN + ' ' + 'x' * (MAX_VALUE - len(SPAN)), id='value-one-too-long'),
    pytest.param('\x01' * 300, id='much-to-be-escaped'),
    pytest.param(' ', id='blank'),
    pytest.param('-device', id='option-alone'),
]


@pytest.mark.parametrize('value', HOSTILE)
def test_nothing_of_a_hostile_value_reaches_qemu_and_qemu_starts(dom0: Dom0, value: Any) -> None:
    dom0.set_value(value)
    boot = dom0.boot()
    assert (boot.status, boot.added) == (0, [])


@pytest.mark.parametrize('value', [item for item in HOSTILE if item.id != 'blank'])
def test_what_was_dropped_is_logged_on_one_line_of_ascii(dom0: Dom0, value: Any) -> None:
    dom0.set_value(value)
    dom0.boot()
    line, = dom0.read_log()
    assert line.startswith('<28>') and len(line) < 500 and re.match(r'[ -~]+\Z', line)


def test_foreign_text_beside_the_span_is_named_in_the_log(dom0: Dom0) -> None:
    dom0.set_value('-priv %s -D /x' % SPAN)
    dom0.boot()
    dropped, appended = dom0.read_log()
    assert "dropped, as it is not ours: '-priv -D /x'" in dropped and SPAN in appended


# What the stock wrapper of a patched host appends already.

@pytest.mark.parametrize('form', [
    pytest.param(stock.PATCHED_1, id='1'), pytest.param(stock.PATCHED_2, id='2'),
    pytest.param(stock.PATCHED_3, id='3'), pytest.param(stock.PATCHED_OTHERWISE, id='another')])
def test_device_is_not_doubled_when_the_stock_wrapper_was_patched(
        dom0: Dom0, form: stock.Stock) -> None:
    dom0.set_stock(form)
    dom0.set_value(SPAN)
    boot = dom0.boot()
    assert boot.status == 0 and boot.qemu is not None
    assert boot.qemu.count('-device') == 2 and boot.qemu.count(WORDS[1]) == 1
    line, = dom0.read_log()
    assert 'changed by hand and appends the device itself' in line


# Whatever fails, QEMU starts, and soon.

@pytest.mark.parametrize('script, said', [
    pytest.param('exit 2', 'exit status 2', id='failing'),
    pytest.param('kill -9 $$', 'exit status -9', id='killed'),
    pytest.param('head -c 300000 /dev/zero', 'more than 1023', id='much'),
    pytest.param('printf "\\377\\000"', 'not printable', id='garbage'),
])
def test_qemu_starts_when_xenstore_answers_nonsense(dom0: Dom0, script: str, said: str) -> None:
    dom0.set_xenstore(script)
    boot = dom0.boot()
    assert (boot.status, boot.added) == (0, [])
    line, = dom0.read_log()
    assert 'QEMU starts without a vGPU: ' in line and said in line


@pytest.mark.parametrize('script', [
    pytest.param('exec sleep 600', id='silent'),
    pytest.param('printf -- "-device"; exec sleep 600', id='in-the-middle'),
    pytest.param('exec >&-; exec sleep 600', id='after-the-answer'),
    pytest.param('sleep 20 & exit 0', id='a-child-keeps-the-pipe'),
    pytest.param('trap "" TERM; while :; do echo; sleep 0.05; done', id='trickling'),
])
def test_qemu_starts_when_xenstore_hangs(dom0: Dom0, script: str) -> None:
    dom0.set_xenstore(script)
    boot = dom0.boot(timeout_seconds=0.3)
    assert (boot.status, boot.added) == (0, [])
    # Python and the stock wrapper take their time on a busy machine.
    assert boot.seconds < 15
    line, = dom0.read_log()
    assert 'QEMU starts without a vGPU: ' in line and ('no answer' in line or 'end' in line)


def test_value_that_is_one_too_long_without_a_newline_is_refused(dom0: Dom0) -> None:
    dom0.write('value', SPAN + ' ' + 'x' * (MAX_VALUE - len(SPAN)))
    dom0.set_xenstore('exec cat ' + dom0.path('value'))
    assert dom0.boot().added == []
    assert 'a value of 1024 characters' in dom0.read_log()[0]


def test_what_xenstore_read_says_beside_its_failure_is_no_value(dom0: Dom0) -> None:
    dom0.set_xenstore('echo "%s"; exit 1' % SPAN)
    assert dom0.boot().added == []


def test_hanging_xenstore_read_is_not_left_behind(dom0: Dom0) -> None:
    dom0.set_xenstore('echo $$ > %s; exec sleep 600' % dom0.path('pid'))
    dom0.boot(timeout_seconds=0.5)
    # Whoever the wrapper has become does not wait for its children: they may be zombies.
    wait_until(lambda: not os.path.exists('/proc/%s' % _read(dom0, 'pid').strip())
               or ') Z ' in _read_stat(_read(dom0, 'pid').strip()))


def test_all_waiting_together_ends_within_450_ms() -> None:
    with open(WRAPPER, encoding='utf-8') as stream:
        text = stream.read()
    seconds, reaping = (float(re.findall(r'\n%s = ([0-9.]+)\n' % name, text)[0])
                        for name in ('TIMEOUT_SECONDS', 'REAPING_SECONDS'))
    # Two programs read xenstore.
    assert seconds + 2 * reaping <= 0.45


@pytest.mark.parametrize('break_it', [
    pytest.param(lambda dom0: os.unlink(dom0.path('xenstore-read')), id='missing'),
    pytest.param(lambda dom0: os.chmod(dom0.path('xenstore-read'), 0o644), id='not-executable'),
    pytest.param(lambda dom0: dom0.write('xenstore-read', '#!/nowhere\n'), id='no-interpreter'),
])
def test_qemu_starts_when_xenstore_read_cannot_be_run(dom0: Dom0, break_it: Any) -> None:
    dom0.set_value(SPAN)
    break_it(dom0)
    assert dom0.boot().added == []
    assert 'QEMU starts without a vGPU: ' in dom0.read_log()[0]


@pytest.mark.parametrize('break_it', [
    pytest.param(lambda path: os.unlink(path), id='missing'),
    pytest.param(lambda path: (os.unlink(path), os.mkdir(path)), id='a-directory'),
    pytest.param(lambda path: (os.unlink(path), os.symlink('/dev/full', path)), id='no-socket'),
])
def test_qemu_gets_the_span_when_there_is_no_syslog(dom0: Dom0, break_it: Any) -> None:
    dom0.set_value(SPAN)
    break_it(dom0.path('log'))
    assert dom0.boot().added == WORDS


def test_full_syslog_holds_up_nobody(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(dom0.path('log'))
        with pytest.raises(BlockingIOError):
            while True:
                sender.send(b'x' * 1000)
    boot = dom0.boot()
    assert boot.added == WORDS and boot.seconds < 15


def test_stock_wrapper_that_is_no_python_is_run_plainly(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    dom0.set_stock('#!/bin/sh\nexec %s sh "$@"\n' % dom0.path('qemu-system-i386'))
    assert dom0.boot().qemu == ['sh'] + ARGUMENTS
    line, = dom0.read_log()
    assert 'QEMU starts without a vGPU: ' in line and 'is not for Python 3' in line


def test_stock_wrapper_finds_packages_as_it_does_without_us(dom0: Dom0) -> None:
    dom0.set_stock('#! /usr/bin/python3\nimport sys\nprint([path for path in sys.path if '
                   '"site-packages" in path])\n')
    plainly = dom0.boot().said
    dom0.set_value(SPAN)
    assert dom0.boot().said == plainly and 'site-packages' in plainly


def test_stock_wrapper_that_cannot_be_compiled_fails_as_it_does_without_us(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    dom0.set_stock('#! /usr/bin/python3\nprint "for Python 2"\n')
    boot = dom0.boot()
    assert boot.status == 1 and 'SyntaxError' in boot.said
    line, = dom0.read_log()
    assert 'QEMU starts without a vGPU: ' in line and 'SyntaxError' in line


def test_qemu_that_is_not_recognised_starts_without_and_that_is_said(dom0: Dom0) -> None:
    dom0.set_stock(stock.HIDES_QEMU)
    dom0.set_value(SPAN)
    assert dom0.boot().added == []
    line, = dom0.read_log()
    assert 'QEMU was not seen to start; not appended: ' + SPAN in line


def test_stock_wrapper_that_fails_first_is_told_from_one_that_started_qemu(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    dom0.write('limits.py', 'raise KeyError("of the stock wrapper")\n')
    dom0.boot()
    line, = dom0.read_log()
    assert 'QEMU was not seen to start' in line


def test_arguments_without_a_domain_are_the_stock_wrappers_affair(dom0: Dom0) -> None:
    dom0.set_value(SPAN)
    boot = dom0.boot(['7', '-m', '1'])
    assert boot.status == 1 and 'UnboundLocalError' in boot.said
    assert 'no -xen-domid' in dom0.read_log()[0]


@pytest.mark.parametrize('link', [os.symlink, os.link], ids=['link', 'copy'])
def test_it_does_not_run_itself_for_ever(dom0: Dom0, link: Any) -> None:
    ours = dom0.install()
    os.unlink(dom0.path('qemu-wrapper'))
    link(ours, dom0.path('qemu-wrapper'))
    assert dom0.boot(wrapper=ours).status == 1
    assert 'there is no stock wrapper to run' in dom0.read_log()[0]


def test_missing_stock_wrapper_is_an_error_that_names_it(dom0: Dom0) -> None:
    os.unlink(dom0.path('qemu-wrapper'))
    boot = dom0.boot()
    assert boot.status == 1 and 'FileNotFoundError' in boot.said


# Which devices are ours.

@pytest.mark.parametrize('text, value, added', [
    pytest.param('[device]\nnames = vgpu-mine\n', '-device vgpu-mine,vm_id=1', True, id='named'),
    pytest.param('[device]\nnames = vgpu-mine\n', '-device vgpu-cuda,vm_id=1', False,
                 id='others-are-not'),
    pytest.param('[device]\nnames = vgpu-mine\n', SPAN, True, id='the-templates-always'),
    pytest.param('[device]\nnames = vgpu-cuda\ntemplate = -device vgpu-t,vm_id={vm_id}\n',
                 '-device vgpu-t,vm_id=1', True, id='another-template'),
    pytest.param('[log]\nlevel = info\n', SPAN, True, id='nothing-said'),
    pytest.param('[device]\nnames = ../x -priv\n', SPAN, True, id='bad-names'),
    pytest.param('[device]\nnames = ../x vfio-pci\n', '-device vfio-pci,host=1', False,
                 id='bad-names-give-nothing'),
    pytest.param('nonsense', SPAN, True, id='no-ini'),
    pytest.param('[device]\nnames = a\n[device]\n', SPAN, True, id='doubled-section'),
])
def test_devices_that_count_as_ours_are_those_of_the_daemon(
        dom0: Dom0, text: str, value: str, added: bool) -> None:
    dom0.write('watcher.conf', text)
    dom0.set_value(value)
    assert dom0.boot().added == (value.split() if added else [])


@pytest.mark.parametrize('make', [
    pytest.param(os.mkfifo, id='pipe'), pytest.param(os.mkdir, id='directory'),
    pytest.param(lambda path: os.symlink('/dev/zero', path), id='endless')])
def test_odd_configuration_means_the_default_devices(dom0: Dom0, make: Any) -> None:
    make(dom0.path('watcher.conf'))
    dom0.set_value(SPAN)
    assert dom0.boot().added == WORDS
    assert 'the default names are used' in dom0.read_log()[0]


def test_defaults_are_those_of_the_daemon() -> None:
    with open(WRAPPER, encoding='utf-8') as stream:
        text = stream.read()
    settings = Settings()
    assert "DEFAULT_NAMES = frozenset(%r)" % list(settings.device.names) in text
    assert "XENSTORE_READ = %r" % settings.host.xenstore_read in text
    assert settings.device.template.text.startswith(
        re.findall("DEFAULT_TEMPLATE = '(.*)'", text)[0])
    assert 'MAX_SPAN = %d\n' % MAX_SPAN in text and 'MAX_VALUE = %d\n' % MAX_VALUE in text


# The file itself.

def test_it_is_executable_and_imports_the_standard_library_only() -> None:
    assert stat.S_IMODE(os.stat(WRAPPER).st_mode) & 0o755 == 0o755
    with open(WRAPPER, encoding='utf-8') as stream:
        text = stream.read()
    imported = {name.split('.')[0] for node in ast.walk(ast.parse(text))
                for name in ([item.name for item in node.names] if isinstance(node, ast.Import)
                             else [node.module] if isinstance(node, ast.ImportFrom) else [])}
    assert text.startswith('#!/usr/bin/python3 -EsSB\n') and {'os', 'subprocess'} <= imported
    ours = set(os.listdir(os.path.dirname(os.path.dirname(os.path.dirname(WRAPPER)))))
    assert not imported & ours
    if hasattr(sys, 'stdlib_module_names'):
        assert imported <= set(sys.stdlib_module_names)


def _read_stat(pid: str) -> str:
    try:
        with open('/proc/%s/stat' % pid, encoding='utf-8') as stream:
            return stream.read()
    except (FileNotFoundError, ProcessLookupError):
        return ') Z '


def _read(dom0: Dom0, name: str) -> str:
    with open(dom0.path(name), encoding='utf-8') as stream:
        return stream.read()
