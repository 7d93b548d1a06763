"""Turns raw values into ids: fit once on the training rows, then the same code in training, batch scoring and serving.

The state is `encoder.json` with the fields in order, and for each field with a vocabulary one Arrow file that is mapped.
Crossed fields have no column of their own: they are made of the columns of their parents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from elec.errors import InputError
from elec.features.buckets import Buckets
from elec.features.column_ids import arrow_ids, few_ids
from elec.features.crossed import CrossedVocabulary, Crossing, Parent
from elec.features.encoder_state import SUFFIXES, Code, EncoderState, FieldState, code_of, read_state, version_of
from elec.features.hashed import HashBuckets
from elec.features.list_memo import ListMemo
from elec.features.lookup import SUFFIX
from elec.features.raw import Columns, columns_of
from elec.features.vocabulary import Vocabulary
from elec.spec import CrossedField, DatasetSpec, Entity, FieldSpec, Kind

if TYPE_CHECKING:
    from elec.engine import Engine
    from elec.features.counts import ValueCounts

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


class FeatureEncoder:
    """Encodes rows of raw values as rows of ids.

    Args:
        specs: The fields in the order of their slots; the parents of crossed ones are among them.
        codes: For each field its vocabulary, or its buckets.
    """

    def __init__(self, specs: Sequence[FieldSpec], codes: Sequence[Code]) -> None:
        self._specs = tuple(specs)
        self._codes = tuple(codes)
        self._lists = [ListMemo(spec.width) if spec.kind is Kind.MULTIVALUED else None for spec in self._specs]
        self._crossing = self.crossing(field for field in specs if isinstance(field, CrossedField))
        self.fields: tuple[EncodedField, ...] = tuple(
            EncodedField(spec.name, spec.width, code.size, spec.kind, spec.of)
            for spec, code in zip(self._specs, self._codes, strict=True)
        )

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        """The fields as far as reading their raw values needs them: name, of, kind, separator, max_values."""
        return self._specs

    @property
    def codes(self) -> tuple[Code, ...]:
        """For each field its vocabulary, or its buckets."""
        return self._codes

    @property
    def slots(self) -> int:
        """S: how many ids a row has."""
        return sum(field.width for field in self.fields)

    def extended(self, specs: Sequence[FieldSpec], codes: Sequence[Code]) -> "FeatureEncoder":
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
        import pyarrow.parquet as pq

        from elec.features.counts import ValueCounts
        from elec.progress import Progress

        total = pq.ParquetFile(train).metadata.num_rows
        with ValueCounts() as counts, Progress("fit vocabularies", unit="rows", total=total) as progress:
            counts.add(train, [field for field in dataset.tabular_fields if field.hash_buckets is None], progress=progress)
            return cls.of_counts(dataset.tabular_fields, counts).with_crossed(dataset.crossed_fields, train)

    @classmethod
    def of_counts(cls, fields: Sequence[FieldSpec], counts: "ValueCounts") -> "FeatureEncoder":
        """Learns vocabularies and buckets from what was counted.

        Args:
            fields: The tabular fields in the order of their slots.
            counts: Of the training rows, and of no others.
        """
        codes: list[Code] = []
        for field in fields:
            if field.kind is Kind.NUMERIC:
                codes.append(Buckets.fit(field, counts.numbers(field.name)))
            elif field.hash_buckets is not None:
                codes.append(HashBuckets(field.hash_buckets))
            else:
                codes.append(Vocabulary(counts.frequent(field.name, field.min_count)))
        return cls(fields, codes)

    def with_crossed(self, fields: Sequence[CrossedField], train: Path, engine: "Engine | None" = None) -> "FeatureEncoder":
        """The same encoder with crossed fields behind its own.

        Args:
            fields: Their parents are fields of this encoder.
            train: The Parquet file of the training rows, and of no others.
            engine: Whose workers count; this process when left out.
        """
        # Late: serving fits nothing, and has no DuckDB.
        from elec.features.crossed_fit import fit_crossed

        codes = [
            fit_crossed(field, self._parents(field.parents), train, engine)
            if field.hash_buckets is None
            else HashBuckets(field.hash_buckets)
            for field in fields
        ]
        return self.extended(fields, codes)

    def crossing(self, fields: Iterable[CrossedField]) -> Crossing:
        """Makes some of the crossed fields of what their parents hold, wherever these are read."""
        chosen = list(fields)
        code_of = {spec.name: code for spec, code in zip(self._specs, self._codes, strict=True)}
        codes = [code for field in chosen if isinstance(code := code_of[field.name], CrossedVocabulary | HashBuckets)]
        return Crossing(chosen, codes, self._parents(name for field in chosen for name in field.parents))

    def _parents(self, names: Iterable[str]) -> dict[str, Parent]:
        place_of = {spec.name: place for place, spec in enumerate(self._specs)}
        return {name: Parent(self._specs[place_of[name]], self._codes[place_of[name]]) for name in dict.fromkeys(names)}

    def encode(self, rows: pa.Table | pa.RecordBatch | Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Encodes N rows.

        Args:
            rows: Has a column for every field; values may come in any type that `raw_table` can read.

        Returns:
            int64 [N, S], the fields' slots in order.

        Raises:
            InputError: If a column is missing, or a value cannot be read as its field's kind.
        """
        return np.ascontiguousarray(self.encode_by_slot(rows).T)

    def encode_by_slot(self, rows: pa.Table | pa.RecordBatch | Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
        """What `encode` gives, transposed: int64 [S, N]."""
        columns = columns_of(rows)
        for spec in self._specs:
            if spec.name not in columns and not isinstance(spec, CrossedField):
                raise InputError(f"field '{spec.name}': the column is missing; send it, with null where the value is unknown")
        count = len(next(iter(columns.values()), ()))
        if self._specs and 0 < count <= _FEW:
            return self._encode_few(columns).T
        slots_SN = np.empty((self.slots, count), dtype=np.int64)
        slot = 0
        crossed = iter(self._crossing.all_ids(columns))
        for spec, code in zip(self._specs, self._codes, strict=True):
            if isinstance(spec, CrossedField):
                slots_SN[slot : slot + spec.width] = next(crossed).T
            else:
                slots_SN[slot : slot + spec.width] = arrow_ids(spec, code, columns).T
            slot += spec.width
        return slots_SN

    def _encode_few(self, columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Encodes rows that are not worth Arrow arrays, int64 [N, S]."""
        crossed = iter(self._crossing.all_ids(columns, few=True))
        parts = [
            next(crossed) if isinstance(spec, CrossedField) else few_ids(spec, code, columns, memo)
            for spec, code, memo in zip(self._specs, self._codes, self._lists, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def save(self, folder: Path) -> None:
        """Writes `encoder.json` and the vocabularies into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        states = []
        for spec, code in zip(self._specs, self._codes, strict=True):
            if isinstance(code, Vocabulary | CrossedVocabulary):
                code.save(folder / f"{spec.name}{SUFFIX}")
            states.append(
                FieldState(
                    name=spec.name,
                    of=spec.of,
                    kind=spec.kind,
                    width=spec.width,
                    size=code.size,
                    separator=spec.separator,
                    edges=code.edges if isinstance(code, Buckets) else None,
                    hash_buckets=spec.hash_buckets,
                    parents=spec.parents if isinstance(spec, CrossedField) else None,
                )
            )
        state = EncoderState(schema_version=version_of(states), fields=tuple(states))
        (folder / "encoder.json").write_bytes(orjson.dumps(state.model_dump(mode="json"), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, folder: Path) -> "FeatureEncoder":
        """Reads what `save` wrote.

        Args:
            folder: The folder with `encoder.json`.

        Raises:
            InputError: If the state is not there, is damaged, or is of a schema version that this code does not know.
        """
        state = read_state(folder / "encoder.json")
        suffix = SUFFIXES[state.schema_version]
        specs = []
        codes: list[Code] = []
        for field in state.fields:
            spec = field.spec
            code = code_of(field, folder / f"{field.name}{suffix}")
            if code.size != field.size:
                raise InputError(
                    f"{folder / 'encoder.json'}: field '{field.name}' names {field.size} ids, but has {code.size}; "
                    "take the folder from a whole bundle"
                )
            specs.append(spec)
            codes.append(code)
        return cls(specs, codes)
