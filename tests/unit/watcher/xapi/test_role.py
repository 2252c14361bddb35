"""May this daemon write: host, master and XAPI's version."""

import pytest

from watcher.xapi.client import Identity
from watcher.xapi.role import decide_role, read_version

HERE, THERE = 'OpaqueRef:here', 'OpaqueRef:there'


@pytest.mark.parametrize('master, version, is_local, is_writer, words', [
    pytest.param(HERE, '26.1.4', True, True, '', id='master'),
    pytest.param(THERE, '26.1.4', True, False, 'not the master', id='member'),
    pytest.param(THERE, '26.1.4', False, True, '', id='over-tcp-only-a-master-lets-us-in'),
    pytest.param(HERE, '22.7.0', True, True, '', id='oldest-that-will-do'),
    pytest.param(HERE, '22.6.9', True, False, 'older than 22.7', id='just-too-old'),
    pytest.param(HERE, '1.249.41', True, False, 'older than 22.7', id='release-8.2'),
    pytest.param(HERE, '1.249.41', False, False, 'older than 22.7', id='release-8.2-over-tcp'),
    pytest.param(HERE, 'unknown', True, False, 'version that can be read', id='unreadable'),
    pytest.param(HERE, '', True, False, 'version that can be read', id='no-version'),
    pytest.param(THERE, '1.249.41', True, False, 'older than 22.7', id='old-member')])
def test_only_the_master_of_a_new_enough_xapi_is_written_to(master, version, is_local, is_writer,
                                                            words):
    role = decide_role(Identity(HERE, master, {'xapi': version}), is_local=is_local)
    assert (role.is_writer, role.is_local, role.host) == (is_writer, is_local, HERE)
    assert words in role.refusal and bool(role.refusal) != is_writer


@pytest.mark.parametrize('versions, read', [
    pytest.param({'xapi': '26.1'}, ((26, 1), '26.1'), id='two-numbers'),
    pytest.param({'xapi': '26.1.4-3.2'}, ((26, 1), '26.1.4-3.2'), id='with-a-package-release'),
    pytest.param({'xapi_build': '24.19.2'}, ((24, 19), '24.19.2'), id='build-only'),
    pytest.param({'xapi': '26.1', 'xapi_build': '1.249'}, ((1, 249), '1.249'),
                 id='the-older-of-two-counts'),
    pytest.param({'xapi': '100.20.3'}, ((100, 20), '100.20.3'), id='numbers-and-not-text'),
    pytest.param({'xapi': '26'}, (None, '26'), id='one-number'),
    pytest.param({'xapi': 'v26.1'}, (None, 'v26.1'), id='letters'),
    pytest.param({'xapi': '26.x'}, (None, '26.x'), id='letters-behind'),
    pytest.param({'xapi': '26.1', 'xapi_build': 'x'}, (None, 'x'), id='one-of-two-unreadable'),
    pytest.param({'product_version': '8.3'}, (None, ''), id='neither'),
    pytest.param({'xapi': '9' * 500 + '.1'}, (None, '9' * 500 + '.1'), id='endless')])
def test_version_is_read_or_is_none(versions, read):
    assert read_version(versions) == read
