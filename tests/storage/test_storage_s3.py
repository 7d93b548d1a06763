"""Storage on S3 (a made one): the same contract as on disk, and refusals in one sentence."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from elec import s3, storage
from elec.errors import InputError


def _use(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", "made")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "up")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    _use(endpoint, monkeypatch)
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].rstrip("-")
    s3.client().create_bucket(Bucket=name)
    return f"s3://{name}"


def test_write_read_list(bucket: str) -> None:
    uri = storage.join(bucket, "deep", "er", "a.json")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert storage.exists(uri)
    s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="deep/", Body=b"")
    assert storage.list_files(bucket) == ["deep/er/a.json"]
    assert storage.list_files(f"{bucket}/deep") == ["er/a.json"]
    assert storage.list_files(f"{bucket}/dee") == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{bucket}/nothing")


def test_more_files_than_a_page(bucket: str) -> None:
    client = s3.client()
    for number in range(5):
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"a/{number}", Body=b"")

    def two_a_page(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    client.meta.events.register("before-parameter-build.s3.ListObjectsV2", two_a_page)
    try:
        assert storage.list_files(f"{bucket}/a") == ["0", "1", "2", "3", "4"]
    finally:
        client.meta.events.unregister("before-parameter-build.s3.ListObjectsV2", two_a_page)


def _folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    (path / "sub" / "a.bin").write_bytes(b"a" * 1000)
    return path


def test_publish_once_and_fetch(bucket: str, tmp_path: Path) -> None:
    source, target = _folder(tmp_path / "made"), f"{bucket}/b1"
    storage.publish_folder(source, target, last="manifest.json")
    with pytest.raises(FileExistsError):
        storage.publish_folder(source, target, last="manifest.json")
    copy = storage.fetch_folder(target, tmp_path / "copy")
    assert storage.list_files(copy) == ["manifest.json", "sub/a.bin"]
    assert (copy / "sub" / "a.bin").read_bytes() == b"a" * 1000


def test_the_last_file_goes_up_last(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _folder(tmp_path / "made")
    client = s3.client()

    def lost(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "upload_file", lost)
    with pytest.raises(KeyboardInterrupt):
        storage.publish_folder(source, f"{bucket}/b1", last="manifest.json")
    assert storage.list_files(bucket) == []
    monkeypatch.undo()


def test_of_two_publishers_one_wins(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _folder(tmp_path / "made")
    monkeypatch.setattr(storage, "exists", lambda uri: False)
    storage.publish_folder(source, f"{bucket}/b1", last="manifest.json")
    with pytest.raises(FileExistsError):
        storage.publish_folder(source, f"{bucket}/b1", last="manifest.json")


def test_a_key_that_climbs_is_refused(bucket: str, tmp_path: Path) -> None:
    s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="b1/../../evil", Body=b"")
    with pytest.raises(InputError, match="leads out of"):
        storage.fetch_folder(f"{bucket}/b1", tmp_path / "copy")
    assert not (tmp_path / "evil").exists()


def test_no_such_bucket(bucket: str, tmp_path: Path) -> None:
    for act in (storage.list_files, storage.read_bytes):
        with pytest.raises(InputError, match=r"s3://nobody/a: S3 refused with NoSuchBucket"):
            act("s3://nobody/a")
    with pytest.raises(InputError, match="S3"):
        storage.publish_folder(_folder(tmp_path / "made"), "s3://nobody/a", last="manifest.json")
    with pytest.raises(InputError, match="names no bucket"):
        storage.read_bytes("s3:///a")


def test_the_endpoint_of_the_moment_counts(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{bucket}/a", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(InputError, match=r"S3 cannot be reached.*AWS_ENDPOINT_URL"):
        storage.read_bytes(f"{bucket}/a")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert storage.read_bytes(f"{bucket}/a") == b"x"


class _Denies(http.server.BaseHTTPRequestHandler):
    def _deny(self) -> None:
        if "Content-Length" in self.headers:
            self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = _deny

    def log_message(self, *_: Any) -> None:
        pass


def test_a_bucket_that_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Denies)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    folder = _folder(tmp_path / "made")
    calls = [
        lambda: storage.exists("s3://private/a"),
        lambda: storage.read_bytes("s3://private/a"),
        lambda: storage.write_bytes("s3://private/a", b"x"),
        lambda: storage.list_files("s3://private/a"),
        lambda: storage.fetch_folder("s3://private/a", tmp_path / "copy"),
        lambda: storage.publish_folder(folder, "s3://private/a", last="manifest.json"),
    ]
    try:
        for call in calls:
            with pytest.raises(InputError, match=r"^s3://private/a.*S3 refused with (403|AccessDenied).*credentials"):
                call()
        monkeypatch.setattr(storage, "exists", lambda uri: False)
        with pytest.raises(InputError, match=r"^s3://private/a.*AccessDenied"):
            storage.publish_folder(folder, "s3://private/a", last="manifest.json")
    finally:
        server.shutdown()
        server.server_close()


def test_without_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.replace("127.0.0.1", "localhost"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"S3 cannot be reached \(Unable to locate credentials\); check the credentials"):
        storage.read_bytes("s3://logs/a")


def test_a_large_file_comes_whole_and_a_folder_goes(bucket: str) -> None:
    with storage.whole_file(f"{bucket}/a/weights") as path:
        path.write_bytes(b"one")
        assert not storage.exists(f"{bucket}/a/weights")
    assert storage.read_bytes(f"{bucket}/a/weights") == b"one"
    storage.write_bytes(f"{bucket}/ab", b"kept")
    storage.remove_folder(f"{bucket}/a")
    storage.remove_folder(f"{bucket}/a")
    assert storage.list_files(bucket) == ["ab"]
