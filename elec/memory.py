"""Where memory comes from while threads read, check and write batches.

The threads ask for blocks of all sizes and free them in any order, often in another thread. Left to itself the C library gives
each thread an arena of its own, and of most arenas the free blocks are never given back: the process grows with the batches
that it has seen, though it holds no more of them. From one arena it takes what is free already. Arrow's memory is among it:
`elec` has it taken from the C library, too.
"""

import ctypes
from functools import cache

# From glibc's malloc.h.
_ARENA_MAX = -8


@cache
def share_one_arena() -> None:
    """Has all threads take memory from one arena, from now on; C libraries other than glibc have no such setting.

    The threads ask for few and large blocks, so they do not wait for each other.
    """
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
    except (AttributeError, OSError):
        return
