"""Where memory comes from while threads read, check and write batches.

The threads ask for blocks of all sizes and free them in any order, often in another thread. Left to itself the C library gives
each thread an arena of its own, and of most arenas the free blocks are never given back: the process grows with the batches
that it has seen, though it holds no more of them. With few arenas it takes what is free already. Arrow's memory is among it:
`elec` has it taken from the C library, too.
"""

import ctypes
from functools import cache

# From glibc's malloc.h.
_ARENA_MAX = -8
_ARENAS = 2


@cache
def share_arenas() -> None:
    """Has all threads take memory from two arenas, from now on; C libraries other than glibc have no such setting.

    The threads ask for few and large blocks, so they do not wait for each other. Arenas that threads have by then stay: this is
    called before any are started.
    """
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError):
        return
