"""Columns of any type as the checks of cells look at them."""

from typing import Any, NamedTuple

import pyarrow as pa


class ByValue(NamedTuple):
    """The values of a column, each once, and the position of each row's among them."""

    values: pa.Array
    positions: pa.Array


def by_value(column: Any) -> ByValue | None:
    """A dictionary whose values are fewer than its rows: what is found out about a value holds for all rows that have it."""
    column = one_chunk(column)
    if not pa.types.is_dictionary(column.type) or len(column.dictionary) >= len(column):
        return None
    values, positions = column.dictionary, column.indices.cast(pa.int32())
    if positions.null_count:
        positions = positions.fill_null(len(values))
        values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    return ByValue(values, positions)


def one_chunk(column: Any) -> Any:
    """A column in one piece."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def decoded(column: Any) -> Any:
    """A column in one piece without a dictionary."""
    column = one_chunk(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
