"""Publication on a real S3 server: publishers that race, die in the middle, or lose the server; readers meanwhile."""

import multiprocessing
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elec import s3, storage
from elec.errors import InputError
from elec.runs.workspace import Workspace
from elec.serving.bundle import open_bundle
from elec.serving.manifest import MANIFEST, read_manifest
from elec.serving.publish import publish_bundle
from tests.serving.made import variant
from tests.serving.seaweed import BUCKET, SeaweedS3, seaweed
from tests.serving.test_bundle import rewrite
from tests.serving.test_publish import files_of

#: Above what one request takes, so that a file goes up in parts.
LARGE = 9 * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedS3]:
    yield from seaweed(tmp_path_factory.mktemp("seaweed"))


@pytest.fixture
def workspace(server: SeaweedS3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Workspace:
    """An empty workspace, to which this process's environment leads."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Workspace(f"s3://{BUCKET}/{request.node.name}")


@pytest.fixture(scope="module")
def two(made: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Bundles of the same files, one of them large, from two runs: the same place, different manifests."""
    root = tmp_path_factory.mktemp("two")
    shutil.copytree(made / "bundle", root / "large")
    # Bytes that do not repeat, as of weights.
    (root / "large" / "model.onnx.data").write_bytes(multiprocessing.get_context().Process().authkey * (LARGE // 32))
    for run in ("run-1", "run-2"):
        variant(root / "large", root / run, run_id=run)
    return [root / "run-1", root / "run-2"]


def _publish(folder: Path, workspace: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    publish_bundle(folder, Workspace(workspace))


def test_of_two_processes_one_wins_and_a_reader_sees_nothing_or_all(
    two: list[Path], tmp_path: Path, workspace: Workspace
) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.time() + 2.5
    publishers = [context.Process(target=_publish, args=(folder, workspace.uri, start)) for folder in two]
    for process in publishers:
        process.start()
    uri = workspace.bundle(read_manifest(two[0]).bundle_id)
    seen = set()
    while any(process.is_alive() for process in publishers):
        if storage.exists(storage.join(uri, MANIFEST)):
            # From its first moment it is whole, and it does not change any more.
            seen.add(open_bundle(uri, tmp_path / "cache").manifest.run_id)
    assert [process.exitcode for process in publishers] == [0, 0]
    published = open_bundle(uri, tmp_path / "cache")
    assert seen <= {published.manifest.run_id}
    assert files_of(published.folder) in [files_of(folder) for folder in two]
    # And both find their work done.
    assert {publish_bundle(folder, workspace) for folder in two} == {uri}
    assert open_bundle(uri, tmp_path / "other").manifest == published.manifest


def test_kill_in_the_middle_is_no_bundle_and_the_rerun_completes(two: list[Path], tmp_path: Path, workspace: Workspace) -> None:
    manifest = read_manifest(two[0])
    uri = workspace.bundle(manifest.bundle_id)
    context = multiprocessing.get_context("spawn")
    for objects in (1, 3):
        process = context.Process(target=_publish, args=(two[0], workspace.uri, 0.0))
        process.start()
        while len(storage.list_files(uri)) < objects:
            assert process.is_alive(), "it was done before it could be killed"
        process.kill()
        process.join()
        with pytest.raises(InputError, match=f"no bundle, for it has no {MANIFEST}"):
            open_bundle(uri, tmp_path / "cache")
    assert publish_bundle(two[0], workspace) == uri
    assert files_of(open_bundle(uri, tmp_path / "cache").folder) == files_of(two[0])


def test_what_does_not_belong_is_refused(made: Path, tmp_path: Path, server: SeaweedS3, workspace: Workspace) -> None:
    uri = publish_bundle(made / "bundle", workspace)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    client = server.client()

    def refused(why: str) -> None:
        with pytest.raises(InputError, match=why):
            open_bundle(uri, tmp_path / "cache")
        assert list((tmp_path / "cache").glob("*")) == [], "a refused bundle leaves nothing behind"

    content = (made / "bundle" / "model.onnx").read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0x01
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/model.onnx", Body=bytes(flipped))
    refused("model.onnx: not the file that was published")
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/model.onnx")
    refused("'model.onnx' is missing")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/model.onnx", Body=content)
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/vocabulary/extra.arrow", Body=b"x")
    refused(r"'vocabulary/extra\.arrow' is not in the bundle's manifest")
    client.delete_object(Bucket=BUCKET, Key=f"{prefix}/vocabulary/extra.arrow")
    climbing = read_manifest(made / "bundle").files | {"../outside": "0" * 64}
    for number, (changes, why) in enumerate(
        (({"schema_version": 99}, "schema_version is 99"), ({"files": climbing}, "'../outside' leads out of the bundle"))
    ):
        copy = Path(shutil.copytree(made / "bundle", tmp_path / str(number)))
        rewrite(copy, **changes)
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{MANIFEST}", Body=(copy / MANIFEST).read_bytes())
        refused(why)
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/{MANIFEST}", Body=(made / "bundle" / MANIFEST).read_bytes())
    assert files_of(open_bundle(uri, tmp_path / "cache").folder) == files_of(made / "bundle")


def test_two_processes_that_fetch_at_once_share_one_copy(two: list[Path], tmp_path: Path, workspace: Workspace) -> None:
    uri = publish_bundle(two[0], workspace)
    with ThreadPoolExecutor(4) as pool:
        folders = {bundle.folder for bundle in pool.map(lambda _: open_bundle(uri, tmp_path / "cache"), range(4))}
    (folder,) = folders
    assert files_of(folder) == files_of(two[0])
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_wrong_credentials_are_one_sentence(made: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    # A client remembers what it was made with.
    s3.client_at.cache_clear()
    try:
        with pytest.raises(InputError, match="S3 refused with") as error:
            publish_bundle(made / "bundle", workspace)
        assert "not the secret" not in str(error.value)
    finally:
        s3.client_at.cache_clear()


@pytest.mark.slow
def test_the_server_is_killed_in_the_middle_and_comes_back(
    two: list[Path], tmp_path: Path, server: SeaweedS3, workspace: Workspace
) -> None:
    uri = workspace.bundle(read_manifest(two[0]).bundle_id)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish_bundle, two[0], workspace)
        while not storage.list_files(uri):
            assert not publishing.done()
        server.kill()
        with pytest.raises(InputError, match=r"S3 cannot be reached|S3 refused"):
            publishing.result()
    with pytest.raises(InputError, match=r"S3 cannot be reached|S3 refused"):
        open_bundle(uri, tmp_path / "cache")
    server.start()
    with pytest.raises(InputError, match="no bundle"):
        open_bundle(uri, tmp_path / "cache")
    assert publish_bundle(two[0], workspace) == uri
    assert files_of(open_bundle(uri, tmp_path / "cache").folder) == files_of(two[0])
