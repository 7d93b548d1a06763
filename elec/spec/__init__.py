"""The spec: one YAML file that says what the data is, and how a run treats it."""

from elec.spec.dataset import DatasetSpec, Label, LookBack, Split, Timestamp
from elec.spec.fields import Cross, CrossedField, Entity, FieldSpec, Kind
from elec.spec.load import Spec, cache_folder, load_spec, parse_spec, shipped_specs
from elec.spec.rules import OPERATORS, Rule
from elec.spec.run import RunSpec
from elec.spec.sources import Clicks, SideTable, Source, Tables

__all__ = [
    "OPERATORS",
    "Clicks",
    "Cross",
    "CrossedField",
    "DatasetSpec",
    "Entity",
    "FieldSpec",
    "Kind",
    "Label",
    "LookBack",
    "Rule",
    "RunSpec",
    "SideTable",
    "Source",
    "Spec",
    "Split",
    "Tables",
    "Timestamp",
    "cache_folder",
    "load_spec",
    "parse_spec",
    "shipped_specs",
]
