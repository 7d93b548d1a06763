"""The template that turns a record into text: "<Field name> is <value>." for every field (ELEC, section 3.1).

Whole columns at a time, in Arrow. A missing value leaves its sentence out, so a record of missing values is the empty text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.spec import FieldSpec, Kind

# Whole numbers up to here are exact in float64, and written without a decimal point or an exponent.
_EXACT = 2.0**53


def values(field: FieldSpec, column: pa.Array, tags: Mapping[str, str] | None = None) -> pa.Array:
    """A column's values as text, null where there is nothing to say.

    Args:
        field: The field.
        column: Its raw values [N]: string, number or list of strings.
        tags: What to write instead of a long text, by the text.

    Returns:
        string [N], trimmed; null for a null, a NaN, an empty list and an empty string.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_list(column.type):
        text = _joined(column)
    elif pa.types.is_floating(column.type):
        text = _number(column)
    else:
        text = column.cast(pa.string())
    if tags and field.kind is Kind.TEXT:
        text = _replaced(text, tags)
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def distinct(columns: Sequence[pa.Array], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the distinct records of a batch.

    Args:
        columns: The record's values, strings or integers [N] each.
        rows: N; without columns all records are equal.

    Returns:
        first int64 [D], where each distinct record occurs first; which int64 [N], the number of each row's distinct record.
    """
    which = np.zeros(rows, dtype=np.int64)
    for column in columns:
        codes = column.dictionary_encode(null_encoding="encode")
        combined = which * len(codes.dictionary) + codes.indices.to_numpy(zero_copy_only=False)
        # Numbering anew after every column keeps the product far below 2^63.
        which = pa.array(combined).dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    first = np.empty(int(which.max()) + 1 if rows else 0, dtype=np.int64)
    # Of several writes to one place the last stays: backwards, that is the first row.
    first[which[::-1]] = np.arange(rows - 1, -1, -1)
    return first, which


def render(fields: Sequence[FieldSpec], columns: Sequence[pa.Array], rows: int) -> pa.Array:
    """Writes records as text.

    Args:
        fields: In the order of the text.
        columns: The fields' `values`, strings [N] each.
        rows: N.

    Returns:
        string [N], never null.
    """
    # Arrow's own way to leave nulls out (null_handling="skip") drops the rows that have nothing but nulls.
    sentences = [
        pc.fill_null(pc.binary_join_element_wise(pa.scalar(f"{field.display} is "), column, pa.scalar(". "), ""), "")
        for field, column in zip(fields, columns, strict=True)
    ]
    if not sentences:
        return pa.array(np.full(rows, ""), pa.string())
    return pc.utf8_rtrim(pc.binary_join_element_wise(*sentences, ""), " ")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _number(column: pa.Array) -> pa.Array:
    """24.0 is written 24; 0.5 stays 0.5; a NaN is missing, and an infinity too."""
    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))
    whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), _EXACT))
    integer = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
    return pc.if_else(whole, integer, column.cast(pa.string()))


def _joined(column: pa.Array) -> pa.Array:
    """Lists as "a, b", without null and empty values."""
    of = pc.list_parent_indices(column)
    flat = pc.utf8_trim_whitespace(pc.list_flatten(column).cast(pa.string()))
    kept = pc.fill_null(pc.not_equal(flat, ""), False)
    counts = np.bincount(of.filter(kept).to_numpy(), minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), flat.filter(kept)), ", ")


def _replaced(text: pa.Array, tags: Mapping[str, str]) -> pa.Array:
    """Writes tags for the texts that have some; the look-up is by distinct text."""
    codes = text.dictionary_encode()
    found = [tags.get(value, value) for value in codes.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(codes.indices)
