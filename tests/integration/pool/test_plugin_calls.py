"""Other clients of XAPI call the plugin: every function, with what it does not expect, by whom."""

import json
from typing import Any, Callable, Dict, Iterator, List

import pytest
import XenAPI

from cli.forwarding.protocol import parse_request
from simulator.api.rbac import ROLES
from simulator.wire.failures import Failure
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin, history, rows
from tests.integration.pool.world import PoolWorld
from tests.support.building import building
from watcher.xapi.plugin_protocol import CallInvalid

EDIT = {'words': json.dumps(['set-pool-name', '--pool-id=A', '--name=mine'])}
FUNCTIONS = ('admin', 'cancel', 'doctor', 'look', 'mirror', 'version')
HOSTILE = {
    'escapes': '\u001b[2J\u001b]0;x\u0007', 'lines': 'a\nb\r\nc', 'nothing': '', 'blank': ' ',
    'direction': '\u202e\u2066', 'dashes': '--', 'option': '-rf',
    'long': 'x' * 60000, 'path': '../../../etc/shadow', 'shell': '$(reboot)`reboot`;reboot',
    'format': '%s%n{0}', 'number': '9' * 400, 'deep': '[' * 20000, 'entity': '&lt;!ENTITY x "y">'}


@pytest.fixture(scope='module')
def built() -> Iterator[PoolWorld]:
    """Two hosts with the plugin, no daemon; accounts of every role; one VM with a row."""
    with building(PoolWorld) as build:
        pool = build(hosts=2, listen=('127.0.0.1', 0), accounts=tuple(
            (role, 'secret', role) for role in ROLES)).start(with_daemons=False)
        for host in pool.hosts:
            install_plugin(host.node.plugins_directory, host.config_path)
        pool.register(pool.create_vm('web'), vm_id=2)
        yield pool


@pytest.fixture
def pool(built: PoolWorld) -> PoolWorld:
    """The same for all: what a test has edited is put right for the next."""
    with built.master.registry.edit(who='test', command='test') as edit:
        edit.change_pool('A', pool_name='Pool A')
        edit.change_vm(rows(built)[0][1], pool_id='A')
    return built


def call(pool: PoolWorld, function: str, arguments: Any) -> Any:
    """As root on the master."""
    return json.loads(pool.xapi.call('host.call_plugin', pool.master.ref, 'vgpu-watcher',
                                     function, arguments))


def admin(pool: PoolWorld, *words: str, **arguments: str) -> Dict[str, Any]:
    """One command."""
    return call(pool, 'admin', dict(arguments, words=json.dumps(words)))


def count(pool: PoolWorld) -> int:
    """How much the history says."""
    return len(history(pool))


def refused(pool: PoolWorld, function: str, arguments: Any, code: str = 'CallInvalid') -> None:
    """The call fails in XAPI's way, and nothing has changed."""
    before = rows(pool), count(pool)
    with pytest.raises(Failure) as caught:
        call(pool, function, arguments)
    assert caught.value.code == 'XENAPI_PLUGIN_FAILURE' and caught.value.params[1] == code
    assert caught.value.params[2].isprintable() and len(caught.value.params[2]) < 500
    assert (rows(pool), count(pool)) == before


@pytest.mark.parametrize('name, text', [
    ('answer', 'lines'), ('request', 'path'), ('style', 'deep'), ('input', 'long'),
    ('words', 'shell'), ('words', 'entity')])
def test_argument_of_a_command_that_is_not_what_is_wanted(pool: PoolWorld, name: str,
                                                          text: str) -> None:
    refused(pool, 'admin', dict(EDIT, **{name: HOSTILE[text]}))


@pytest.mark.parametrize('name', ['answer', 'request', 'style', 'input', 'words'])
@pytest.mark.parametrize('text', sorted(HOSTILE))
def test_no_text_is_taken_for_another_kind_of_argument(name: str, text: str) -> None:
    if not HOSTILE[text] and name in ('answer', 'request'):
        assert parse_request(dict(EDIT, **{name: ''})) == parse_request(EDIT)
        return
    with pytest.raises(CallInvalid) as caught:
        parse_request(dict(EDIT, **{name: HOSTILE[text]}))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize('text', sorted(HOSTILE))
def test_hostile_word_is_a_usage_error_or_a_name_and_never_an_option(pool: PoolWorld,
                                                                     text: str) -> None:
    value, before = HOSTILE[text], rows(pool)
    for words in (['show-vm', '--vm-name', value], ['set-pool', '--vm-name=web', value]):
        answer = admin(pool, *words)
        assert answer['status'] in (2, 3), answer
        shown = answer['output'] + answer['errors']
        assert all(line.isprintable() for line in shown.split('\n'))
    assert rows(pool) == before


@pytest.mark.parametrize('words', [
    '["show-vm", "--vm-name=a\\u0000b"]', '', '{}', 'null', '"list-vms"', '["list-vms", 1]',
    '[["list-vms"]]', '[null]', 'true', json.dumps(['x'] * 1001), '[]'])
def test_words_that_are_no_command_line(pool: PoolWorld, words: str) -> None:
    refused(pool, 'admin', {'words': words})


@pytest.mark.parametrize('arguments', [
    {}, {'domid': '1'}, {'domid': '-1', 'vm_uuid': 'u', 'names': 'vgpu-stub'},
    {'domid': '0x1', 'vm_uuid': 'u', 'names': ''}, {'domid': '1\n', 'vm_uuid': 'u'},
    {'domid': '1', 'vm_uuid': '../../x', 'names': 'vgpu-stub'}])
def test_look_at_what_is_no_domain(pool: PoolWorld, arguments: Dict[str, str]) -> None:
    refused(pool, 'look', arguments)


@pytest.mark.parametrize('text', ['nothing', 'path', 'option'])
def test_cancelling_what_is_no_command(pool: PoolWorld, text: str) -> None:
    refused(pool, 'cancel', {'request': HOSTILE[text]})


def test_cancelling_a_command_that_is_over(pool: PoolWorld) -> None:
    refused(pool, 'cancel', {'request': '0' * 32})
    assert admin(pool, 'list-vms', request='0' * 32)['status'] == 0
    refused(pool, 'cancel', {'request': '0' * 32})


@pytest.mark.parametrize('function', FUNCTIONS)
def test_call_too_large_for_a_program_fails_and_changes_nothing(pool: PoolWorld,
                                                                function: str) -> None:
    before = rows(pool), count(pool)
    with pytest.raises(Failure):
        call(pool, function, {'words': '["init"]', 'more': 'x' * 300000})
    assert (rows(pool), count(pool)) == before


@pytest.mark.parametrize('function', ['', 'Admin', 'admin ', '../admin', 'admin\n', 'x' * 5000])
def test_function_that_there_is_not(pool: PoolWorld, function: str) -> None:
    with pytest.raises(Failure) as caught:
        call(pool, function, {'words': '["init"]'})
    assert caught.value.code in ('UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'XENAPI_PLUGIN_FAILURE')


def test_arguments_nobody_knows_are_ignored(pool: PoolWorld) -> None:
    """A later version may send more than this one knows."""
    assert admin(pool, 'list-vms', shape='round')['status'] == 0
    assert call(pool, 'version', {'x': 'y'})['functions'] == sorted(FUNCTIONS)
    assert call(pool, 'doctor', {'x': 'y'})['format'] == 1


def test_name_that_somebody_claims_is_cut_and_printable_in_the_history(pool: PoolWorld) -> None:
    assert admin(pool, 'set-pool-name', '--pool-id=A', '--name=x', user='a\nb\u2028' + 'u' * 500,
                 host='\u202eh')['status'] == 0
    who = history(pool)[0].who
    assert who.isprintable() and len(who) <= 200 and who.endswith(' on h')


def test_question_and_answer_of_another_client(pool: PoolWorld) -> None:
    ref = pool.xapi.find(rows(pool)[0][1])
    pool.start_vm(ref)
    words = ['set-pool', '--vm-name=web', '--pool=B']
    asked = admin(pool, *words, can_ask='yes')
    assert asked['status'] == 1 and 'Do you want to apply' in asked['question']['text']
    assert rows(pool)[0][3] == 'A'
    wrong = admin(pool, *words, can_ask='yes', answer='0' * 64)
    assert wrong['question'] == asked['question'] and rows(pool)[0][3] == 'A'
    done = admin(pool, *words, answer=asked['question']['digest'])
    assert done['status'] == 0 and rows(pool)[0][3] == 'B'


@pytest.fixture
def sessions(pool: PoolWorld) -> Iterator[Callable[[str], Any]]:
    """Sessions over TCP, by role."""
    opened: List[Any] = []

    def open_session(role: str) -> Any:
        session = XenAPI.Session('http://%s:%d' % pool.xapi.address)
        opened.append(session)
        session.login_with_password(role, 'secret', '1.0', 'test')
        return session.xenapi

    yield open_session
    for session in opened:
        session('close')()


ARGUMENTS = {'admin': EDIT, 'cancel': {'request': '0' * 32}, 'doctor': {}, 'version': {},
             'mirror': {},
             'look': {'domid': '1', 'vm_uuid': '0' * 8 + '-0000' * 3 + '-' + '0' * 12,
                      'names': 'vgpu-stub'}}


@pytest.mark.parametrize('place', [0, 1], ids=['master', 'member'])
@pytest.mark.parametrize('role', ROLES)
def test_who_may_what(pool: PoolWorld, sessions: Callable[[str], Any], role: str,
                      place: int) -> None:
    """docs/security.md: commands are for pool administrators and on the master, whichever way the
    call takes; what only looks is for whoever XAPI lets through."""
    host, xenapi = pool.hosts[place], sessions(role)
    ref = pool.create_vm('mine')
    pool.start_vm(ref, host)
    before = count(pool)
    for function in FUNCTIONS:
        ways = ((xenapi.host.call_plugin, host.ref, role == 'pool-admin'),
                (xenapi.VM.call_host_plugin, ref, role != 'read-only'))
        for way, target, is_let_through in ways:
            heard = try_call(way, target, function)
            if not is_let_through:
                assert heard == 'RBAC_PERMISSION_DENIED', (function, heard)
            elif function in ('doctor', 'version', 'look', 'mirror'):
                assert heard == 'done', (function, heard)
            elif place == 1 or role != 'pool-admin':
                assert heard == 'CallRefused', (function, heard)
            else:
                assert heard == ('done' if function == 'admin' else 'CallInvalid')
    is_edited = role == 'pool-admin' and place == 0
    assert (Admin(pool.master).registry.read().pools[0].pool_name == 'mine') == is_edited
    assert (count(pool) > before) == is_edited


def try_call(way: Callable[..., str], target: str, function: str) -> str:
    """What becomes of a call: done, or the word of the refusal."""
    try:
        json.loads(way(target, 'vgpu-watcher', function, ARGUMENTS[function]))
        return 'done'
    except XenAPI.Failure as error:
        code, params = error.details[0], error.details[1:]
        return str(params[1]) if code == 'XENAPI_PLUGIN_FAILURE' else str(code)


def test_plugin_of_a_host_that_reaches_xapi_over_tcp_takes_no_command(pool: PoolWorld) -> None:
    """There it learns who is the master, and not whether that is its own host: it would edit the
    registry of a member as root."""
    member = pool.members[0]
    with open(member.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(member.config_path + '.password', 'w', encoding='utf-8') as stream:
        stream.write('secret\n')
    with open(member.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('unix:' + member.node.socket_path,
                                  'http://%s:%d\nusername = pool-admin\npassword_file = %s.password'
                                  % (tuple(pool.xapi.address) + (member.config_path,))))
    member.registry.create('test')
    try:
        with pytest.raises(Failure) as caught:
            pool.xapi.call('host.call_plugin', member.ref, 'vgpu-watcher', 'admin', EDIT)
        assert caught.value.params[1] == 'CallRefused' and 'local socket' in caught.value.params[2]
        assert member.registry.read().pools[0].pool_name == 'Pool A'
    finally:
        member.wipe()
        with open(member.config_path, 'w', encoding='utf-8') as stream:
            stream.write(text)
