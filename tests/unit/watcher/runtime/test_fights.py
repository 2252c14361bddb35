"""Fights: counted by what we undo, paused longer each time, ended by calm or an edit."""

from watcher.runtime.fights import CALM_SECONDS, PAUSE_SECONDS, UNDONE_AT_MOST, Fights

VM = 'OpaqueRef:vm-10'


def fight(fights, now=100.0):
    """Write until it is a fight; when."""
    for _write in range(UNDONE_AT_MOST + 1):
        begins = fights.note_write(VM, now)
        now += 0.1
    assert begins
    return now - 0.1


def test_first_write_and_five_that_undo_are_no_fight_yet():
    fights = Fights()
    assert [fights.note_write(VM, 100.0 + at) for at in range(UNDONE_AT_MOST)] == [False] * 5
    assert VM not in fights.keys and fights.paused_until(VM, 105.0) == 105.0


def test_writes_over_a_longer_time_are_none():
    fights = Fights()
    assert not any(fights.note_write(VM, 100.0 + 3.0 * at) for at in range(50))


def test_pauses_grow_to_half_a_minute():
    fights, pauses = Fights(), []
    now = fight(fights)
    for _round in range(8):
        until = fights.paused_until(VM, now)
        pauses.append(round(until - now, 3))
        now = until
        assert not fights.note_write(VM, now)
    assert pauses == list(PAUSE_SECONDS) + [30.0, 30.0]


def test_calm_ends_it_and_so_does_an_edit():
    fights = Fights()
    now = fight(fights)
    fights.expire(VM, now + CALM_SECONDS)
    assert VM in fights.keys
    fights.expire(VM, now + CALM_SECONDS + 1.0)
    assert VM not in fights.keys
    fight(fights, 1000.0)
    fights.forget(VM)
    assert fights.paused_until(VM, 1001.0) == 1001.0


def test_calm_is_longer_than_the_longest_pause():
    assert CALM_SECONDS > PAUSE_SECONDS[-1]
