"""Turns raw values into ids: fit once on the training rows, then the same code in training, batch scoring and serving.

The state is `encoder.json` with the fields in order, and for each field with a vocabulary one Arrow file that is mapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from elec.errors import InputError
from elec.features.buckets import Buckets
from elec.features.engine import duckdb_connection
from elec.features.lookup import SUFFIX
from elec.features.raw import Columns, arrow_column, columns_of, few_values
from elec.features.vocabulary import Vocabulary
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind

#: Of the saved state; raised whenever a reader of the old state would encode differently, or not at all.
SCHEMA_VERSION = 2

#: What this code reads, and how the vocabularies' names end in each.
_SUFFIXES = {1: ".parquet", SCHEMA_VERSION: SUFFIX}


# Up to so many rows Python's own values are faster than Arrow's arrays.
_FEW = 512


@dataclass(frozen=True)
class EncodedField:
    """What the model needs to know of a field.

    Attributes:
        name: The field.
        width: How many id slots it takes.
        size: How many ids it has: padding, missing, out of vocabulary, then its values.
        kind: What it holds.
        of: Whom it describes.
    """

    name: str
    width: int
    size: int
    kind: Kind
    of: Entity = Entity.CONTEXT


class _FieldState(BaseModel):
    """A field in `encoder.json`: how to read its raw values, and the number of its ids."""

    model_config = ConfigDict(extra="forbid")

    name: str
    of: Entity
    kind: Kind
    width: int
    size: int
    separator: str
    edges: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _is_a_field(self) -> Self:
        assert self.spec.width == self.width, f"a {self.kind} field has {self.spec.width} slots, not {self.width}"
        return self

    @property
    def spec(self) -> FieldSpec:
        """The field, as far as reading its raw values needs it."""
        values = self.width if self.kind is Kind.MULTIVALUED else 1
        return FieldSpec(name=self.name, of=self.of, kind=self.kind, separator=self.separator, max_values=values)


class _State(BaseModel):
    """`encoder.json`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int
    fields: tuple[_FieldState, ...]


class FeatureEncoder:
    """Encodes rows of raw values as rows of ids.

    Args:
        specs: The tabular fields in the order of their slots.
        codes: For each field its vocabulary, or its buckets.
    """

    def __init__(self, specs: Sequence[FieldSpec], codes: Sequence[Vocabulary | Buckets]) -> None:
        self._specs = tuple(specs)
        self._codes = tuple(codes)
        self.fields: tuple[EncodedField, ...] = tuple(
            EncodedField(spec.name, spec.width, code.size, spec.kind, spec.of)
            for spec, code in zip(self._specs, self._codes, strict=True)
        )

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        """The fields as far as reading their raw values needs them: name, of, kind, separator, max_values."""
        return self._specs

    @property
    def codes(self) -> tuple[Vocabulary | Buckets, ...]:
        """For each field its vocabulary, or its buckets."""
        return self._codes

    @property
    def slots(self) -> int:
        """S: how many ids a row has."""
        return sum(field.width for field in self.fields)

    def extended(self, specs: Sequence[FieldSpec], codes: Sequence[Vocabulary | Buckets]) -> "FeatureEncoder":
        """The same encoder with more fields behind its own.

        Args:
            specs: The further fields in the order of their slots.
            codes: For each of them its vocabulary, or its buckets.
        """
        return FeatureEncoder((*self._specs, *specs), (*self._codes, *codes))

    @classmethod
    def fit(cls, dataset: DatasetSpec, train: Path) -> "FeatureEncoder":
        """Learns vocabularies and buckets.

        Args:
            dataset: Names the fields, their least counts and buckets.
            train: The Parquet file of the training rows, and of no others.
        """
        # Late: serving fits nothing, and its start shall not wait for the progress bar's import.
        from elec.progress import Progress

        codes: list[Vocabulary | Buckets] = []
        fields = dataset.tabular_fields
        with duckdb_connection() as connection, Progress("fit vocabularies", unit="fields", total=len(fields)) as progress:
            for field in fields:
                fit = Buckets.fit if field.kind is Kind.NUMERIC else Vocabulary.fit
                codes.append(fit(connection, field, train))
                progress.advance(1, note=field.name)
        return cls(fields, codes)

    def encode(self, rows: pa.Table | pa.RecordBatch | Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Encodes N rows.

        Args:
            rows: Has a column for every field; values may come in any type that `raw_table` can read.

        Returns:
            int64 [N, S], the fields' slots in order.

        Raises:
            InputError: If a column is missing, or a value cannot be read as its field's kind.
        """
        columns = columns_of(rows)
        for spec in self._specs:
            if spec.name not in columns:
                raise InputError(f"field '{spec.name}': the column is missing; send it, with null where the value is unknown")
        count = len(next(iter(columns.values()), ()))
        if self._specs and 0 < count <= _FEW:
            return self._encode_few(columns)
        slots_NS = np.empty((count, self.slots), dtype=np.int64)
        slot = 0
        for spec, code in zip(self._specs, self._codes, strict=True):
            slots_NS[:, slot : slot + spec.width] = _arrow_ids(spec, code, columns)
            slot += spec.width
        return slots_NS

    def _encode_few(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Encodes rows that are not worth Arrow arrays."""
        slots: list[Sequence[int]] = []
        for spec, code in zip(self._specs, self._codes, strict=True):
            column = columns[spec.name]
            if spec.kind is Kind.CATEGORICAL and isinstance(code, Vocabulary) and (ids := code.at_hand(column)) is not None:
                slots.append(ids)
                continue
            values = few_values(spec, column)
            if values is None:
                slots += _arrow_ids(spec, code, columns).T.tolist()
            elif spec.kind is Kind.MULTIVALUED:
                assert isinstance(code, Vocabulary)
                slots += code.few_list_ids(values, spec.width)
            else:
                slots.append(code.few_ids(values))
        return np.ascontiguousarray(np.array(slots, dtype=np.int64).T)

    def save(self, folder: Path) -> None:
        """Writes `encoder.json` and the vocabularies into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        states = []
        for spec, code in zip(self._specs, self._codes, strict=True):
            edges = None
            if isinstance(code, Buckets):
                edges = code.edges
            else:
                code.save(folder / f"{spec.name}{SUFFIX}")
            states.append(
                _FieldState(
                    name=spec.name,
                    of=spec.of,
                    kind=spec.kind,
                    width=spec.width,
                    size=code.size,
                    separator=spec.separator,
                    edges=edges,
                )
            )
        state = _State(schema_version=SCHEMA_VERSION, fields=tuple(states))
        (folder / "encoder.json").write_bytes(orjson.dumps(state.model_dump(mode="json"), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, folder: Path) -> "FeatureEncoder":
        """Reads what `save` wrote.

        Args:
            folder: The folder with `encoder.json`.

        Raises:
            InputError: If the state is not there, is damaged, or is of a schema version that this code does not know.
        """
        state = _read_state(folder / "encoder.json")
        suffix = _SUFFIXES[state.schema_version]
        specs = []
        codes: list[Vocabulary | Buckets] = []
        for field in state.fields:
            spec = field.spec
            code = (
                Buckets(field.edges)
                if field.kind is Kind.NUMERIC
                else Vocabulary.load(folder / f"{field.name}{suffix}", field.size)
            )
            if code.size != field.size:
                raise InputError(
                    f"{folder / 'encoder.json'}: field '{field.name}' names {field.size} ids, but has {code.size}; "
                    "take the folder from a whole bundle"
                )
            specs.append(spec)
            codes.append(code)
        return cls(specs, codes)


def _arrow_ids(spec: FieldSpec, code: Vocabulary | Buckets, columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The ids of N values of a field, int64 [N, width]."""
    values = arrow_column(spec, columns[spec.name])
    if spec.kind is Kind.MULTIVALUED:
        assert isinstance(code, Vocabulary)
        return code.list_ids(values, spec.width)
    return code.ids(values)[:, None]


def _read_state(file: Path) -> _State:
    try:
        content = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; give the folder of a vocabulary") from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"{file}: not valid JSON ({error}); take the folder from a whole bundle") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version not in _SUFFIXES:
        known = " and ".join(map(str, _SUFFIXES))
        raise InputError(
            f"{file}: schema_version is {version!r}, this code knows {known}; use the version of elec that wrote it"
        )
    try:
        return _State.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{file}: '{where}' is wrong ({problem['msg']}); take the folder from a whole bundle") from None
