"""The spec: one YAML file that says what the data is, and how a run treats it."""

from elec.spec.dataset import DatasetSpec, Entity, FieldSpec, Kind, Label, SideTable, Source, Split, Tables, Timestamp
from elec.spec.load import Spec, cache_folder, load_spec, parse_spec, shipped_specs
from elec.spec.rules import OPERATORS, Rule
from elec.spec.run import RunSpec

__all__ = [
    "OPERATORS",
    "DatasetSpec",
    "Entity",
    "FieldSpec",
    "Kind",
    "Label",
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
