"""Keeps freed memory in the process, so that the tensors of one step take the memory of those of the last."""

import ctypes
from functools import cache

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = (1 << 28, 1 << 25)
_NEVER_TRIM = (1 << 31) - 1


@cache
def keep_freed_memory() -> bool:
    """Tells glibc not to give freed memory back to the kernel; once a process is enough.

    By default blocks of some megabytes, which the tensors of a batch are, go back when they are freed, and the kernel clears
    every page of them when the next step asks again. With the dense half in bfloat16 that takes as long as half of the
    computation. The process stays as large as it was at its largest.

    Returns:
        Whether it does; other C libraries have no such setting.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # The limit for blocks of their own differs between versions of glibc; a value above it is refused.
    kept = any(set_option(_MMAP_THRESHOLD, size) for size in _LARGEST_KEPT)
    return bool(kept and set_option(_TRIM_THRESHOLD, _NEVER_TRIM))
