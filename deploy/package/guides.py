"""The guides that the package brings, for administrators at a host without the repository.

Links among them stay; a link to what is not brought along becomes its text.
"""

import os
import posixpath
import re
from typing import Any, Iterator, Tuple

from deploy.package.contents import GUIDES

NAMES = ('cli', 'configuration', 'consumer', 'deployment', 'earlier-tool', 'integration',
         'log-events', 'monitoring', 'operations', 'pool-wide', 'scale', 'security',
         'troubleshooting', 'workflows')
MONITORING = 'deploy/monitoring'
_LINK = re.compile(r'\[([^\]\n]+)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)')


def list_guides(root: str) -> Iterator[Tuple[str, str]]:
    """List the guides: path in the repository, and where it goes."""
    yield 'CHANGELOG.md', GUIDES + '/CHANGELOG.md'
    for name in NAMES:
        yield f'docs/{name}.md', f'{GUIDES}/{name}.md'
    for name in sorted(os.listdir(os.path.join(root, MONITORING))):
        yield f'{MONITORING}/{name}', f'{GUIDES}/monitoring/{name}'


def render_guide(root: str, source: str) -> bytes:
    """Read a guide, with its links as they are right on the host."""
    with open(os.path.join(root, source), 'rb') as stream:
        content = stream.read()
    if not source.endswith('.md'):
        return content
    places = dict(list_guides(root))
    here = posixpath.dirname(places[source])

    def settle(link: Any) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link.group(2)))
        if target not in places:
            return link.group(1)
        return f'[{link.group(1)}]({posixpath.relpath(places[target], here)}{link.group(3) or ""})'

    return _LINK.sub(settle, content.decode('utf-8')).encode('utf-8')
