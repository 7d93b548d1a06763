"""Serving: the bundle, the predictor and the server. Nothing here imports torch but `export`, which training calls."""
