import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from elec import storage
from elec.errors import BlockedError, InputError
from elec.runs.workspace import Workspace
from elec.serving.bundle import open_bundle
from elec.serving.manifest import MANIFEST, read_manifest
from elec.serving.publish import publish_bundle
from tests.serving.made import variant


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publishing_twice_is_fine_and_changes_nothing(made: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    uri = publish_bundle(made / "bundle", workspace)
    assert Path(uri).parent == tmp_path / "registry" / "bundles"
    before = {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*")}
    assert publish_bundle(made / "bundle", workspace) == uri
    assert {path: path.stat().st_mtime_ns for path in Path(uri).rglob("*")} == before


def test_the_same_model_from_another_run_keeps_the_first_publication(made: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "runs"))
    uri = publish_bundle(made / "bundle", workspace)
    again = variant(made / "bundle", tmp_path / "again", run_id="run-2")
    assert publish_bundle(tmp_path / "again", workspace) == uri == workspace.bundle(again.bundle_id)
    assert open_bundle(uri).manifest.run_id == "run-1"


def test_another_bundle_under_the_same_id_is_never_overwritten(made: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "runs"))
    shutil.copytree(made / "bundle", tmp_path / "changed")
    (tmp_path / "changed" / "golden.json").write_bytes(b"{}")
    other = variant(tmp_path / "changed", tmp_path / "other")
    mine = read_manifest(made / "bundle")
    # Someone put it where it does not belong.
    shutil.copytree(tmp_path / "other", workspace.bundle(mine.bundle_id))
    with pytest.raises(BlockedError, match="another bundle is published there"):
        publish_bundle(made / "bundle", workspace)
    assert read_manifest(Path(workspace.bundle(mine.bundle_id))) == other


def test_a_damaged_bundle_is_not_published(copy: Path, tmp_path: Path) -> None:
    (copy / "model.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="SHA-256 differs"):
        publish_bundle(copy, Workspace(str(tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()


def _publish(folder: Path, workspace: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    publish_bundle(folder, Workspace(workspace))


def test_of_two_publishers_one_wins_and_nothing_is_mixed(made: Path, tmp_path: Path) -> None:
    """Same content hash, different manifests: what is published afterwards is one of the two, whole."""
    variant(made / "bundle", tmp_path / "again", run_id="run-2")
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        workspace = str(tmp_path / f"runs-{attempt}")
        start = time.time() + 0.1
        both = [
            context.Process(target=_publish, args=(folder, workspace, start))
            for folder in (made / "bundle", tmp_path / "again")
        ]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        (published,) = Path(workspace, "registry", "bundles").iterdir()
        assert files_of(published) in (files_of(made / "bundle"), files_of(tmp_path / "again"))
        open_bundle(published)


SLOW_PUBLISHER = """
import shutil, sys, time
from pathlib import Path
from elec.runs.workspace import Workspace
from elec.serving.publish import publish_bundle
copy = shutil.copyfile
def slow(source, target, **other):
    print("copying", flush=True)
    time.sleep(0.05)
    return copy(source, target, **other)
shutil.copyfile = slow
publish_bundle(Path(sys.argv[1]), Workspace(sys.argv[2]))
"""


@pytest.mark.parametrize("files_before_the_kill", [1, 3, 6])
def test_kill_in_the_middle_of_publishing_leaves_nothing_half_published(
    made: Path, tmp_path: Path, files_before_the_kill: int
) -> None:
    command = [sys.executable, "-c", SLOW_PUBLISHER, str(made / "bundle"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(files_before_the_kill):
            assert process.stdout.readline() == b"copying\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    workspace = Workspace(str(tmp_path))
    place = Path(workspace.bundle(read_manifest(made / "bundle").bundle_id))
    assert not place.exists()
    # The rerun completes.
    assert files_of(Path(publish_bundle(made / "bundle", workspace))) == files_of(made / "bundle")
    open_bundle(place)


def test_s3(made: Path, tmp_path: Path, bucket: str) -> None:
    workspace = Workspace(bucket)
    uri = publish_bundle(made / "bundle", workspace)
    assert publish_bundle(made / "bundle", workspace) == uri
    cache = tmp_path / "cache"
    bundle = open_bundle(uri, cache)
    assert files_of(bundle.folder) == files_of(made / "bundle")

    # A copy that somebody changed is fetched anew, not trusted.
    (bundle.folder / "model.onnx").write_bytes(b"x")
    assert files_of(open_bundle(uri, cache).folder) == files_of(made / "bundle")
    assert [path.name for path in cache.iterdir()] == [bundle.folder.name]


def test_s3_refuses_what_does_not_belong(made: Path, tmp_path: Path, bucket: str) -> None:
    uri = publish_bundle(made / "bundle", Workspace(bucket))
    extra = storage.join(uri, "extra.bin")
    storage.write_bytes(extra, b"x")
    with pytest.raises(InputError, match=r"'extra\.bin' is not in the bundle's manifest"):
        open_bundle(uri, tmp_path / "cache")
    boto3.client("s3").delete_object(Bucket="elec", Key=extra.removeprefix("s3://elec/"))
    storage.write_bytes(storage.join(uri, "golden.json"), b"{}")
    with pytest.raises(InputError, match=f"{uri}/golden.json: not the file that was published"):
        open_bundle(uri, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_s3_a_publication_that_was_cut_short_is_no_bundle_and_the_rerun_completes(
    made: Path, tmp_path: Path, bucket: str
) -> None:
    workspace = Workspace(bucket)
    uri = workspace.bundle(read_manifest(made / "bundle").bundle_id)
    storage.write_bytes(storage.join(uri, "model.onnx"), b"half")
    with pytest.raises(InputError, match=f"no bundle, for it has no {MANIFEST}"):
        open_bundle(uri, tmp_path / "cache")
    publish_bundle(made / "bundle", workspace)
    assert files_of(open_bundle(uri, tmp_path / "cache").folder) == files_of(made / "bundle")


def test_s3_two_at_once(made: Path, tmp_path: Path, bucket: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    variant(made / "bundle", tmp_path / "again", run_id="run-2")
    with ThreadPoolExecutor(2) as pool:
        folders = [made / "bundle", tmp_path / "again"]
        uris = list(pool.map(lambda folder: publish_bundle(folder, Workspace(bucket)), folders))
    assert uris[0] == uris[1]
    published = files_of(open_bundle(uris[0], tmp_path / "cache").folder)
    assert published in [files_of(folder) for folder in folders]
