"""Evidence: cells of (data set, arm, seed, settings), computed once, and the tables and plots made of them."""
