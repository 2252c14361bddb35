"""The guides of the package: what they link to is there too, with the section that is named."""

import os
import re

import pytest

from deploy.package.guides import list_guides, render_guide
from tests.monitoring.test_rules import find_anchors
from tests.support.documents import ROOT

GUIDES = {target: source for source, target in list_guides(ROOT)}


@pytest.mark.parametrize('target', sorted(path for path in GUIDES if path.endswith('.md')))
def test_each_link_of_a_guide_leads_to_what_the_package_brings(target):
    text = render_guide(ROOT, GUIDES[target]).decode('utf-8')
    for link, section in re.findall(r'\]\((?!https?:)([^)\s#]*)#?([^)\s]*)\)', text):
        found = os.path.normpath(os.path.join(os.path.dirname(target), link)) if link else target
        assert found in GUIDES, link
        assert not section or section in find_anchors(GUIDES[found]), section


def test_link_to_what_is_not_brought_becomes_its_text():
    text = render_guide(ROOT, 'docs/operations.md').decode('utf-8')
    assert 'deployment.md)' in text and '../' not in re.sub('`[^`]*`', '', text)


def test_rules_and_dashboard_are_as_they_are():
    for source in ('vgpu-watcher.rules.yml', 'vgpu-watcher.dashboard.json'):
        with open(os.path.join(ROOT, 'deploy/monitoring', source), 'rb') as stream:
            assert render_guide(ROOT, 'deploy/monitoring/' + source) == stream.read()
