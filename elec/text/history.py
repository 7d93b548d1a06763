"""What the user liked before, as one more sentence of the user's text (the user level of MSD, arXiv 2412.06860).

Point in time: a row's sentence names items that the user clicked strictly before the row's own event, newest first, so that
the oldest go when the LLM's limit cuts the text. Which clicks a row may see is the rule of `elec.students.history`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind
from elec.students.history import Clicks, Integers, distinct_users, moments, read_clicks, user_numbers
from elec.text.template import distinct, render, values

# Of an item's name in the sentence; ten names still fit into the 128 tokens that an LLM reads by default.
_WORDS = 12
_MORE_WORDS = rf"(?s)^((?:\S+\s+){{{_WORDS - 1}}}\S+)\s.*$"


class Past:
    """The histories of N rows.

    Args:
        clicks: That the rows may see.
        names: string [I], what the sentence calls an item.
        begin_N: int64, where each row's window of clicks begins.
        end_N: int64, where it ends.
    """

    def __init__(self, clicks: Clicks, names: pa.Array, begin_N: Integers, end_N: Integers) -> None:
        self._clicks, self._names = clicks, names
        self._begin_N, self._end_N = begin_N, end_N

    @property
    def states(self) -> pa.Array:
        """int64 [N]: rows with equal numbers have the same history; all empty ones are equal."""
        width = len(self._clicks.item_C) + 1
        return pa.array(np.where(self._end_N > self._begin_N, self._begin_N * width + self._end_N, -1))

    def append(self, texts: pa.Array, rows: Integers) -> pa.Array:
        """Adds the sentence to the texts of some rows.

        Args:
            texts: string [D].
            rows: int64 [D], whose texts they are.

        Returns:
            string [D]; as it was where nothing is known.
        """
        begin, end = self._begin_N[rows], self._end_N[rows]
        length = end - begin
        offsets = np.concatenate([[0], np.cumsum(length)])
        newest_first = np.repeat(end - 1 + offsets[:-1], length) - np.arange(offsets[-1])
        named = self._names.take(pa.array(self._clicks.item_C[newest_first]))
        listed = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), named), "; ")
        sentence = pc.binary_join_element_wise("Liked before are ", listed, ".", "")
        both = pc.utf8_ltrim(pc.binary_join_element_wise(texts, sentence, " "), " ")
        return pc.if_else(pa.array(length > 0), both, texts)


class Histories:
    """What the users of a training frame clicked, and what the sentence calls it.

    Args:
        dataset: Names the keys and the item's fields.
        frames: Parquet files by split.
        history: Items of a sentence at most.
        tags: What to write instead of a long text, by the text.

    Raises:
        InputError: If the LLM reads no field of the item.
    """

    def __init__(self, dataset: DatasetSpec, frames: Mapping[str, Path], history: int, tags: Mapping[str, str]) -> None:
        fields = [field for field in dataset.fields if field.in_text and field.of is Entity.ITEM]
        if not fields:
            raise InputError(
                f"run.text.history = {history}: no field of the item is in the text, so there is nothing to call an item; "
                "give a field `of: item` with `in_text: true`, or set run.text.history to 0"
            )
        self._history, self._user = history, dataset.user
        self._users = distinct_users(list(frames.values()), dataset.user)
        numbers: dict[str, int] = {}

        def number(split: str, batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
            del split
            columns = [values(field, batch.column(field.name), tags if field.kind is Kind.TEXT else None) for field in fields]
            first, which = distinct(columns, batch.num_rows)
            names = item_names(fields, [column.take(pa.array(first)) for column in columns], len(first))
            # The loop is over the batch's distinct items. One without a name is not worth a place in the sentence.
            known = [numbers.setdefault(name, len(numbers)) if name else -1 for name in names.to_pylist()]
            numbered: np.ndarray[Any, Any] = np.array(known, np.int32)[which]
            return numbered

        log = read_clicks(frames, dataset.user, self._users, [field.name for field in fields], number)
        self._names = pa.array(list(numbers), pa.string())
        self._clicks = {split: log.seen_by(split) for split in frames}

    @property
    def columns(self) -> tuple[str, str]:
        """What a batch has to have."""
        return self._user, "event_timestamp"

    def of(self, split: str, batch: pa.RecordBatch) -> Past:
        """The histories of the rows of a batch of a split."""
        who, when = user_numbers(self._users, batch.column(self._user)), moments(batch.column("event_timestamp"))
        clicks = self._clicks[split]
        return Past(clicks, self._names, *clicks.windows(who, when, self._history))


def item_names(fields: Sequence[FieldSpec], columns: Sequence[pa.Array], rows: int) -> pa.Array:
    """What a reader would call the items: the first text field, a title as a rule, or else the beginning of the item's text.

    Args:
        fields: Of the item, those that the LLM reads, in the spec's order.
        columns: The fields' `values`, strings [N] each.
        rows: N.

    Returns:
        string [N], never null, at most 12 words; empty where nothing is known of the item.
    """
    name = render(fields, columns, rows)
    titles = [column for field, column in zip(fields, columns, strict=True) if field.kind is Kind.TEXT]
    if titles:
        name = pc.coalesce(titles[0], name)
    return pc.utf8_rtrim(pc.replace_substring_regex(name, _MORE_WORDS, r"\1"), " .,;")
