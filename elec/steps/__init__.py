"""The steps of a retraining run: each takes plain paths, calls one room of the library, and records what it did.

A Kubeflow component calls one of these functions; so can any other orchestrator, or a test.
"""
