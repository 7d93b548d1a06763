"""Aggregates: counts and click-through rates over look-back windows, as Feast views of their own."""
