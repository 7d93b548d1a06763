"""elec: a small click-through-rate model, taught by a large language model, retrained on schedule."""

import os

__version__ = "0.1.0"

# Arrow reads it when it is loaded. Its own allocators keep freed memory to themselves: numpy's arrays could not use it, and it
# grows with the batches that threads work on; see `elec.memory`.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
