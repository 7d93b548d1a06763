"""The spec: one YAML file that says what the data is, and how a run treats it."""

from elec.spec.dataset import (
    Clicks,
    Cross,
    CrossedField,
    DatasetSpec,
    Entity,
    FieldSpec,
    Kind,
    Label,
    LookBack,
    SideTable,
    Source,
    Split,
    Tables,
    Timestamp,
)
from elec.spec.load import Spec, cache_folder, load_spec, parse_spec, shipped_specs
from elec.spec.rules import OPERATORS, Rule
from elec.spec.run import RunSpec

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
