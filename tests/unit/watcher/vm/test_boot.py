"""Boots: every way in which a QEMU comes up, in every order XAPI shows it, and the verdicts."""

import pytest

from tests.unit.watcher.builders import HOST, OTHER_HOST, OTHER_SPAN, SPAN, build_vm
from watcher.vm.boot import (GOOD_VERDICTS, BootFinding, BootKind, Sign, Track, Verdict, follow,
                             judge, resume_track)
from watcher.vm.record import PowerState

NOTHING, UNDER_WAY, ARRIVED, GIVEN_UP = (
    Sign.NOTHING, Sign.UNDER_WAY, Sign.ARRIVED, Sign.GIVEN_UP)
START, REBOOT, RESUME, MIGRATION, UNKNOWN = (
    BootKind.START, BootKind.REBOOT, BootKind.RESUME, BootKind.MIGRATION, BootKind.UNKNOWN)


def halted(operation=None, domid=-1, host=None):
    return build_vm(operation=operation, domid=domid, resident_on=host)


# XAPI lets a clean reboot run beside migrate_send.
REBOOTED_BESIDE = build_vm(
    operations=(('OpaqueRef:task-1', 'migrate_send'), ('OpaqueRef:task-2', 'clean_reboot')),
    power_state=PowerState.RUNNING, domid=8, resident_on=HOST)
AWAITED = halted()._replace(is_awaited=True)


def suspended(operation=None):
    return build_vm(operation=operation, power_state=PowerState.SUSPENDED)


def running(domid, operation=None, host=HOST, power_state=PowerState.RUNNING):
    return build_vm(operation=operation, power_state=power_state, domid=domid, resident_on=host)


def paused(domid, operation=None):
    return running(domid, operation, power_state=PowerState.PAUSED)


def tell(records, track=None):
    """The signs of the records, one after the other: those that say something, with the kind."""
    track, told = track or Track(), []
    for vm in records:
        track, sign, kind = follow(track, vm)
        if sign is not NOTHING:
            told.append((sign, kind) if sign is not GIVEN_UP else GIVEN_UP)
    return told


@pytest.mark.parametrize('records, told', [
    # Start: resident_on, power state, domid, in this order; the operation goes last.
    pytest.param([halted(), halted('start'), running(-1, 'start'), running(7, 'start'),
                  running(7)], [(UNDER_WAY, START), (ARRIVED, START)], id='start'),
    pytest.param([halted(), halted('start'), halted('start', host=HOST), running(7, 'start'),
                  running(7, 'start'), running(7, 'start'), running(7)],
                 [(UNDER_WAY, START), (ARRIVED, START)], id='start-with-the-host-shown-first'),
    pytest.param([halted(), halted('start_on'), running(7, 'start_on'), running(7)],
                 [(UNDER_WAY, START), (ARRIVED, START)], id='start-on-a-host'),
    pytest.param([halted(), running(7)], [(ARRIVED, START)],
                 id='start-of-which-only-the-end-shows'),
    pytest.param([halted(), running(7, 'start'), running(7)], [(ARRIVED, START)],
                 id='start-merged-with-its-domid'),
    pytest.param([halted(), running(-1, 'start'), running(7)],
                 [(UNDER_WAY, START), (ARRIVED, START)], id='start-shown-running-first'),
    pytest.param([halted(), running(-1), running(7)], [(ARRIVED, START)],
                 id='start-shown-running-without-operation-first'),
    pytest.param([halted(), halted('start'), paused(7, 'start'), paused(7), paused(7, 'unpause'),
                  running(7)], [(UNDER_WAY, START), (ARRIVED, START)], id='start-paused'),
    pytest.param([halted(), halted('start'), halted()], [(UNDER_WAY, START), GIVEN_UP],
                 id='start-that-failed'),
    # Reboots.
    pytest.param([running(7), running(7, 'clean_reboot'), running(8, 'clean_reboot'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, REBOOT), (ARRIVED, REBOOT)], id='clean-reboot'),
    pytest.param([running(7), running(7, 'hard_reboot'), running(8, 'hard_reboot'),
                  running(8, 'hard_reboot'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, REBOOT), (ARRIVED, REBOOT)], id='hard-reboot'),
    pytest.param([running(7), running(7, 'clean_reboot'), running(7)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, REBOOT), GIVEN_UP], id='reboot-that-failed'),
    pytest.param([running(7), running(8)], [(ARRIVED, UNKNOWN), (ARRIVED, REBOOT)],
                 id='reboot-inside-the-guest'),
    pytest.param([running(7), running(7, 'snapshot'), running(8, 'snapshot'), running(8)],
                 [(ARRIVED, UNKNOWN), (ARRIVED, REBOOT)],
                 id='reboot-inside-the-guest-during-a-snapshot'),
    pytest.param([running(7), running(8), running(9)],
                 [(ARRIVED, UNKNOWN), (ARRIVED, REBOOT), (ARRIVED, REBOOT)], id='crash-loop'),
    # Suspend and resume.
    pytest.param([suspended(), suspended('resume'), running(-1, 'resume'), running(9, 'resume'),
                  running(9)], [(UNDER_WAY, RESUME), (ARRIVED, RESUME)], id='resume'),
    pytest.param([suspended(), suspended('resume_on'), running(9, 'resume_on'), running(9)],
                 [(UNDER_WAY, RESUME), (ARRIVED, RESUME)], id='resume-on-a-host'),
    pytest.param([suspended(), running(9)], [(ARRIVED, RESUME)],
                 id='resume-of-which-only-the-end-shows'),
    pytest.param([suspended(), running(-1), running(9)], [(ARRIVED, RESUME)],
                 id='resume-shown-running-first'),
    pytest.param([running(7), running(7, 'checkpoint'), suspended('checkpoint'),
                  running(9, 'checkpoint'), running(9)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, RESUME), (ARRIVED, RESUME)], id='checkpoint'),
    # The host stays in the record all along, and Running comes before the new domid.
    pytest.param([running(7), running(7, 'checkpoint'),
                  suspended('checkpoint')._replace(resident_on=HOST, domid=7),
                  running(7, 'checkpoint'), running(9, 'checkpoint'), running(9)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, RESUME), (ARRIVED, RESUME)],
                 id='checkpoint-with-the-old-domid-first'),
    pytest.param([running(7), suspended('revert'), suspended(), suspended('resume'),
                  running(9, 'resume'), running(9)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, RESUME), (ARRIVED, RESUME)],
                 id='resume-after-a-revert-to-a-checkpoint'),
    pytest.param([running(7), running(7, 'suspend'), suspended('suspend'), suspended()],
                 [(ARRIVED, UNKNOWN)], id='suspend-is-no-boot'),
    # Migrations.
    pytest.param([running(7), running(7, 'pool_migrate'), running(7, 'pool_migrate', OTHER_HOST),
                  running(3, 'pool_migrate', OTHER_HOST), running(3, None, OTHER_HOST)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, MIGRATION), (UNDER_WAY, MIGRATION),
                  (UNDER_WAY, MIGRATION), (ARRIVED, MIGRATION)], id='migration-host-before-domid'),
    pytest.param([running(7), running(7, 'migrate_send'), running(8, 'migrate_send'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, MIGRATION), (ARRIVED, MIGRATION)],
                 id='storage-migration-on-the-same-host'),
    pytest.param([running(7), running(7, 'migrate_send'), running(8, 'migrate_send'),
                  running(8, 'migrate_send', OTHER_HOST), running(3, 'migrate_send', OTHER_HOST),
                  running(3, None, OTHER_HOST)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, MIGRATION), (ARRIVED, MIGRATION),
                  (UNDER_WAY, MIGRATION), (UNDER_WAY, MIGRATION), (ARRIVED, MIGRATION)],
                 id='reboot-inside-the-guest-while-the-disks-of-a-migration-are-copied'),
    pytest.param([running(7), running(7, 'migrate_send'), REBOOTED_BESIDE,
                  running(8, 'migrate_send'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, MIGRATION), (ARRIVED, REBOOT)],
                 id='clean-reboot-while-the-disks-of-a-migration-are-copied'),
    pytest.param([running(7), running(3, None, OTHER_HOST)],
                 [(ARRIVED, UNKNOWN), (ARRIVED, MIGRATION)],
                 id='migration-of-which-only-the-end-shows'),
    # From another resource pool: no operation is shown, but the host that awaits the VM.
    pytest.param([halted(), AWAITED, AWAITED._replace(resident_on=HOST), halted(host=HOST),
                  running(-1), running(7)], [(ARRIVED, MIGRATION)], id='arrival'),
    pytest.param([AWAITED, running(7)], [(ARRIVED, MIGRATION)],
                 id='arrival-of-which-only-the-end-shows'),
    pytest.param([AWAITED, halted(), running(7)], [(ARRIVED, START)],
                 id='start-after-an-arrival-that-failed'),
    pytest.param([AWAITED, halted('start'), running(7, 'start'), running(7)],
                 [(UNDER_WAY, START), (ARRIVED, START)], id='start-of-a-vm-that-is-still-awaited'),
    pytest.param([running(7), running(7, 'pool_migrate'), running(7)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, MIGRATION), GIVEN_UP],
                 id='migration-that-failed'),
    # Halting, in the order in which XAPI writes it.
    pytest.param([running(7), running(7, 'clean_shutdown'), halted('clean_shutdown', 7, HOST),
                  halted('clean_shutdown', 7), halted('clean_shutdown'), halted()],
                 [(ARRIVED, UNKNOWN)], id='clean-shutdown'),
    pytest.param([running(7), halted(None, 7, HOST), halted(None, 7), halted()],
                 [(ARRIVED, UNKNOWN)], id='shutdown-inside-the-guest'),
    pytest.param([running(7), halted(), halted('start'), running(8, 'start'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, START), (ARRIVED, START)], id='stop-and-start'),
    pytest.param([running(7), halted('start'), running(8)],
                 [(ARRIVED, UNKNOWN), (UNDER_WAY, START), (ARRIVED, START)],
                 id='stop-and-start-merged'),
    pytest.param([running(7), halted(), running(7)], [(ARRIVED, UNKNOWN), (ARRIVED, START)],
                 id='same-domid-after-a-rest-is-a-new-boot'),
    # Nothing.
    pytest.param([running(7), running(7), running(7, 'snapshot'), paused(7), running(7)],
                 [(ARRIVED, UNKNOWN)], id='same-domain-whatever-else-happens'),
    pytest.param([halted(), halted('clone'), halted()], [], id='clone-of-a-halted-vm'),
    pytest.param([running(-1)], [], id='running-without-a-domid-says-nothing-yet'),
    pytest.param([running(7, host=None)], [], id='running-without-a-host-says-nothing-yet'),
])
def test_boot_is_a_new_domain_of_the_right_kind(records, told):
    assert tell(records) == told


@pytest.mark.parametrize('track, records, told', [
    pytest.param(resume_track((HOST, 7), None, None), [running(7)], [],
                 id='known-domain-is-no-boot'),
    pytest.param(resume_track((HOST, 7), None, None), [running(8)], [(ARRIVED, UNKNOWN)],
                 id='new-domain-of-unknown-kind'),
    pytest.param(resume_track((HOST, 7), None, None), [running(7), running(8)],
                 [(ARRIVED, REBOOT)], id='watched-again-since-the-known-domain-showed'),
    pytest.param(resume_track((HOST, 7), under_way=START, task='OpaqueRef:task-1'),
                 [running(8)],
                 [(ARRIVED, START)], id='open-boot-keeps-its-kind'),
    pytest.param(resume_track(None, under_way=START, task='OpaqueRef:task-1'),
                 [halted('start'), running(8)],
                 [(ARRIVED, START)], id='open-boot-is-not-opened-twice'),
    pytest.param(resume_track(None, under_way=START, task='OpaqueRef:task-1'),
                 [halted()], [GIVEN_UP],
                 id='open-boot-that-came-to-nothing'),
    pytest.param(resume_track((HOST, 7), None, None), [halted(), halted('start'), running(8)],
                 [(UNDER_WAY, START), (ARRIVED, START)], id='rest-is-certain'),
    pytest.param(Track(PowerState.RUNNING, (HOST, 7), is_certain=False),
                 [running(8, host=OTHER_HOST)], [(ARRIVED, UNKNOWN)],
                 id='unwatched-change-of-host'),
])
def test_interruption_neither_repeats_nor_guesses_a_boot(track, records, told):
    assert tell(records, track) == told


@pytest.mark.parametrize('kind, desired, staged, finding, verdict', [
    pytest.param(START, SPAN, SPAN, BootFinding(SPAN, SPAN), Verdict.AS_DESIRED, id='as-desired'),
    pytest.param(START, None, '', BootFinding(None), Verdict.AS_DESIRED, id='nothing-desired'),
    pytest.param(RESUME, SPAN, None, BootFinding(SPAN), Verdict.AS_DESIRED, id='resumed-as-desired'),
    pytest.param(REBOOT, SPAN, OTHER_SPAN, BootFinding(OTHER_SPAN, OTHER_SPAN), Verdict.PENDING,
                 id='took-what-was-staged-while-a-change-waits'),
    pytest.param(REBOOT, SPAN, '', BootFinding(None), Verdict.PENDING,
                 id='took-nothing-while-a-registration-waits'),
    pytest.param(REBOOT, None, SPAN, BootFinding(SPAN), Verdict.PENDING,
                 id='took-the-span-while-its-removal-waits'),
    pytest.param(RESUME, SPAN, SPAN, BootFinding(OTHER_SPAN), Verdict.FROZEN, id='resumed-with-others'),
    pytest.param(MIGRATION, SPAN, OTHER_SPAN, BootFinding(OTHER_SPAN), Verdict.FROZEN,
                 id='migrated-with-what-it-booted-with'),
    pytest.param(RESUME, SPAN, SPAN, BootFinding(None), Verdict.FROZEN, id='resumed-without'),
    pytest.param(START, SPAN, SPAN, BootFinding(OTHER_SPAN, OTHER_SPAN), Verdict.STALE,
                 id='took-something-else'),
    pytest.param(START, SPAN, None, BootFinding(OTHER_SPAN), Verdict.STALE,
                 id='took-something-else-and-nobody-knows-what-was-staged'),
    pytest.param(START, None, '', BootFinding(SPAN), Verdict.STALE, id='took-what-nobody-desires'),
    pytest.param(START, SPAN, SPAN, BootFinding(None), Verdict.MISSING, id='took-nothing'),
    pytest.param(UNKNOWN, SPAN, None, BootFinding(None), Verdict.MISSING, id='found-without'),
    pytest.param(START, SPAN, SPAN, BootFinding(None, SPAN), Verdict.NOT_CONSUMED,
                 id='delivered-and-not-consumed'),
    pytest.param(RESUME, SPAN, SPAN, BootFinding(None, SPAN), Verdict.NOT_CONSUMED,
                 id='delivered-to-a-resume-and-not-consumed'),
    pytest.param(START, None, '', BootFinding(None, SPAN, is_withheld=True), Verdict.WITHHELD,
                 id='withheld-from-a-vm-without-a-row'),
    pytest.param(START, SPAN, SPAN, BootFinding(None, SPAN, is_withheld=True), Verdict.WITHHELD,
                 id='withheld-and-registered-meanwhile'),
    pytest.param(START, SPAN, SPAN, BootFinding(SPAN, SPAN, is_withheld=True), Verdict.AS_DESIRED,
                 id='qemu-has-it-whatever-the-consumer-says'),
    pytest.param(START, SPAN, SPAN, BootFinding(SPAN, is_readable=False), Verdict.UNVERIFIED,
                 id='nobody-could-look'),
    pytest.param(START, None, '', BootFinding(None, is_readable=False), Verdict.UNVERIFIED,
                 id='nobody-could-look-where-nothing-is-desired'),
])
def test_verdict_compares_what_runs_with_what_was_desired(kind, desired, staged, finding, verdict):
    assert judge(kind, desired, frozenset([] if staged is None else [staged]), finding) is verdict


def test_only_what_was_seen_to_be_right_or_waits_for_a_change_is_good():
    assert GOOD_VERDICTS == {Verdict.AS_DESIRED, Verdict.PENDING}
