"""Profiles the training window: every row counts, no row is held.

The window is joined once into a file; then each field is counted in DuckDB, in its own bins and, for the comparison, in the
bins of the reference. Quantile edges come from up to a million rows, chosen by a hash of their number, the counts from all.
"""

# ruff: noqa: S608 - what goes into the SQL is names of the spec's pattern, numbers, and escaped paths

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from elec.drift.histograms import KEY_BUCKETS, KEY_SAMPLE, NUMERIC_BINS, TOP_VALUES, FieldProfile, Profile, Window
from elec.drift.window import connection, quoted, window_query
from elec.progress import Progress
from elec.spec import DatasetSpec, FieldSpec, Kind

if TYPE_CHECKING:
    from elec.ingest import Ingested

_ROWS_FOR_EDGES = 1_000_000
_SHORTEST_WINDOW_S = 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def profile(ingested: "Ingested", spec: DatasetSpec, reference: Profile | None = None) -> Profile:
    """Profiles the training window of ingested rows.

    Args:
        ingested: The ingested folder.
        spec: The data set.
        reference: The profile to compare with later: the fields are then counted in its bins as well. Fields that it
            does not have, or has as another kind, are counted in their own bins only.

    Returns:
        The profile; the same rows give the same one.
    """
    with connection() as duck, TemporaryDirectory(prefix="elec-window-") as folder:
        file = Path(folder, "window.parquet")
        duck.execute(f"COPY ({window_query(ingested, spec)}) TO '{file}' (FORMAT parquet)")
        duck.execute(f"CREATE VIEW joined AS SELECT * FROM read_parquet('{file}')")
        fields = profile_fields(duck, spec.all_fields, {spec.user, spec.item}, reference)
        return profile_rows(duck, spec.name, fields, reference)


def profile_rows(duck: Any, dataset: str, fields: Mapping[str, FieldProfile], reference: Profile | None) -> Profile:
    """The profile of the rows of the view `joined`: `label`, `event_timestamp`.

    Args:
        duck: A connection with that view.
        dataset: The data set's name.
        fields: Their profiles.
        reference: What they were counted against.
    """
    rows, clicks, first, last = duck.execute(
        "SELECT count(*), sum(label), epoch_us(min(event_timestamp)), epoch_us(max(event_timestamp)) FROM joined"
    ).fetchone()
    seconds = (last - first) / 1e6
    return Profile(
        dataset=dataset,
        rows=rows,
        # A window shorter than an hour says little about a day.
        rows_a_day=rows * 86_400 / max(seconds, _SHORTEST_WINDOW_S) if seconds > 0 else None,
        window=Window(first=_EPOCH + timedelta(microseconds=first), last=_EPOCH + timedelta(microseconds=last)),
        label_rate=clicks / rows,
        fields=fields,
        against=reference.fingerprint if reference is not None else None,
    )


def profile_fields(
    duck: Any, fields: Sequence[FieldSpec], keys: Collection[str], reference: Profile | None
) -> dict[str, FieldProfile]:
    """The profiles of columns of the view `joined`.

    Args:
        duck: A connection with that view, which has a `row_id` too.
        fields: The columns.
        keys: Those of them that are the user's or the item's key.
        reference: The profile whose bins they are counted in as well.
    """
    (rows,) = duck.execute("SELECT count(*) FROM joined").fetchone()
    found: dict[str, FieldProfile] = {}
    with Progress("profile fields", unit="fields", total=len(fields)) as progress:
        for field in fields:
            known = reference.fields.get(field.name) if reference is not None else None
            if field.name in keys:
                found[field.name] = _key(duck, field, known)
            elif field.kind in {Kind.NUMERIC, Kind.TEXT}:
                found[field.name] = _numeric(duck, field, rows, known)
            else:
                found[field.name] = _categorical(duck, field, known)
            progress.advance(1, field.name)
    return found


def _numeric(duck: Any, field: FieldSpec, rows: int, reference: FieldProfile | None) -> FieldProfile:
    column = quoted(field.name)
    # Text is judged by its length: what is cut, or gone, shows.
    is_text = field.kind is Kind.TEXT
    value = f"CASE WHEN length(trim({column})) > 0 THEN length({column}) END" if is_text else column
    kept = f"SELECT CASE WHEN isfinite(x) THEN x END AS x, row_id FROM (SELECT ({value})::DOUBLE AS x, row_id FROM joined)"
    stride = max(1, rows // _ROWS_FOR_EDGES)
    chosen = duck.execute(f"SELECT x FROM ({kept}) WHERE x IS NOT NULL AND hash(row_id) % {stride} = 0").fetchnumpy()["x"]
    lowest, highest, distinct = duck.execute(f"SELECT min(x), max(x), approx_count_distinct(x) FROM ({kept})").fetchone()
    edges = () if lowest is None else _edges(np.append(chosen, [lowest, highest]))

    def count(upper: Sequence[float]) -> tuple[int, ...]:
        number = " + ".join(["0", *["(x > ?)::INTEGER"] * len(upper)])
        found = duck.execute(
            f"SELECT CASE WHEN x IS NULL THEN {len(upper) + 1} ELSE {number} END AS bin, count(*) FROM ({kept}) GROUP BY 1",
            list(upper),
        ).fetchall()
        return _filled(dict(found), len(upper) + 2)

    comparable = reference is not None and reference.kind == field.kind.value
    return FieldProfile(
        kind=field.kind.value,
        of=field.of.value,
        edges=edges,
        counts=count(edges),
        in_reference=count(reference.edges) if comparable and reference is not None else None,
        distinct=distinct,
    )


def _edges(values: np.ndarray) -> tuple[float, ...]:
    """Upper edges of quantile bins; of a handful of values, each has its own bin."""
    distinct = np.unique(values)
    if len(distinct) > NUMERIC_BINS:
        inner = np.quantile(values, np.linspace(0, 1, NUMERIC_BINS + 1)[1:-1], method="inverted_cdf")
        distinct = np.unique(np.append(inner, distinct[-1]))
    return (float(np.nextafter(values.min(), -np.inf)), *(float(edge) for edge in distinct))


def _categorical(duck: Any, field: FieldSpec, reference: FieldProfile | None) -> FieldProfile:
    column = quoted(field.name)
    if field.kind is Kind.MULTIVALUED:
        # A row without values counts as one missing value.
        each = f"SELECT unnest(CASE WHEN len({column}) > 0 THEN {column} ELSE [NULL] END) AS value FROM joined"
    else:
        each = f"SELECT {column} AS value FROM joined"
    duck.execute(f"CREATE OR REPLACE TEMP TABLE counted AS SELECT value, count(*) AS n FROM ({each}) GROUP BY value")
    top = duck.execute(
        f"SELECT value FROM counted WHERE value IS NOT NULL ORDER BY n DESC, value LIMIT {TOP_VALUES}"
    ).fetchall()
    values = tuple(value for (value,) in top)
    distinct, total = duck.execute("SELECT count(value), sum(n) FILTER (WHERE value IS NOT NULL) FROM counted").fetchone()
    (missing,) = duck.execute("SELECT sum(n) FROM counted WHERE value IS NULL").fetchone()

    def count(listed: Sequence[str]) -> tuple[int, ...]:
        found = duck.execute(
            "SELECT value, n FROM counted WHERE value IN (SELECT unnest(?::VARCHAR[]))", [list(listed)]
        ).fetchall()
        by_value: dict[str, int] = dict(found)
        single = [by_value.get(value, 0) for value in listed]
        return (*single, int(total or 0) - sum(single), int(missing or 0))

    comparable = reference is not None and reference.kind == field.kind.value
    return FieldProfile(
        kind=field.kind.value,
        of=field.of.value,
        values=values,
        counts=count(values),
        in_reference=count(reference.values) if comparable and reference is not None else None,
        distinct=distinct,
    )


def _key(duck: Any, field: FieldSpec, reference: FieldProfile | None) -> FieldProfile:
    # MD5 because it is the same in every version; each key is hashed once, not each row.
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE keys AS SELECT md5_number_lower(key) >> 1 AS h, n FROM "
        f"(SELECT {quoted(field.name)} AS key, count(*) AS n FROM joined GROUP BY 1) WHERE key IS NOT NULL"
    )
    buckets = dict(duck.execute(f"SELECT (h % {KEY_BUCKETS})::INTEGER, sum(n)::BIGINT FROM keys GROUP BY 1").fetchall())
    (missing,) = duck.execute(f"SELECT count(*) FROM joined WHERE {quoted(field.name)} IS NULL").fetchone()
    hashes = duck.execute(f"SELECT h FROM keys ORDER BY h LIMIT {KEY_SAMPLE}").fetchall()
    (distinct,) = duck.execute("SELECT count(*) FROM keys").fetchone()
    counts = (*_filled(buckets, KEY_BUCKETS), missing)
    comparable = reference is not None and reference.kind == "key"
    return FieldProfile(
        kind="key",
        of=field.of.value,
        counts=counts,
        in_reference=counts if comparable else None,
        distinct=distinct,
        key_hashes=tuple(h for (h,) in hashes),
        known=_known_share(duck, reference) if comparable and reference is not None else None,
    )


def _known_share(duck: Any, reference: FieldProfile) -> float | None:
    """The share of rows whose key is in the reference.

    The reference keeps the smallest hashes of its keys. Among current keys up to the largest of those, membership is certain;
    as a hash is blind to what a key stands for, the share among them is a fair estimate of the share among all.
    """
    whole = reference.distinct <= len(reference.key_hashes)
    limit = "" if whole else f"WHERE h <= {reference.key_hashes[-1]}"
    known, rows = duck.execute(
        f"SELECT coalesce(sum(n) FILTER (WHERE h IN (SELECT unnest(?::UBIGINT[]))), 0), sum(n) FROM keys {limit}",
        [list(reference.key_hashes)],
    ).fetchone()
    return float(known / rows) if rows else None


def _filled(counts: Mapping[int, int], bins: int) -> tuple[int, ...]:
    return tuple(counts.get(bin_, 0) for bin_ in range(bins))
