"""Ingest: raw logs become labelled, validated, split Parquet, and a list of what was refused and why."""

from elec.ingest.report import ALWAYS, SPLITS, Ingested, IngestReport, TableReport
from elec.ingest.run import ingest

__all__ = ["ALWAYS", "SPLITS", "IngestReport", "Ingested", "TableReport", "ingest"]
