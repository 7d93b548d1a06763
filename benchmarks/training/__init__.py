"""How fast the training engine is: each figure against its rival in one run, as a ratio."""
