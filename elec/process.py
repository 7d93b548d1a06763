"""Processes that end together: what a command starts does not outlive it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Has the kernel kill this process when the one that started it ends, however that ends.

    Args:
        parent: The process id of the one that started it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have ended before the line above.
    if os.getppid() != parent:
        sys.exit(1)
