"""The worlds that are explored: what the VM carries at first, and who may do what how often.

Many small worlds with different liberties see more than one in which everything may happen: what
matters are the orders of a few things, and a budget of one of each is enough for most.
"""

from typing import Any, Dict, NamedTuple, Optional

from tests.unit.watcher.builders import OTHER_SPAN, SPAN
from tests.verification.model_checker.world import World

_DESIRED, _DRIFTED, _FOREIGN = '-a ' + SPAN, '-a ' + OTHER_SPAN, '-a'


class Plot(NamedTuple):
    """A world to be explored, and how deep in CI."""
    args: Optional[str]
    depth: int
    states: int
    """As many are there at least, to that depth."""
    setting: Dict[str, Any]

    def build(self) -> World:
        """The world at its beginning."""
        return World(self.args, **self.setting)


def _plot(args: Optional[str], depth: int, states: int, **setting: Any) -> Plot:
    return Plot(args, depth, states, setting)


WORLDS: Dict[str, Plot] = {
    'replacement-killed-and-answers-lost': _plot(_DRIFTED, 11, 1500, start=1, crash=1, cut=1),
    'replacement-killed-twice': _plot(_DRIFTED, 12, 1600, start=1, crash=2),
    'answers-lost': _plot(_DRIFTED, 11, 900, start=1, cut=2),
    'second-writer': _plot(_DRIFTED, 8, 1200, start=1, meddle=1, edit=1),
    'second-writer-and-crash': _plot(_DESIRED, 8, 2900, start=1, meddle=1, crash=1, edit=1),
    'second-writer-twice': _plot(_FOREIGN, 8, 2100, start=1, meddle=2),
    'whole-map-write': _plot(_DRIFTED, 11, 2300, start=1, whole_map=1, edit=1, start_fails=1),
    'rests-for-less-than-xapi-takes-to-settle': _plot(
        _DESIRED, 11, 600, start=2, edit=1, step_seconds=0.04),
    'guest-reboots-and-edit': _plot(_DESIRED, 11, 1000, start=1, reboot=1, api_reboot=1, edit=1),
    'suspend-and-edit': _plot(_DESIRED, 11, 1600, start=1, suspend=1, edit=1, crash=1),
    'migration-and-outage': _plot(_DESIRED, 10, 1100, start=2, migrate=1, edit=1, **{'break': 1}),
    'revert': _plot(_DESIRED, 11, 3000, snapshot=_DRIFTED, revert=1, start=1, edit=1, crash=1),
    'revert-of-a-suspended-vm': _plot(
        _DESIRED, 14, 1800, snapshot=_FOREIGN, revert=1, start=1, suspend=1),
    'clone': _plot(_DESIRED, 9, 2400, clone=1, start=1, crash=1, edit=1),
    'clone-that-others-block': _plot(
        _DESIRED, 9, 1600, clone=1, block=1, unblock=1, start=1, crash=1),
    'clone-while-the-row-changes': _plot(
        _DESIRED, 8, 2100, clone=1, destroy=1, number=1, remove=1, start=1),
    'number-that-somebody-bears': _plot(
        _DESIRED, 9, 3400, other=_DESIRED, number=1, start=1, remove=1, crash=1),
    'row-removed-and-pool-disabled': _plot(
        SPAN, 9, 2200, start=1, disable=1, remove=1, crash=1, cut=1),
    'registry-of-others': _plot(
        _DRIFTED, 11, 3400, is_accepted=False, accept=1, start=1, disable=1, crash=1),
    'nothing-there-yet': _plot(None, 8, 1300, start=2, edit=1, crash=1, disable=1),
    # P2, P7: a stop, an edit, a write of the map and a start, between any two calls.
    'restart-and-edit': _plot(_DESIRED, 12, 1000, start=2, edit=1),
    'restart-and-two-edits': _plot(_DESIRED, 10, 1300, start=1, edit=1, number=1),
    'restart-two-edits-and-kill': _plot(_DESIRED, 8, 1200, start=1, edit=1, number=1, crash=1),
    'restart-edit-and-kill': _plot(_DESIRED, 10, 900, start=1, edit=1, crash=1),
    'map-that-the-start-completes': _plot(
        _DRIFTED, 10, 830, settles_platform=True, start=2, edit=1, crash=1),
    # P6: what runs has its number until it rests, whatever its record says.
    'number-by-hand-while-it-runs': _plot(
        _DESIRED, 8, 1200, peers=1, start=1, hand=1, reboot=1, rotate=1),
    'number-by-hand-and-kill': _plot(
        _DESIRED, 7, 1300, peers=1, start=1, hand=1, rotate=1, crash=1),
    # P10: numbers that are swapped and rotated.
    'swap': _plot(_DESIRED, 10, 1100, peers=1, start=1, rotate=1),
    'swap-and-kill': _plot(_DESIRED, 9, 1500, peers=1, start=1, rotate=1, crash=1),
    'swap-and-back': _plot(_DESIRED, 9, 1100, peers=1, start=1, rotate=2),
    'swap-and-reboot': _plot(_DESIRED, 9, 1000, peers=1, start=1, rotate=1, reboot=1, cut=1),
    'swap-and-another-master': _plot(_DESIRED, 9, 1100, peers=1, start=1, rotate=1, master=1),
    'rotation-of-three': _plot(_DESIRED, 9, 1100, peers=2, start=1, rotate=1),
    'rotation-of-three-and-kill': _plot(_DESIRED, 12, 800, peers=2, rotate=1, crash=1, master=1),
    # P10: copies of a VM that is gone, or a template by now.
    'copy-of-a-vm-that-is-gone': _plot(
        _DESIRED, 8, 1000, clone=1, gone=1, template=1, start=1, crash=1),
    'rows-vm-gone-and-number-moved': _plot(
        _DESIRED, 8, 1000, peers=1, gone=1, template=1, rotate=1, start=1),
    # P26: what the consumer gives and withholds, by the file of the numbers.
    'stolen-by-a-clone': _plot(
        _DESIRED, 5, 220, consumer='confirmed', clone=1, start=2, crash=1, doze=1),
    'stolen-while-rows-change': _plot(
        _DESIRED, 5, 290, consumer='confirmed', clone=1, start=2, number=1, remove=1),
    'stolen-and-consumer-paused': _plot(
        _DESIRED, 5, 140, consumer='confirmed', clone=1, start=2, pause=1),
    'stolen-with-a-stale-file': _plot(
        _DESIRED, 5, 140, consumer='stale', clone=1, start=2, crash=1),
    'stolen-without-a-file': _plot(
        _DESIRED, 5, 160, consumer='absent', clone=1, start=2, crash=1),
    'suspended-with-anothers-number': _plot(
        _DESIRED, 5, 160, consumer='confirmed', suspended=_DESIRED, start=2, reboot=1, crash=1),
    'receipts-through-restarts': _plot(
        _DESIRED, 10, 700, start=1, reboot=2, crash=1, **{'break': 1}),
}
