"""Reads the Amazon Office Products files: who clicked what in which order, and what the items are."""

import ast
import json
from pathlib import Path

import duckdb
import pyarrow as pa

from elec.errors import InputError
from elec.text.markup import strip_markup

WINDOWS = ("train", "valid", "test")

# A user's first row, valid before test, holds the user's history before the windows. What a user clicked again is left out.
_CLICKS = """
WITH rows AS (
    SELECT 1 AS part, row_number() OVER () AS place, user_id, history_item_id::BIGINT[] AS history, item_id::BIGINT AS item_id
    FROM read_csv($valid, header = true, all_varchar = true)
    UNION ALL
    SELECT 2, row_number() OVER (), user_id, history_item_id::BIGINT[], item_id::BIGINT
    FROM read_csv($test, header = true, all_varchar = true)
), firsts AS (
    SELECT user_id, arg_min(history, (part, place)) AS history FROM rows GROUP BY user_id
), clicks AS (
    SELECT 0 AS part, len(history) + 1 - position AS place, user_id, history[position] AS item_id
    FROM (SELECT user_id, history, unnest(range(1, len(history) + 1)) AS position FROM firsts)
    UNION ALL
    SELECT part, place, user_id, item_id FROM rows
)
SELECT part, place, user_id, item_id FROM clicks
QUALIFY row_number() OVER (PARTITION BY user_id, item_id ORDER BY part, if(part = 0, -place, place)) = 1
ORDER BY part, if(part = 0, -place, place), user_id
"""


def read_clicks(folder: Path) -> pa.Table:
    """The first click of each user on each item.

    Args:
        folder: With `Office_Products_valid.csv` and `Office_Products_test.csv`.

    Returns:
        part int32 (position in `WINDOWS`), place int64 (in train counted back from the end of the user's history, from 1;
        else the row of the file, from 1), user_id string, item_id int64. Sorted by part; inside of one a user's clicks are in
        their order.

    Raises:
        InputError: If a file is missing, or is not what it should be.
    """
    files = {name: folder / f"Office_Products_{name}.csv" for name in WINDOWS[1:]}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file; give the folder with the Amazon Office Products files as --data")
    with duckdb.connect() as database:
        try:
            table = database.sql(_CLICKS, params={name: str(path) for name, path in files.items()}).to_arrow_table()
        except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{folder}: its CSV files are not those of Amazon Office Products ({reason}); check --data"
            ) from None
    return table.cast(
        pa.schema([("part", pa.int32()), ("place", pa.int64()), ("user_id", pa.string()), ("item_id", pa.int64())])
    )


def read_items(folder: Path) -> pa.Table:
    """The items, as text without markup.

    Args:
        folder: With `Office_Products.item.json`.

    Returns:
        item_id int64 from 0, in order; title, brand, description: string, null where there is none. (The file has a column of
        categories too: it is empty for every item.)

    Raises:
        InputError: If the file is missing, or is not what it should be.
    """
    path = folder / "Office_Products.item.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ids = sorted(map(int, content))
        records = [content[str(number)] for number in ids]
        columns = {name: [_clean(record[name]) for record in records] for name in ("title", "brand")}
        columns["description"] = [_clean(" ".join(_parts(record["description"]))) for record in records]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the folder with the Amazon Office Products files as --data") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the items of Amazon Office Products ({error!r}); check --data") from None
    if ids != list(range(len(ids))):
        raise InputError(f"{path}: its item ids are not 0 to {len(ids) - 1}; check --data")
    return pa.table(
        {"item_id": pa.array(ids, pa.int64()), **{name: pa.array(column, pa.string()) for name, column in columns.items()}}
    )


def _parts(description: str) -> list[str]:
    """A description is the text of a Python list of strings: `['one', '', 'two']`."""
    try:
        parts = ast.literal_eval(description)
    except (ValueError, SyntaxError):
        return [description]
    return [str(part) for part in parts] if isinstance(parts, list) else [str(parts)]


def _clean(text: str | None) -> str | None:
    return strip_markup(text or "") or None
