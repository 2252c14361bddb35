"""The keys of a record's other_config that hold an entry of the mirror. Pure.

There are two slots, so that an entry is replaced by adding the new one before the old one goes.
Beside each slot stand its code, and of the pool's entry what did not fit into it, in keys of their
own: a host with version 0.1 reads the slots and nothing else.
"""

SLOTS = ('vgpu-watcher-1', 'vgpu-watcher-2')
CODE = '-code'
MORE = '-more-'
MAX_PARTS = 64

ENTRY_KEYS = frozenset(SLOTS) | frozenset(slot + CODE for slot in SLOTS)
# Those of the pool's record alone.
PART_KEYS = frozenset(slot + MORE + str(number) for slot in SLOTS
                      for number in range(1, MAX_PARTS + 1))
