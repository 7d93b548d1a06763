"""Figures of ingest and features."""
