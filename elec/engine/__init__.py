"""Where the data's work is done: in this process, or in the workers of a Ray cluster. The work itself is written once.

`elec.ingest` and `elec.features` map functions over files and parts of files; an `Engine` says who computes them.
"""

from elec.engine.engine import Engine, LocalEngine, started

__all__ = ["Engine", "LocalEngine", "started"]
