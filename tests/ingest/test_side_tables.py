"""Users and items, from files of their own and from the log."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from elec.errors import BlockedError, InputError
from elec.ingest import ALWAYS, Ingested, ingest
from elec.spec import DatasetSpec
from tests.ingest.made import AS_OF, NOW, START, made_rows, made_spec, write_csv


def _spec(folder: Path, users: dict[str, Any], log_rows: int = 60, **change: Any) -> DatasetSpec:
    write_csv(folder / "log.csv", made_rows(log_rows))
    fields = [{"name": "age", "of": "user", "kind": "numeric"}, {"name": "city", "of": "user"}]
    return made_spec(folder / "log.csv", fields=fields, tables={"users": users}, **change)


def test_without_times_the_last_row_of_a_key_wins_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(
        "id,age,city\n00001,20,A\n00002,30,B\n1,50,C\n00001,21,D\n00001,22,E\n,9,F\n00003,x,G\n"
    )
    spec = _spec(tmp_path, {"path": str(tmp_path / "users.csv"), "key": "id"}, max_bad_share=0.5)
    report = ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW)
    table = pq.read_table(Ingested(tmp_path / "out").users)
    assert table.to_pylist() == [
        {"user": "00001", "event_timestamp": ALWAYS, "age": 22.0, "city": "E"},
        {"user": "00002", "event_timestamp": ALWAYS, "age": 30.0, "city": "B"},
        {"user": "1", "event_timestamp": ALWAYS, "age": 50.0, "city": "C"},
    ]
    users = report.tables["users"]
    assert (users.rows_read, users.rows_kept, users.rows_quarantined, users.duplicates) == (7, 3, 2, 2)
    assert report.rows_quarantined == 0, "the log's account is the log's"
    quarantined = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(row["line"], row["reason"]) for row in quarantined] == [(7, "id: no value"), (8, "age: not a number")]


def test_with_times_history_is_kept_up_to_as_of(tmp_path: Path) -> None:
    lines = [
        "user,since,age,city",
        "00001,2023-01-01,20,A",
        "00001,2024-01-01,21,B",
        "00001,2024-01-01,21,C",
        "00001,2025-03-01,22,D",
    ]
    lines += ["00002,2027-01-01,30,E", "00002,,30,E", "00002,2020-01-01,30,F"]
    (tmp_path / "users.csv").write_text("\n".join(lines))
    users = {"path": str(tmp_path / "users.csv"), "timestamp": "since", "unit": "iso"}
    report = ingest(_spec(tmp_path, users, max_bad_share=0.5), tmp_path / "out", as_of=AS_OF, now=NOW)
    found = [
        (row["user"], row["event_timestamp"].year, row["city"])
        for row in pq.read_table(tmp_path / "out/users.parquet").to_pylist()
    ]
    assert found == [("00001", 2023, "A"), ("00001", 2024, "C"), ("00002", 2020, "F")]
    account = report.tables["users"]
    assert (account.rows_after_as_of, account.rows_quarantined, account.duplicates) == (1, 2, 1)


def test_derived_tables_have_a_row_for_each_change(tmp_path: Path) -> None:
    def minute(position: int) -> str:
        return (START + dt.timedelta(minutes=position)).isoformat()[:19]

    rows = made_rows(60)
    ages = ["20", "20", "21", "", "", "20", "20"]
    extra = [{**rows[0], "user": "z", "ts": minute(position), "age": age} for position, age in enumerate(ages)]
    extra.append({**extra[-1], "age": "99"})
    spec = made_spec(write_csv(tmp_path / "log.csv", [*rows, *reversed(extra[:-1]), extra[-1]]))
    ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW)
    table = pq.read_table(tmp_path / "out/users.parquet", filters=[("user", "==", "z")])
    found = [(row["event_timestamp"].minute, row["age"]) for row in table.to_pylist()]
    assert found == [(0, 20.0), (2, 21.0), (3, None), (5, 20.0), (6, 99.0)], "at one time the last row read counts"


def test_a_derived_value_is_never_from_after_the_event(tmp_path: Path) -> None:
    rows = made_rows(300, age=lambda position, row: str(20 + position // 30))
    ingest(made_spec(write_csv(tmp_path / "log.csv", rows)), tmp_path / "out", as_of=AS_OF, now=NOW)
    history = pq.read_table(tmp_path / "out/users.parquet").to_pylist()
    for position, row in enumerate(rows):
        at = START + dt.timedelta(minutes=position)
        known = [entry for entry in history if entry["user"] == row["user"] and entry["event_timestamp"] <= at]
        assert max(known, key=lambda entry: entry["event_timestamp"])["age"] == float(row["age"])


def test_an_entity_without_fields_has_a_table_of_keys(tmp_path: Path) -> None:
    rows = made_rows(60)
    ingest(made_spec(write_csv(tmp_path / "log.csv", rows), fields=[]), tmp_path / "out", as_of=AS_OF, now=NOW)
    table = pq.read_table(tmp_path / "out/items.parquet")
    assert table.schema.names == ["ad", "event_timestamp"]
    assert table["ad"].to_pylist() == sorted({row["ad"] for row in rows})


def test_side_table_errors_name_the_file(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("user,age\n1,2\n")
    with pytest.raises(InputError, match=r"users\.csv: there is no column 'city' \(named by fields\)"):
        ingest(_spec(tmp_path, {"path": str(users)}), tmp_path / "out", as_of=AS_OF, now=NOW)
    with pytest.raises(InputError, match=r"no column 'uid' \(named by tables\.users\.key\)"):
        ingest(_spec(tmp_path, {"path": str(users), "key": "uid"}), tmp_path / "out", as_of=AS_OF, now=NOW)
    with pytest.raises(InputError, match=r"user\.csv: no such file.*is it users\.csv"):
        ingest(_spec(tmp_path, {"path": str(tmp_path / "user.csv")}), tmp_path / "out", as_of=AS_OF, now=NOW)
    users.write_text("user,age,city\n1,2,A\n2,x,B\n3,3,C\n")
    with pytest.raises(BlockedError, match=r"users\.csv: 1 of 3 rows"):
        ingest(_spec(tmp_path, {"path": str(users)}), tmp_path / "out", as_of=AS_OF, now=NOW)
