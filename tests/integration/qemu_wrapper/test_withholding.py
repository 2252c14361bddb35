"""vgpu-qemu-wrapper and a stolen number (P26): what is withheld, and what QEMU gets anyway."""

import os
import re
import time
from typing import Any, Callable, List

import pytest

from tests.integration.qemu_wrapper import stock
from tests.integration.qemu_wrapper.conftest import ARGUMENTS, BOOT_ID, DOMID, Dom0
from tests.integration.qemu_wrapper.wrapper import WRAPPER, point_wrapper
from watcher.config.settings import Settings, parse
from watcher.consumer import numbers_file
from watcher.consumer.numbers_file import parse_marker, parse_numbers

OWNER = '11111111-1111-4111-8111-111111111111'
THIEF = '22222222-2222-4222-8222-222222222222'
OTHER = '33333333-3333-4333-8333-333333333333'
ROWS = [(10, OWNER), (11, OTHER)]


def _span(number: Any) -> str:
    return '-device vgpu-stub,pool_id=B,priority=high,vm_id=%s' % number


SPAN = _span(10)
WORDS = SPAN.split()


@pytest.fixture
def stolen(dom0: Dom0) -> Dom0:
    """A dom0 in which a VM without a row carries the number of another VM's row."""
    dom0.set_value(SPAN, '/vm/' + THIEF)
    dom0.set_numbers(ROWS)
    return dom0


def test_span_of_a_stolen_number_is_withheld_and_qemu_starts(stolen: Dom0) -> None:
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, [])


def test_log_names_number_and_both_vms_on_one_line(stolen: Dom0) -> None:
    stolen.boot()
    line, = stolen.read_log()
    assert line.startswith('<28>') and len(line) < 500
    assert line.endswith(': domain 7: withheld %s: number 10 is that of VM %s, and VM %s has no '
                         'row' % (SPAN, OWNER, THIEF))


def test_marker_is_left_for_the_daemon_and_is_for_root_alone(stolen: Dom0) -> None:
    before = time.clock_gettime(7)
    stolen.boot()
    path = stolen.path('run/withheld/' + DOMID)
    with open(path, 'rb') as stream:
        marker = parse_marker(stream.read())
    assert marker._replace(at=0.0) == numbers_file.Withheld(
        BOOT_ID, THIEF, int(DOMID), 0.0, 10, OWNER, SPAN)
    assert before - 0.1 <= marker.at <= time.clock_gettime(7) + 0.1
    assert os.stat(path).st_mode & 0o7777 == 0o600
    assert os.listdir(stolen.path('run/withheld')) == [DOMID]
    assert os.stat(stolen.path('run/withheld')).st_mode & 0o7777 == 0o700


@pytest.mark.parametrize('form', [stock.OLD, stock.NEW, stock.BECOMES_QEMU])
def test_it_is_withheld_from_every_form_of_the_stock_wrapper(
        stolen: Dom0, form: stock.Stock) -> None:
    stolen.set_stock(form)
    assert stolen.boot().added == []


@pytest.mark.parametrize('value', [
    pytest.param('-priv ' + SPAN + ' -D /x', id='beside-foreign-text'),
    pytest.param(SPAN + ' ' + SPAN, id='twice'),
    pytest.param(_span(12) + ',vm_id=10', id='the-last-of-two-counts'),
    pytest.param(_span(10) + ',vm_id=12', id='the-first-of-two-counts-too'),
    pytest.param('-device vgpu-cuda,vm_id=10', id='another-name'),
    pytest.param('-device vgpu-stub,vm_id=10,pool_id=A', id='another-pool'),
    pytest.param(_span('0xA'), id='hexadecimal'),
    pytest.param(_span('012'), id='octal'),
    pytest.param(_span('010'), id='with-a-leading-zero'),
    pytest.param(_span('-18446744073709551606'), id='wrapped-at-64-bits'),
])
def test_number_is_recognised_however_it_is_written(stolen: Dom0, value: str) -> None:
    stolen.set_value(value, '/vm/' + THIEF)
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, [])
    assert any('withheld' in line for line in stolen.read_log())


def test_number_stands_where_the_template_puts_it(stolen: Dom0) -> None:
    stolen.write('watcher.conf', '[device]\ntemplate = -device vgpu-t,id={vm_id},prio={priority}\n')
    stolen.set_value('-device vgpu-t,id=10,prio=low', '/vm/' + THIEF)
    assert stolen.boot().added == []


def test_directory_is_the_one_that_the_configuration_names(stolen: Dom0) -> None:
    os.rename(stolen.path('run'), stolen.path('elsewhere'))
    stolen.write('watcher.conf', '[consumer]\nrun_directory = %s\n' % stolen.path('elsewhere'))
    assert stolen.boot().added == []


def test_directory_is_in_the_run_that_goes_with_the_proc_of_the_configuration(
        dom0: Dom0) -> None:
    dom0.set_value(SPAN, '/vm/' + THIEF)
    dom0.set_numbers(ROWS)
    place = dom0.path('root/run/vgpu-watcher')
    os.makedirs(os.path.dirname(place))
    os.rename(dom0.path('run'), place)
    dom0.write('watcher.conf', '[host]\nproc = %s\n' % dom0.path('root/proc'))
    wrapper = dom0.install(RUN='/run/vgpu-watcher')
    assert dom0.boot(wrapper=wrapper).added == []
    assert parse('[host]\nproc = %s\n' % dom0.path('root/proc'), 'x').run_directory == place
    assert Settings().run_directory == '/run/vgpu-watcher'


# What QEMU gets all the same.

def _stale(dom0: Dom0) -> None:
    dom0.set_numbers(ROWS, age=301.0)


def _boot_id(dom0: Dom0) -> None:
    dom0.set_numbers(ROWS, boot_id='5c4b1c6e-0000-4000-8000-000000000002')


def _future(dom0: Dom0) -> None:
    dom0.set_numbers(ROWS, age=-60.0)


def _rewrite(dom0: Dom0, change: Callable[[bytes], bytes]) -> None:
    with open(dom0.path('run/numbers'), 'rb') as stream:
        content = stream.read()
    with open(dom0.path('run/numbers'), 'wb') as stream:
        stream.write(change(content))


@pytest.mark.parametrize('change', [
    pytest.param(lambda dom0: dom0.set_value(SPAN, '/vm/' + OWNER), id='the-owner'),
    pytest.param(lambda dom0: dom0.set_value(SPAN, '/vm/' + OWNER.upper()), id='in-capitals'),
    pytest.param(lambda dom0: dom0.set_value(SPAN, '/vm/' + OTHER), id='another-registered-vm'),
    pytest.param(lambda dom0: dom0.set_numbers([(100, OWNER), (1, OTHER)]), id='a-free-number'),
    pytest.param(lambda dom0: dom0.set_numbers([]), id='no-rows'),
    pytest.param(_stale, id='confirmed-too-long-ago'),
    pytest.param(_future, id='confirmed-in-the-future'),
    pytest.param(_boot_id, id='another-boot-of-the-host'),
    pytest.param(lambda dom0: os.unlink(dom0.path('run/numbers')), id='no-file'),
    pytest.param(lambda dom0: (os.unlink(dom0.path('run/numbers')), os.rmdir(dom0.path('run'))),
                 id='no-directory'),
    pytest.param(lambda dom0: dom0.write('consumer.paused', ''), id='paused'),
    pytest.param(lambda dom0: os.symlink('/nowhere', dom0.path('consumer.paused')),
                 id='paused-by-a-link'),
])
def test_span_is_given_and_nothing_is_said(stolen: Dom0, change: Any) -> None:
    change(stolen)
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, WORDS)
    line, = stolen.read_log()
    assert line.endswith(': domain 7: appended ' + SPAN)
    assert not os.path.exists(stolen.path('run/withheld'))


@pytest.mark.parametrize('arguments', [
    pytest.param(['-loadvm', '/var/lib/xen/qemu-resume.7'], id='loadvm'),
    pytest.param(['--loadvm', '/var/lib/xen/qemu-resume.7'], id='two-dashes'),
    pytest.param(['-incoming', 'defer'], id='incoming'),
    pytest.param(['-loadvm'], id='without-a-value'),
])
def test_saved_state_gets_its_devices_back_whatever_happens(
        stolen: Dom0, arguments: List[str]) -> None:
    boot = stolen.boot(ARGUMENTS + arguments)
    assert boot.qemu is not None and boot.qemu[-2:] == WORDS


def test_value_of_an_option_does_not_pass_for_a_saved_state(stolen: Dom0) -> None:
    boot = stolen.boot(ARGUMENTS[:1] + ['-k', '-loadvm'] + ARGUMENTS[1:])
    assert boot.qemu is not None and WORDS[1] not in boot.qemu


@pytest.mark.parametrize('change, said', [
    pytest.param(lambda dom0: _rewrite(dom0, lambda text: text[:-1]), 'not whole', id='cut-short'),
    pytest.param(lambda dom0: _rewrite(dom0, lambda text: text.replace(b'11', b'12')), 'not whole',
                 id='changed'),
    pytest.param(lambda dom0: _rewrite(dom0, lambda text: b''), 'not whole', id='empty'),
    pytest.param(lambda dom0: _rewrite(dom0, lambda text: b'\xff\0' * 5000), 'not whole',
                 id='garbage'),
    pytest.param(lambda dom0: _rewrite(dom0, lambda text: b'x' * (5 << 20)), 'too large',
                 id='too-large'),
    pytest.param(lambda dom0: _replace(dom0, os.mkfifo), 'is no file', id='pipe'),
    pytest.param(lambda dom0: _replace(dom0, os.mkdir), 'is a directory', id='directory'),
    pytest.param(lambda dom0: _replace(dom0, lambda path: os.symlink(dom0.path('kept'), path)),
                 'symbolic link', id='link'),
    pytest.param(lambda dom0: (os.rename(dom0.path('run'), dom0.path('kept')),
                               os.symlink(dom0.path('kept'), dom0.path('run'))),
                 'NotADirectoryError|symbolic link', id='link-to-the-directory'),
    pytest.param(lambda dom0: os.chmod(dom0.path('run/numbers'), 0o666), 'others may write',
                 id='file-that-others-may-write'),
    pytest.param(lambda dom0: os.chmod(dom0.path('run'), 0o777), 'others may write',
                 id='directory-that-others-may-write'),
    pytest.param(lambda dom0: os.unlink(dom0.path('boot_id')), 'FileNotFoundError',
                 id='no-boot-id'),
    pytest.param(lambda dom0: dom0.set_value(SPAN, '/vm/nonsense'), 'names no VM', id='no-uuid'),
    pytest.param(lambda dom0: dom0.set_value(SPAN, b'\xff' * 3000), 'more than 1023',
                 id='much-for-a-uuid'),
    pytest.param(lambda dom0: dom0.set_value(SPAN), 'names no VM', id='no-vm'),
    pytest.param(lambda dom0: dom0.set_xenstore(
        '[ "$*" = /local/domain/7/vm ] && exit 3\nexec cat ' + dom0.path('value')),
        'exit status 3', id='xenstore-fails'),
])
def test_what_cannot_be_trusted_withholds_nothing_and_is_told(
        stolen: Dom0, change: Any, said: str) -> None:
    change(stolen)
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, WORDS)
    told, _appended = stolen.read_log()
    assert 'whose number it is, is not known: ' in told and re.search(said, told, re.IGNORECASE)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a file away')
@pytest.mark.parametrize('name', ['run', 'run/numbers'])
def test_file_of_another_user_withholds_nothing(stolen: Dom0, name: str) -> None:
    os.chown(stolen.path(name), 4711, 0)
    assert stolen.boot().added == WORDS
    assert 'belongs to user 4711' in stolen.read_log()[0]


def test_hand_patched_stock_wrapper_appends_it_and_that_is_said(stolen: Dom0) -> None:
    stolen.set_stock(stock.PATCHED_1)
    boot = stolen.boot()
    assert boot.qemu is not None and boot.qemu.count(WORDS[1]) == 1
    assert 'not withheld, as ' in stolen.read_log()[0]
    assert not os.path.exists(stolen.path('run/withheld'))


# Nothing holds up a start.

@pytest.mark.parametrize('script, added', [
    pytest.param('[ "$*" = /local/domain/7/vm ] && exec sleep 600\nexec cat %s', WORDS, id='vm'),
    pytest.param('[ "$*" = /local/domain/7/vm ] && { printf /vm; exec sleep 600; }\nexec cat %s',
                 WORDS, id='vm-half'),
    pytest.param('exec sleep 600 # %s', [], id='both'),
])
def test_xenstore_that_hangs_costs_450_ms_at_most_in_all(
        stolen: Dom0, script: str, added: List[str]) -> None:
    hung: List[float] = []
    quick: List[float] = []
    script = script % stolen.path('value')
    # What the machine does meanwhile comes on top of both.
    while len(hung) < 20 and (not hung or min(hung) - min(quick) > 0.45 + 0.1):
        stolen.set_xenstore(script)
        boot = stolen.boot(timeout_seconds=0.4)
        assert boot.added == added
        hung.append(boot.seconds)
        stolen.set_value(None)
        quick.append(stolen.boot().seconds)
    assert min(hung) - min(quick) <= 0.45 + 0.1


def test_host_without_room_for_another_process_gives_what_xapi_carries(stolen: Dom0) -> None:
    text = point_wrapper(
        STOCK=stolen.path('qemu-wrapper'), XENSTORE_READ=stolen.path('xenstore-read'),
        CONFIGURATION=stolen.path('watcher.conf'), SYSLOG=stolen.path('log'),
        BOOT_ID=stolen.path('boot_id'), RUN=stolen.path('run'), TIMEOUT_SECONDS=10.0)
    # The second program that is to read xenstore finds the table of processes full.
    text = text.replace('        self._pid = os.fork()\n', """\
        if path.endswith('/vm'):
            raise BlockingIOError(11, 'Resource temporarily unavailable')
        self._pid = os.fork()
""")
    assert 'BlockingIOError' in text
    stock.program(stolen.path('full'), text)
    assert stolen.boot(wrapper=stolen.path('full')).added == WORDS
    assert 'Resource temporarily unavailable' in stolen.read_log()[0]


def test_marker_that_cannot_be_left_costs_nothing_but_a_line(stolen: Dom0) -> None:
    stolen.write('run/withheld', 'a file')
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, [])
    assert 'the receipt will not say so' in stolen.read_log()[-1]


def test_link_in_the_place_of_the_markers_is_not_followed(stolen: Dom0) -> None:
    os.mkdir(stolen.path('trap'))
    os.symlink(stolen.path('trap'), stolen.path('run/withheld'))
    assert stolen.boot().added == [] and os.listdir(stolen.path('trap')) == []


def test_markers_are_bounded(stolen: Dom0) -> None:
    os.mkdir(stolen.path('run/withheld'), 0o700)
    for number in range(4096):
        stolen.write('run/withheld/%d' % (10000 + number), '')
    assert stolen.boot().added == []
    assert len(os.listdir(stolen.path('run/withheld'))) == 4096


def test_many_rows_and_a_full_span_are_judged_at_once(stolen: Dom0) -> None:
    rows = [(number, '%08x-0000-4000-8000-000000000000' % number) for number in range(1, 50000)]
    stolen.set_numbers(rows + [(50001, OWNER)])
    span = '-device vgpu-stub' + ''.join(',vm_id=%d' % number for number in range(60001, 60018)) \
        + ',vm_id=50001'
    assert len(span) <= numbers_file.MAX_MARKER_BYTES and len(span) <= 255
    stolen.set_value(span, '/vm/' + THIEF)
    boot = stolen.boot()
    assert boot.added == [] and boot.seconds < 15


# dom0's Python.

OLDEST = os.path.expanduser('~/.pyenv/versions/3.6.15/bin/python3')


@pytest.mark.skipif(not os.access(OLDEST, os.X_OK), reason='there is no Python 3.6.15 of pyenv')
@pytest.mark.parametrize('vm, added', [(OWNER, WORDS), (THIEF, [])])
def test_python_3_6_runs_it(stolen: Dom0, vm: str, added: List[str]) -> None:
    stolen.python = OLDEST
    stolen.set_stock(stock.NEW)
    stolen.write('watcher.conf', '[device]\nnames = vgpu-stub\n')
    stolen.set_value('-priv ' + SPAN, '/vm/' + vm)
    boot = stolen.boot()
    assert (boot.status, boot.added) == (0, added)
    assert not any('not known' in line for line in stolen.read_log())


# Both ends agree.

def test_limits_and_words_are_those_of_the_daemon() -> None:
    with open(WRAPPER, encoding='utf-8') as stream:
        text = stream.read()
    assert 'MAX_AGE_SECONDS = %r\n' % numbers_file.MAX_AGE_SECONDS in text
    assert numbers_file.MAX_BYTES == 4 << 20 and 'MAX_NUMBERS = 4 << 20\n' in text
    assert "os.mkdir(%r" % numbers_file.WITHHELD in text
    assert "read_root_file(directory, %r" % numbers_file.NUMBERS in text


def test_what_the_daemon_writes_the_daemon_reads() -> None:
    numbers = numbers_file.Numbers(((1, OWNER), (2, OTHER)), BOOT_ID, 12.5, THIEF, '7-ab')
    assert parse_numbers(numbers_file.render_numbers(numbers)) == numbers


def _replace(dom0: Dom0, make: Callable[[str], Any]) -> None:
    os.rename(dom0.path('run/numbers'), dom0.path('kept'))
    make(dom0.path('run/numbers'))
