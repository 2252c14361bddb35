"""doctor --all-hosts: what each host's own doctor found, side by side."""

import json
import os

import pytest

from cli.doctor.other_hosts import parse_findings
from tests.integration.pool.plugin import install_plugin
from tests.integration.pool.test_forwarding import Admin
from watcher.xapi.plugin_protocol import AnswerInvalid


@pytest.fixture
def world(build_pool):
    """Three hosts without a daemon; the second one has the plugin."""
    world = build_pool().start(with_daemons=False)
    install_plugin(world.members[0].node.plugins_directory, world.members[0].config_path)
    return world


def test_all_hosts_are_examined_and_one_without_the_plugin_is_named(world):
    run = Admin(world.master).run('doctor', '--all-hosts', '--json')
    first, second = run.document['hosts']
    assert [check['check'] for check in first['checks']][:5] == [
        check['check'] for check in run.document['checks']][:5]
    assert first['problem'] is None and sum(first['counts'].values()) == len(first['checks'])
    roles = [check['saw'] for check in first['checks'] if check['check'] == 'xapi.role']
    assert roles[0].startswith('a member')
    assert second['checks'] == [] and 'XENAPI_MISSING_PLUGIN' in second['problem']


def test_people_see_a_heading_for_each_host_and_what_needs_a_look(world):
    run = Admin(world.master).run('doctor', '--all-hosts')
    names = [world.xapi.call('host.get_name_label', host.ref) for host in world.members]
    assert all('%s: ' % name in run.out for name in names)
    assert 'not examined' in run.out.split(names[1])[1]


def test_a_failure_on_another_host_is_a_failure(world):
    os.makedirs(world.members[0].registry_path)  # whatever it is, it is no registry
    own = Admin(world.members[1]).run('doctor', '--all-hosts', '--json')
    there = own.document['hosts']
    assert own.status == 1 and sum(host['counts']['fail'] for host in there) > 0


def test_host_that_is_away_is_named(world):
    world.xapi.lose_host(world.members[0].ref)
    run = Admin(world.master).run('doctor', '--all-hosts', '--json')
    assert all(host['problem'] for host in run.document['hosts'])


@pytest.mark.parametrize('text', [
    '{}', '{"format": 1}', '{"format": 1, "checks": [1]}', json.dumps(
        {'format': 1, 'checks': [{'check': 'a', 'verdict': 'great', 'saw': ''}]}), json.dumps(
        {'format': 1, 'checks': [{'check': 'a', 'verdict': 'ok', 'saw': None}]})])
def test_odd_findings_are_refused(text):
    with pytest.raises(AnswerInvalid):
        parse_findings(text)
