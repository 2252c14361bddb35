"""What keeps the daemon that runs from staging a VM: asked before anybody is told that it does."""

import time
from typing import Any, Optional, Tuple

from cli.mirror_state import describe_mirror, read_mirror_state
from cli.watching import find_daemon, read_watch
from registry.values import Contents

NOT_ACCEPTED = ('drift', "nothing is replaced or removed until 'vgpu-admin accept' has been run")
Blocker = Tuple[str, str]
"""The word for programs, and what is said."""


def find_blocker(context: Any, contents: Contents, plan: Any) -> Optional[Blocker]:
    """Find why the daemon does not carry a plan out (None: the VM has no row); None: it does."""
    if plan is None and not contents.accepted:
        return NOT_ACCEPTED
    return _find_in_plan(plan) or _find_in_daemon(context)


def _find_in_plan(plan: Any) -> Optional[Blocker]:
    from cli.staging import describe_plan
    from watcher.plan import Action, Reason
    if plan is None or plan.action is not Action.NONE:
        return None
    if plan.reason is Reason.NOT_ORDINARY:
        kind = plan.vm.kind.value.replace('_', ' ')
        return 'pending', (f'the VM is a {kind}, and nothing is written to it; the change is kept '
                           'for when it is an ordinary VM')
    said = describe_plan(plan)
    return said.word, said.message


def _find_in_daemon(context: Any) -> Optional[Blocker]:
    holder = find_daemon(context.settings.registry.path)
    if holder is None:
        return None
    with context.journal() as journal:
        watch = read_watch(holder, journal, time.time(), context.settings.scan.interval_seconds)
        mirror = read_mirror_state(holder, journal, context.settings.mirror.enabled)
    if not watch.is_synced:
        return 'pending', (f'the daemon ({holder}) is not in sync with XAPI, and stages the change '
                           "when it is; see 'vgpu-admin status'")
    if watch.is_late:
        return 'pending', (f'XAPI has not answered the daemon ({holder}) for '
                           f'{watch.silent_seconds} s; it stages the change when XAPI does')
    if mirror is not None and mirror.is_fatal:
        return 'pending', (f'the mirror {describe_mirror(mirror)}: decide that first; see '
                           "'vgpu-admin registry compare'")
    return None
