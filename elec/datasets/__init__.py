"""Data sets that come with elec: their specs (YAML), and how to fetch the ones that may be fetched."""

from elec.datasets.fetch import fetch

__all__ = ["fetch"]
