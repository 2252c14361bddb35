"""Puts a Watcher together, from the bottom up: the only place where its parts meet.

Each part is built from those before it and handed on. Two arrows run back: what a boot teaches
about numbers, and that a rebuilt registry has to be read.
"""

import time
from typing import Callable

from watcher.boots.observer import BootObserver
from watcher.boots.receipts import Receipts
from watcher.config.settings import MirrorSettings
from watcher.daemon import Watcher
from watcher.job_dispatch import JobDispatch
from watcher.loop.loop import JobQueue
from watcher.mirror.mirror import Mirroring
from watcher.mirror.witnesses import Witnesses
from watcher.numbers_keeper import NumberKeeper
from watcher.staging.block_lifting import Lifting
from watcher.staging.notices import DaemonNotices
from watcher.staging.review import Reviews
from watcher.staging.scan import Scanning
from watcher.staging.stager import Staging
from watcher.state.change_filter import ChangeFilter
from watcher.state.inventory import Inventory
from watcher.state.journal_queue import JournalQueue
from watcher.state.number_claims import NumberClaims
from watcher.state.registry_changes import RegistryChanges
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.vm.plan import Policy
from watcher.xapi.callers import Callers


def build_watcher(view: RegistryView, policy: Policy, *, callers: Callers, inspectors: JobQueue,
                  restart_stream: Callable[[], None],
                  clock: Callable[[], float] = time.monotonic,
                  wall: Callable[[], float] = time.time,
                  mirror: MirrorSettings = MirrorSettings()) -> Watcher:
    """Build a Watcher over a registry; its jobs go to `callers` and `inspectors`."""
    inventory, permit, journal_queue = Inventory(), WritePermit(), JournalQueue(view)
    dispatch = JobDispatch(callers, inventory, permit, clock)
    notices = DaemonNotices(view, clock)
    changes = RegistryChanges(view, notices.tell, clock)
    receipts = Receipts(inspect=inspectors.submit, write=journal_queue.add, say=journal_queue.say,
                        clock=clock, wall=wall)
    number_claims = NumberClaims(view, inventory, journal_queue.add, receipts.newest.find)
    receipts.newest.on_change = number_claims.note_boot
    staging = Staging(view, inventory, number_claims, carry_out=dispatch.carry_out,
                      reread=dispatch.reread, write=journal_queue.add)
    reviews = Reviews(inventory, staging, number_claims, permit, clock)
    mirroring = Mirroring(
        view, inventory, permit, settings=mirror, submit=dispatch.write_mirror,
        poll=lambda: watcher.poll_registry(), write=journal_queue.add, review=reviews.at_touched,
        witnesses=Witnesses(dispatch.list_hosts, dispatch.ask_host))
    watcher = Watcher(
        view, policy, inventory, permit, journal_queue=journal_queue, dispatch=dispatch,
        notices=notices, changes=changes, change_filter=ChangeFilter(inventory, staging.calm),
        number_claims=number_claims, receipts=receipts,
        boot_observer=BootObserver(view, inventory, staging, receipts, clock), staging=staging,
        lifting=Lifting(dispatch.lift), reviews=reviews,
        scanning=Scanning(view, inventory, staging, permit, review=reviews.at,
                          reread=dispatch.reread_later, clock=clock),
        mirroring=mirroring, numbers=NumberKeeper(view, inventory, permit, mirroring),
        callers=callers, restart_stream=restart_stream, clock=clock, wall=wall)
    return watcher
