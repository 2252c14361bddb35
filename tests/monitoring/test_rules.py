"""The alert rules: understood and right by promtool, and each leads to a section of a guide."""

import os
import re
import shutil
import subprocess
from typing import Any, Dict

import pytest

from deploy.package import contents
from tests.support.documents import ROOT, read

FOLDER = os.path.join(ROOT, 'deploy', 'monitoring')
RULES = 'deploy/monitoring/vgpu-watcher.rules.yml'
TESTS = 'deploy/monitoring/vgpu-watcher.rules.test.yml'
needs_promtool = pytest.mark.skipif(
    shutil.which('promtool') is None,
    reason="promtool is in Debian's package prometheus, which is not installed")


def list_alerts() -> Dict[str, str]:
    """Each alert with its text."""
    parts = re.split(r'^      - alert: (\w+)$', read(RULES), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def find_anchors(path: str) -> Any:
    """What a link may lead to within a document, made as git forges make it."""
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
            for heading in re.findall(r'^#+ (.+)$', read(path), re.MULTILINE)}


def promtool(*words: str, directory: str = FOLDER) -> subprocess.CompletedProcess:
    return subprocess.run(('promtool',) + words, cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=120)


@needs_promtool
def test_rules_are_understood() -> None:
    done = promtool('check', 'rules', os.path.basename(RULES))
    assert done.returncode == 0 and '%d rules found' % len(list_alerts()) in done.stdout


@needs_promtool
def test_each_alert_fires_when_it_shall_and_not_when_all_is_well() -> None:
    done = promtool('test', 'rules', os.path.basename(TESTS))
    assert done.returncode == 0, done.stdout


@needs_promtool
def test_alert_that_does_not_fire_is_found(tmp_path: Any) -> None:
    for path in (RULES, TESTS):
        text = read(path).replace('mirror_waiting_entries > 0', 'mirror_waiting_entries > 9')
        (tmp_path / os.path.basename(path)).write_text(text, encoding='utf-8')
    done = promtool('test', 'rules', os.path.basename(TESTS), directory=str(tmp_path))
    assert done.returncode != 0 and 'VgpuMirrorBehind' in done.stdout


def test_each_alert_is_tested() -> None:
    fired = set(re.findall(r'alertname="(\w+)"', read(TESTS)))
    assert fired == set(list_alerts())


@pytest.mark.parametrize('alert', sorted(list_alerts()))
def test_alert_leads_to_a_section_of_a_guide_that_the_package_brings(alert: str) -> None:
    where = re.findall(r'runbook_url: file://(\S+)/(\S+)#(\S+)$', list_alerts()[alert],
                       re.MULTILINE)
    assert len(where) == 1
    folder, name, section = where[0]
    assert folder == contents.GUIDES and section in find_anchors('docs/' + name)
