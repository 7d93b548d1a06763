"""A real S3 server behind a network that fails: the same bytes come out, and a server that stays down ends in one sentence."""

import bz2
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec import s3
from elec.errors import InputError
from elec.ingest import ingest
from elec.ingest.sources import SourceFile, open_text
from tests.ingest.faulty import FAULTS, proxy
from tests.ingest.made import AS_OF, NOW, csv_text, made_rows, made_spec
from tests.serving.seaweed import BUCKET, SeaweedS3, seaweed

ROWS = made_rows(3_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedS3]:
    for running in seaweed(tmp_path_factory.mktemp("seaweed")):
        text = csv_text(ROWS).encode()
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=500)
        client = running.client()
        bodies = {
            "log.csv": text,
            "log.csv.gz": gzip.compress(text, mtime=0),
            "log.csv.bz2": bz2.compress(text),
            "log.csv.zst": pa.compress(text, codec="zstd", asbytes=True),
            "log.parquet": sink.getvalue().to_pybytes(),
            "days/a.csv": csv_text(ROWS[:2_000]).encode(),
            "days/b.csv": csv_text(ROWS[2_000:]).encode(),
        }
        for key, body in bodies.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=body)
        yield running


@pytest.fixture(autouse=True)
def environment(server: SeaweedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # A silent server is given up sooner than in earnest.
    monkeypatch.setattr(s3, "_READ_SECONDS", 1)
    s3.client_at.cache_clear()


def _same(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []


@pytest.mark.parametrize(
    ("key", "faults"),
    [
        ("log.csv.zst", ("500", "503", "reset")),
        ("log.parquet", ("503", "cut")),
        ("log.csv.bz2", ("silence",)),
        ("days", ("cut", "500")),
    ],
)
def test_the_same_bytes_come_out(
    key: str, faults: tuple[str, ...], server: SeaweedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made_spec(f"s3://{BUCKET}/{key}")
    ingest(spec, tmp_path / "quiet", as_of=AS_OF, now=NOW)
    with proxy(server.environment["AWS_ENDPOINT_URL"], faults) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
        ingest(spec, tmp_path / "faulty", as_of=AS_OF, now=NOW)
        assert set(faulty.met) == set(faults) <= set(FAULTS)
    _same(tmp_path / "quiet", tmp_path / "faulty")


def test_what_is_kept_on_s3_is_written_and_read_through_faults(
    server: SeaweedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made_spec(f"s3://{BUCKET}/log.csv")
    ingest(spec, tmp_path / "quiet", as_of=AS_OF, now=NOW)
    for run, fault in (("first", "503"), ("second", "cut")):
        with proxy(server.environment["AWS_ENDPOINT_URL"], (fault,)) as faulty:
            monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
            ingest(spec, tmp_path / run, as_of=AS_OF, now=NOW, kept=f"s3://{BUCKET}/kept")
        _same(tmp_path / "quiet", tmp_path / run)


@pytest.mark.parametrize("key", ["log.csv.gz", "log.csv.zst", "log.parquet"])
def test_a_server_that_goes_down_is_no_damaged_file(
    key: str, server: SeaweedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    spec = made_spec(f"s3://{BUCKET}/{key}")
    with proxy(server.environment["AWS_ENDPOINT_URL"], ()) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
        s3.client_at.cache_clear()
        # From the first request on, or from the reading on.
        for method in ("HEAD", "GET"):
            fault = faulty.fault
            monkeypatch.setattr(
                faulty,
                "fault",
                lambda request, method=method, fault=fault: "reset" if method in request[:4] else fault(request),
            )
            started = time.monotonic()
            with pytest.raises(InputError, match=rf"^s3://{BUCKET}/{key}: S3 .*cannot be reached") as raised:
                ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW)
            assert str(raised.value).isprintable()
            assert "AWS_ENDPOINT_URL" in str(raised.value)
            assert time.monotonic() - started < 10
            assert list(tmp_path.iterdir()) == []
            monkeypatch.setattr(faulty, "fault", fault)


def test_an_object_is_read_as_text_through_cut_connections(server: SeaweedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(server.environment["AWS_ENDPOINT_URL"], ("cut", "cut", "cut")) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
        with open_text(SourceFile(f"s3://{BUCKET}/log.csv", "csv", 0)) as (stream, _):
            assert stream.read() == csv_text(ROWS).encode()
