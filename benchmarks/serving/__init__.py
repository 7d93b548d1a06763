"""How fast serving is: each figure against its rival in one run, as a ratio."""
