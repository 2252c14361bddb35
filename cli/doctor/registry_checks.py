"""The checks of `doctor` that look at the registry, the journal and the daemon beside them.

Files are looked at by `stat` only: opening the registry by other means than SQLite drops locks.
"""

import os
import stat
import time
from typing import Any, Iterator, List, Optional

from cli.doctor.findings import Finding, bad, doubtful, good, skipped
from cli.output.text import plural, utc
from cli.queries.daemon_status import find_daemon, read_watch
from cli.queries.mirror_status import MirrorState, advise, describe_mirror, read_mirror_state
from registry.schema import WATCH_NOTE
from registry.sqlite.timestamps import render_timestamp
from watcher.state.notes import parse_watch_note
from watcher.version import VERSION

LOW_BYTES = 64 << 20
EMPTY_BYTES = 8 << 20
DAY_SECONDS = 86400
# The daemon notes its progress every 2 s.
MIRROR_SECONDS = 3.0
_START = "'systemctl start vgpu-watcher'; 'systemctl status vgpu-watcher'"
_BAD_VERDICTS = ('stale', 'missing', 'withheld', 'not_consumed')


def check_registry(examination: Any) -> Iterator[Finding]:
    """Can it be read, is it whole, is it ours?"""
    path = examination.context.registry.path
    if examination.registry_problem is not None:
        yield bad('registry', str(examination.registry_problem),
                  'do what the message says; /usr/share/doc/vgpu-watcher/troubleshooting.md '
                  'explains each')
        return
    found = examination.context.registry.check()
    if found.problems:
        yield bad('registry', f'{path}: {"; ".join(found.problems[:5])}',
                  "see 'vgpu-admin check'")
    elif found.warnings:
        yield doubtful('registry', f'{path}: {"; ".join(found.warnings[:5])}',
                       "see 'vgpu-admin check'")
    else:
        yield good('registry', f'{path}: {plural(len(examination.contents.vms), "VM")}, no damage')
    if examination.contents.accepted:
        yield good('registry.accepted', 'it is accepted')
    else:
        yield doubtful('registry.accepted', 'another program made it: missing arguments are added, '
                       'nothing is replaced or removed', "'vgpu-admin accept'")


def check_registry_mode(examination: Any) -> Iterator[Finding]:
    """May only root change it?"""
    path = examination.context.registry.path
    if not os.path.exists(path):
        yield skipped('registry.mode', f'there is no {path}')
        return
    faults = _find_faults(path, stat.S_IWOTH | stat.S_IWGRP)
    faults += _find_faults(os.path.dirname(path), stat.S_IWOTH | stat.S_IWGRP)
    if faults:
        yield bad('registry.mode', '; '.join(faults), f'chown root and chmod go-w {path} and its '
                  'directory: a user who may write there decides what VMs get')
    else:
        yield good('registry.mode', 'file and directory belong to root; no other user may write')


def check_space(examination: Any) -> Iterator[Finding]:
    """Is there room for the journal? Without it history and receipts wait."""
    directory = os.path.dirname(examination.context.registry.path)
    if not os.path.isdir(directory):
        yield skipped('space', f'there is no {directory}')
        return
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    saw = f'{free >> 20} MiB are free below {directory}'
    if free < EMPTY_BYTES:
        yield bad('space', saw, 'free some space, or soon the journal cannot be written')
    elif free < LOW_BYTES:
        yield doubtful('space', saw, 'free some')
    else:
        yield good('space', saw)


def check_journal(examination: Any) -> Iterator[Finding]:
    """Can the journal be used, is it ours alone, and is nothing left half done?"""
    path = examination.context.registry.journal_path
    if not os.path.exists(path):
        if os.path.exists(examination.context.registry.path):
            yield doubtful('journal', f'there is no {path}: no daemon has run yet', _START)
        else:
            yield skipped('journal', f'there is no {path}: it comes with the registry')
        return
    faults = _find_faults(path, stat.S_IRWXG | stat.S_IRWXO)
    if faults:
        yield bad('journal.mode', '; '.join(faults), f'chown root and chmod 0600 {path}')
    else:
        yield good('journal.mode', 'it is for root only')
    with examination.context.journal() as journal:
        if journal is None:
            yield bad('journal', examination.context.journal_problem,
                      'do what this says; history and receipts wait for it')
            return
        left = len(journal.replacements())
    if left and find_daemon(examination.context.registry.path) is None:
        yield bad('journal', f'{plural(left, "value")} that a version before 0.2 had removed when '
                  'it was killed', 'start the daemon: it puts them back')
    else:
        yield good('journal', 'it can be used')


def check_boots(examination: Any) -> Iterator[Finding]:
    """Did the VMs of the last day boot with what they should?"""
    since = render_timestamp(time.time() - DAY_SECONDS)
    with examination.context.journal() as journal:
        if journal is None:
            yield skipped('boots', _find_gap(examination) or 'there is no journal')
            return
        counts = journal.count_verdicts(since)
    words = ', '.join(f'{verdict} {number}' for verdict, number in sorted(counts.items()))
    saw = f'in the last 24 hours: {words or "none"}'
    if any(counts.get(verdict) for verdict in _BAD_VERDICTS):
        yield doubtful('boots', saw, "see 'vgpu-admin status', then 'vgpu-admin explain' for a VM")
    else:
        yield good('boots', saw)


def check_daemon(examination: Any) -> Iterator[Finding]:
    """Does a daemon hold the writer's lock, watch, and hear from XAPI?"""
    holder = find_daemon(examination.context.registry.path)
    if holder is None:
        yield bad('daemon', 'no daemon is running', _START)
        for name in ('daemon.watching', 'daemon.version'):
            yield skipped(name, 'no daemon is running')
        return
    yield good('daemon', f'{holder} holds the lock')
    with examination.context.journal() as journal:
        watch = read_watch(holder, journal, time.time(),
                           examination.context.settings.scan.interval_seconds)
        text = journal.read_note(WATCH_NOTE) if journal is not None else None
    gap = _find_gap(examination)
    if gap:
        for name in ('daemon.watching', 'daemon.version'):
            yield skipped(name, gap)
        return
    yield _judge_watch(watch)
    yield _judge_version(text)


def check_mirror(examination: Any) -> Iterator[Finding]:
    """Is the registry mirrored in XAPI's database, or does this host follow the mirror?"""
    holder = find_daemon(examination.context.registry.path)
    if holder is None:
        yield skipped('mirror', 'no daemon is running')
        return
    before = mirror = _read_mirror(examination, holder)
    gap = _find_gap(examination)
    if gap:
        yield skipped('mirror', gap)
        return
    if before is not None and not before.is_settled:
        examination.context.sleep(MIRROR_SECONDS)
        mirror = _read_mirror(examination, holder)
    yield judge_mirror(before, mirror)


def check_mirror_key(examination: Any) -> Iterator[Finding]:
    """Is there a key to sign the mirror with, and may root alone read it?"""
    settings = examination.context.settings.mirror
    if not settings.enabled:
        yield skipped('mirror.key', 'there is no mirror')
        return
    from watcher.mirror.trust import read_key
    problem = read_key(settings.key_file)[1]
    faults = [] if problem else _find_faults(settings.key_file, stat.S_IRWXG | stat.S_IRWXO)
    if problem:
        yield doubtful('mirror.key', f'the mirror is not signed: {problem}',
                       "name the pool's secret in the configuration, as [mirror] key_file")
    elif faults:
        yield bad('mirror.key', '; '.join(faults), f'chown root and chmod 0600 '
                  f'{settings.key_file}, then \'xe pool-secret-rotate\'')
    else:
        yield good('mirror.key', f'{settings.key_file} is for root only')


def _find_gap(examination: Any) -> str:
    """Why nothing is known of what the daemon noted, where that is no fault of the daemon's."""
    if not os.path.exists(examination.context.registry.journal_path):
        return 'there is no journal yet in which the daemon could note it'
    return 'the journal cannot be read' if examination.context.journal_problem else ''


def judge_mirror(before: Optional[MirrorState], mirror: Optional[MirrorState]) -> Finding:
    """Judge two looks; what is under way and gets no further needs a look."""
    if mirror is None:
        return doubtful('mirror', 'the daemon has not noted how far it is',
                        "'systemctl restart vgpu-watcher'; 'journalctl -u vgpu-watcher'")
    saw = describe_mirror(mirror)
    if mirror.is_switched_off:
        return skipped('mirror', saw)
    is_stuck = not mirror.is_settled and before is not None and (
        (before.state, before.generation) == (mirror.state, mirror.generation)
        and mirror.waiting + mirror.edits >= before.waiting + before.edits)
    if mirror.is_well and not is_stuck:
        return good('mirror', saw)
    if mirror.is_fatal:
        return bad('mirror', saw, advise(mirror))
    return doubtful('mirror', saw + (', and gets no further' if is_stuck else ''), advise(mirror))


def _read_mirror(examination: Any, holder: str) -> Optional[MirrorState]:
    with examination.context.journal() as journal:
        return read_mirror_state(holder, journal,
                                 examination.context.settings.mirror.enabled)


def _judge_watch(watch: Any) -> Finding:
    name = 'daemon.watching'
    if watch.last_answer is None:
        return doubtful(name, 'the daemon has not noted when XAPI answered it',
                        "'systemctl status vgpu-watcher' says what it waits for")
    saw = f'XAPI answered it {watch.silent_seconds} s ago'
    if watch.since is None:
        return bad(name, f'it waits for XAPI; {saw}', "'systemctl status xapi'")
    saw = f'since {utc(watch.since)}; {saw}'
    if watch.is_late:
        return bad(name, saw, "'systemctl status vgpu-watcher'; see whether XAPI answers")
    return good(name, saw)


def _judge_version(text: Any) -> Finding:
    """Whether the daemon that runs is the one that is installed."""
    version = parse_watch_note(text).version
    if not version:
        return skipped('daemon.version', 'the daemon has not noted it')
    if version != VERSION:
        return doubtful('daemon.version', f'{version} runs, {VERSION} is installed',
                        "'systemctl restart vgpu-watcher'")
    return good('daemon.version', f'{version} runs, as installed')


def _find_faults(path: str, forbidden: int) -> List[str]:
    found = os.stat(path)
    faults = []
    if found.st_uid not in (0, os.geteuid()):
        faults.append(f'{path} belongs to user {found.st_uid}')
    if found.st_mode & forbidden:
        faults.append(f'{path} has mode {stat.S_IMODE(found.st_mode):04o}')
    return faults


CHECKS = (check_registry, check_registry_mode, check_space, check_journal, check_boots,
          check_daemon, check_mirror, check_mirror_key)
