"""The kept rows as tables of DuckDB: the log, its users and items, and what was known of them when a row was logged."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from collections.abc import Sequence

from elec.ingest.report import SPLITS, Ingested
from elec.ingest.sql import Sql, name, text
from elec.spec import DatasetSpec, Entity, FieldSpec

#: Users and items, in the order in which they are shown.
SIDES = (Entity.USER, Entity.ITEM)


class Log:
    """An ingested data set in a database; memory stays bounded whatever its size.

    Args:
        database: Spills to disk what does not fit.
        ingested: The data set.
        spec: What it is.
    """

    def __init__(self, database: Sql, ingested: Ingested, spec: DatasetSpec) -> None:
        self.database = database
        self.spec = spec
        self._files = {Entity.USER: ingested.users, Entity.ITEM: ingested.items}
        parts = " UNION ALL ".join(
            f"SELECT {number} AS split, * FROM read_parquet({text(str(ingested.split(split)))})"
            for number, split in enumerate(SPLITS)
        )
        database.run(f"CREATE VIEW log AS {parts}")
        for side in SIDES:
            self._count_keys(side)
            if spec.fields_of(side):
                self._count_versions(side)

    def values(self, field: FieldSpec) -> str:
        """A query with a field's values: columns `value`, `rows` and `clicks`, one value in any number of them.

        Rows of which nothing is known are not in it.
        """
        column = name(field.name)
        if field.name in {self.spec.user, self.spec.item}:
            return f"SELECT key AS value, rows, clicks FROM {field.of}_keys"
        if field.of is Entity.CONTEXT:
            return f"SELECT {column} AS value, 1 AS rows, label AS clicks FROM log"
        return f"""
            SELECT versions.value, held.rows, held.clicks
            FROM ({self._versions(field.of, column)}) versions JOIN {field.of}_versions held USING (number, since)"""

    def together(self, fields: Sequence[FieldSpec]) -> str:
        """A query with what fields hold at once: a row for each of the log; columns `split`, `label`, `c0`, `c1` and so on.

        Args:
            fields: In the order of the columns; what nothing is known of is null.
        """
        keys = [f"{name(self.spec.key_of(side))} AS {side}_key" for side in SIDES]
        of_side: dict[Entity, list[str]] = {side: [] for side in SIDES}
        own: list[str] = []
        for place, field in enumerate(fields):
            column = f"{name(field.name)} AS c{place}"
            from_log = field.of is Entity.CONTEXT or field.name in {self.spec.user, self.spec.item}
            (own if from_log else of_side[field.of]).append(column)
        rows = f"SELECT {', '.join(['split', 'label', 'epoch_us(event_timestamp) AS moment', *keys, *own])} FROM log"
        for side, columns in of_side.items():
            if columns:
                rows = self._described(rows, side, columns)
        return f"SELECT split, label, {', '.join(f'c{place}' for place in range(len(fields)))} FROM ({rows})"

    def _described(self, rows: str, side: Entity, columns: Sequence[str]) -> str:
        """A query with rows and what was known of their users or items."""
        table = f"""
            SELECT {name(self.spec.key_of(side))} AS key, epoch_us(event_timestamp) AS since, {", ".join(columns)}
            FROM read_parquet({text(str(self._files[side]))})"""
        taken = ", ".join(f"held.{column.rsplit(' ', 1)[-1]}" for column in columns)
        steady = f"SELECT held.* FROM ({table}) held JOIN {side}_keys USING (key) SEMI JOIN {side}_steady USING (number)"
        moving = f"SELECT held.* FROM ({table}) held SEMI JOIN {side}_moving USING (key)"
        return f"""
            SELECT events.*, {taken} FROM ({rows}) events LEFT JOIN ({steady}) held ON events.{side}_key = held.key
            WHERE NOT EXISTS (FROM {side}_moving WHERE key = events.{side}_key)
            UNION ALL
            SELECT events.*, {taken}
            FROM (SELECT * FROM ({rows}) logged SEMI JOIN {side}_moving ON logged.{side}_key = {side}_moving.key) events
            ASOF LEFT JOIN ({moving}) held ON events.{side}_key = held.key AND events.moment >= held.since"""

    def _count_keys(self, side: Entity) -> None:
        """Counts the rows of every user or item, in a table that gives each a number too."""
        of_part = ", ".join(f"count(*) FILTER (split = {number}) AS {split}" for number, split in enumerate(SPLITS))
        self.database.run(
            f"""CREATE TABLE {side}_keys AS SELECT row_number() OVER () AS number, * FROM (
                    SELECT key, count(*) AS rows, sum(label)::BIGINT AS clicks, {of_part}, min(moment) AS first
                    FROM ({self._events(side)}) GROUP BY key
                )"""
        )

    def _count_versions(self, side: Entity) -> None:
        """Counts for how many rows each row of the side table was the newest that was not later than the event."""
        versions = self._versions(side, "NULL")
        # Most keys have one version, true from the start: their rows are counted already and need no join by time.
        self.database.run(
            f"""CREATE TABLE {side}_steady AS
                SELECT number, any_value(since) AS since, any_value(rows) AS rows, any_value(clicks) AS clicks
                FROM ({versions}) JOIN {side}_keys USING (number) GROUP BY number
                HAVING count(*) = 1 AND any_value(since) <= any_value(first)"""
        )
        self.database.run(
            f"""CREATE TABLE {side}_moving AS
                SELECT key, number FROM {side}_keys WHERE number NOT IN (SELECT number FROM {side}_steady)"""
        )
        self.database.run(
            f"""CREATE TABLE {side}_versions AS
                SELECT number, since, rows, clicks FROM {side}_steady
                UNION ALL
                SELECT held.number, held.since, count(*) AS rows, sum(events.label)::BIGINT AS clicks
                FROM (
                    SELECT number, moment, label FROM ({self._events(side)}) JOIN {side}_moving USING (key)
                ) events ASOF JOIN (
                    SELECT number, since FROM ({versions}) WHERE number IN (SELECT number FROM {side}_moving)
                ) held
                ON events.number = held.number AND events.moment >= held.since
                GROUP BY held.number, held.since"""
        )

    def _versions(self, side: Entity, column: str) -> str:
        """The rows of the side table whose key the log has: the key's number, since when they are true, and a column."""
        table = f"""
            SELECT {name(self.spec.key_of(side))} AS key, epoch_us(event_timestamp) AS since, {column} AS value
            FROM read_parquet({text(str(self._files[side]))})"""
        return f"SELECT number, since, value FROM ({table}) JOIN {side}_keys USING (key)"

    def _events(self, side: Entity) -> str:
        """The log's rows under names of ours, whatever the fields are called."""
        return f"SELECT split, {name(self.spec.key_of(side))} AS key, epoch_us(event_timestamp) AS moment, label FROM log"
