"""elec: a small click-through-rate model, taught by a large language model, retrained on schedule."""

__version__ = "0.1.0"
