"""Logs on S3: found, read in every format, and refused in one sentence."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from elec import s3
from elec.errors import InputError
from elec.ingest import ingest
from tests.ingest.made import AS_OF, NOW, csv_text, made_rows, made_spec

ROWS = made_rows(60)


def _use(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", "made")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "up")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        _use(f"http://{host}:{port}", patch)
        client = s3.client()
        client.create_bucket(Bucket="logs")
        text = csv_text(ROWS)
        first, second = csv_text(ROWS[:30]).encode(), csv_text(ROWS[30:]).encode()
        client.put_object(Bucket="logs", Key="one/a.csv", Body=text.encode())
        client.put_object(Bucket="logs", Key="parts/", Body=b"")
        client.put_object(Bucket="logs", Key="parts/_SUCCESS", Body=b"")
        client.put_object(Bucket="logs", Key="parts/day=1/a.csv", Body=first)
        client.put_object(Bucket="logs", Key="parts/day=2/b.csv.gz", Body=gzip.compress(second))
        client.put_object(Bucket="logs", Key="empty/a.csv", Body=b"")
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), sink)
        client.put_object(Bucket="logs", Key="one/a.parquet", Body=sink.getvalue().to_pybytes())
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def on_s3(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(server, monkeypatch)


@pytest.mark.usefixtures("on_s3")
@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("s3://logs/one/a.csv", 1),
        ("s3://logs/one/a.parquet", 1),
        ("s3://logs/parts", 2),
        ("s3://logs/parts/", 2),
        ("s3://logs/parts/**/*.csv*", 2),
        ("s3://logs/parts/day=[12]/*", 2),
        ("s3://logs/p*/**/*.csv*", 2),
    ],
)
def test_s3_gives_what_the_disk_gives(path: str, files: int, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(csv_text(ROWS))
    ingest(made_spec(tmp_path / "log.csv"), tmp_path / "local", as_of=AS_OF, now=NOW)
    report = ingest(made_spec(path), tmp_path / "s3", as_of=AS_OF, now=NOW)
    assert len(report.files) == files
    assert all(file.startswith("s3://logs/") for file in report.files)
    for name in ("train", "valid", "test", "users", "items"):
        assert (tmp_path / "s3" / f"{name}.parquet").read_bytes() == (tmp_path / "local" / f"{name}.parquet").read_bytes()


@pytest.mark.usefixtures("on_s3")
@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("s3://logs/none.csv", "no such object, and none below it"),
        ("s3://logs/one/*.tsv", "the pattern matches no object"),
        ("s3://nobody/log.csv", "S3 refused with NoSuchBucket|S3 refused with 404|no such object"),
        ("s3://logs/empty/a.csv", "is empty"),
        ("s3:///log.csv", "names no bucket"),
    ],
)
def test_what_is_not_there(path: str, pattern: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=pattern) as raised:
        ingest(made_spec(path), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert "\n" not in str(raised.value)


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers like a bucket whose policy denies: everything, or the reading only."""

    lists = False

    def _deny(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self._deny()

    def do_HEAD(self) -> None:
        if not self.lists:
            self._deny()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_bucket_that_refuses(lists: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = type("Handler", (_Refusing,), {"lists": lists})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    try:
        with pytest.raises(InputError, match=r"^s3://private/.*S3 refused.*check the bucket, the credentials") as raised:
            ingest(made_spec(f"s3://private/{name}"), tmp_path / "out", as_of=AS_OF, now=NOW)
    finally:
        server.shutdown()
        server.server_close()
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(InputError, match="S3 cannot be reached"):
        ingest(made_spec("s3://logs/a.csv"), tmp_path / "out", as_of=AS_OF, now=NOW)
