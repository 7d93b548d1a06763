"""Encoded rows with the item's semantic ids as further fields, and the encoder that encodes them in service."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.encoded import EncodedWriter
from elec.features.encoding import FeatureEncoder
from elec.features.ids import OUT_OF_VOCABULARY
from elec.features.vocabulary import Vocabulary
from elec.spec import Entity, FieldSpec
from elec.students.semantic_ids import field_names

_ROWS_AT_ONCE = 65_536


def write_encoded(
    features: Path, folder: Path, of_row: Mapping[str, np.ndarray[Any, Any]], prefixes: Sequence[pa.StringArray]
) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
    """Writes `encoded/` and `vocabulary/` as the features have them, with the fields of the semantic ids appended.

    Args:
        features: Folder with `encoded/` and `vocabulary/`.
        folder: To write into.
        of_row: By split, int32 [N]: the text of each row's item.
        prefixes: For each level, string [I]: the prefix of each text.

    Returns:
        The number of ids of each new field; by split and new field, the share of rows out of vocabulary.

    Raises:
        InputError: If the data set has a field of such a name.
    """
    encoder = FeatureEncoder.load(features / "vocabulary")
    specs = [FieldSpec(name=name, of=Entity.ITEM) for name in field_names(len(prefixes))]
    taken = {spec.name for spec in encoder.specs} & {spec.name for spec in specs}
    if taken:
        raise InputError(f"field '{min(taken)}': the name is that of a semantic id; rename the field in the data set's spec")
    shown_I = np.bincount(of_row["train"], minlength=len(prefixes[0]))
    codes = [_vocabulary(spec, prefix, shown_I) for spec, prefix in zip(specs, prefixes, strict=True)]
    encoder.extended(specs, codes).save(folder / "vocabulary")
    ids_IL = np.stack([code.ids(prefix) for code, prefix in zip(codes, prefixes, strict=True)], axis=1)
    (folder / "encoded").mkdir()
    unknown = {}
    for split, numbers in of_row.items():
        _append(features / "encoded" / f"{split}.parquet", folder / "encoded" / f"{split}.parquet", numbers, ids_IL)
        share_L = (ids_IL[numbers] == OUT_OF_VOCABULARY).mean(axis=0) if len(numbers) else np.zeros(len(specs))
        unknown[split] = {spec.name: float(share) for spec, share in zip(specs, share_L, strict=True)}
    return {spec.name: code.size for spec, code in zip(specs, codes, strict=True)}, unknown


def _vocabulary(field: FieldSpec, prefix: pa.StringArray, shown_I: np.ndarray[Any, Any]) -> Vocabulary:
    """The prefixes that train rows have often enough, most frequent first, as `Vocabulary.fit` orders them."""
    counted = pa.table({"value": prefix, "rows": shown_I}).group_by("value").aggregate([("rows", "sum")])
    counted = counted.filter(pc.greater_equal(counted["rows_sum"], field.min_count))
    counted = counted.sort_by([("rows_sum", "descending"), ("value", "ascending")])
    return Vocabulary(counted["value"].combine_chunks())


def _append(source: Path, target: Path, numbers: np.ndarray[Any, Any], ids_IL: np.ndarray[Any, Any]) -> None:
    """Copies encoded rows with the ids of the semantic fields behind their slots."""
    start = 0
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow
        slots = schema.field("slots").type.list_size
        place = schema.get_field_index("slots")
        wider = schema.set(place, pa.field("slots", pa.list_(pa.int64(), slots + ids_IL.shape[1])))
        with EncodedWriter(target, wider) as writer:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                slots_NS = batch.column(place).flatten().to_numpy().reshape(-1, slots)
                both = np.concatenate([slots_NS, ids_IL[numbers[start : start + len(batch)]]], axis=1)
                columns = batch.columns
                columns[place] = pa.FixedSizeListArray.from_arrays(pa.array(both.reshape(-1)), both.shape[1])
                writer.write(pa.record_batch(columns, schema=wider))
                start += len(batch)
    if start != len(numbers):
        raise AssertionError(f"{source} has {start} rows, its texts {len(numbers)}")
