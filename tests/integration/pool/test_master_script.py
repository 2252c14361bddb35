"""The script of master.d: asks the daemon to look, returns at once, never fails."""

import os
import stat
import time

import pytest

from tests.support.documents import ROOT
from tests.support.waiting import wait_until

SCRIPT = os.path.join(ROOT, 'deploy/master.d/50-vgpu-watcher')


@pytest.fixture
def world(build_pool, tmp_path):
    """A pool whose second host has the script, and a systemctl that takes its time."""
    world = build_pool(hosts=2).start(with_daemons=False)
    for host in world.hosts:
        os.makedirs(host.node.master_scripts_directory, exist_ok=True)
        os.symlink(SCRIPT, os.path.join(host.node.master_scripts_directory, '50-vgpu-watcher'))
        host.node.plugin_environment = (('PATH', '%s:/usr/bin:/bin' % tmp_path),)
    path = tmp_path / 'systemctl'
    path.write_text('#!/bin/sh\necho "$@" >>%s/asked\nsleep 30\nexit 5\n' % tmp_path)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return world


def test_new_master_asks_its_daemon_and_waits_for_nothing(world, tmp_path):
    world.xapi.sync_database()
    world.lose(world.hosts[0])
    began_at = time.monotonic()
    world.xapi.fail_over(world.hosts[1].ref)
    assert time.monotonic() - began_at < 20
    asked = tmp_path / 'asked'
    assert wait_until(lambda: asked.exists() and asked.read_text()) == '--no-block reload vgpu-watcher.service\n'


@pytest.mark.parametrize('word', ['start', 'stop', ''])
def test_without_systemd_it_succeeds_all_the_same(tmp_path, word):
    from simulator.state.plugins import run
    assert run(SCRIPT, word, {'PATH': str(tmp_path)}) == (0, '', '')
