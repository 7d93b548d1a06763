"""What a student may read besides the tabular fields, made from text vectors before any request: semantic ids and vectors.

Nothing here imports torch, so that the serving side can assign codes and look vectors up.
"""
