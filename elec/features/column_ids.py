"""The ids of one column's values: of an Arrow array, or of a few Python values."""

from typing import Any

import numpy as np
import pyarrow as pa

from elec.features.crossed import CrossedVocabulary
from elec.features.encoder_state import Code
from elec.features.ids import MISSING
from elec.features.list_memo import ListMemo
from elec.features.lists import TextIds
from elec.features.raw import Columns, arrow_column, few_values, is_coded
from elec.features.vocabulary import Vocabulary
from elec.spec import FieldSpec, Kind


def few_ids(spec: FieldSpec, code: Code, columns: Columns, memo: ListMemo | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """What `arrow_ids` gives, of values that are not worth an Arrow array; the memo is a multi-valued field's."""
    column = columns[spec.name]
    # What was asked for lately needs no reading.
    if isinstance(column, list) and (ids_NW := _ids_at_hand(spec, code, column, memo)) is not None:
        return ids_NW
    values = few_values(spec, column)
    if values is None:
        return arrow_ids(spec, code, columns)
    if memo is None:
        assert not isinstance(code, CrossedVocabulary)
        return np.array(code.few_ids(values), dtype=np.int64)[:, None]
    assert isinstance(code, TextIds)
    if values is not column and (ids_NW := memo.find(values)) is not None:
        return ids_NW
    ids_NW = np.array(code.few_list_ids(values, spec.width), dtype=np.int64).T
    memo.keep(values, ids_NW)
    return ids_NW


def _ids_at_hand(
    spec: FieldSpec, code: Code, column: list[Any], memo: ListMemo | None
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    if memo is not None:
        return memo.find(column)
    if spec.kind is Kind.CATEGORICAL and isinstance(code, Vocabulary) and (ids_N := code.at_hand(column)) is not None:
        return ids_N[:, None]
    return None


def arrow_ids(spec: FieldSpec, code: Code, columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The ids of N values of a field, int64 [N, width]."""
    values = columns[spec.name]
    if spec.kind is Kind.CATEGORICAL and isinstance(values, pa.DictionaryArray) and len(values.dictionary) <= len(values):
        return _ids_of_distinct(spec, code, values)[:, None]
    if spec.kind is Kind.MULTIVALUED:
        assert isinstance(code, TextIds)
        return code.list_ids(values if is_coded(values) else arrow_column(spec, values), spec.width)
    values = arrow_column(spec, values)
    assert not isinstance(code, CrossedVocabulary)
    return code.ids(values)[:, None]


def _ids_of_distinct(spec: FieldSpec, code: Code, values: pa.DictionaryArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The ids of N values of which each distinct one is looked up once, int64 [N]."""
    assert not isinstance(code, CrossedVocabulary)
    # One more at the end, for null.
    ids_D = np.append(code.ids(arrow_column(spec, values.dictionary)), MISSING)
    index_N = values.indices.fill_null(len(ids_D) - 1) if values.null_count else values.indices
    ids_N: np.ndarray[Any, np.dtype[np.int64]] = ids_D.take(index_N.to_numpy())
    return ids_N
