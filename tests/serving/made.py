"""A small data set, its vocabulary, a network with random weights, and the bundle of all three."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.features import FeatureEncoder
from elec.features.frame import frame_schema
from elec.features.vectors import VectorViews
from elec.features.vocabulary import Vocabulary
from elec.serving.bundle import hashes
from elec.serving.manifest import MANIFEST, BundleMetadata, Manifest, Student, bundle_id, read_manifest
from elec.spec import Entity, FieldSpec, Spec
from elec.spec.learning import ModelSpec

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
USERS, ITEMS = 40, 60
#: Numbers of a text vector.
VECTOR = 6

SPEC = Spec.model_validate(
    {
        "dataset": {
            "name": "toy",
            "source": {"path": "/nowhere/toy.csv"},
            "label": {"column": "click"},
            "timestamp": {"column": "time"},
            "user": "user_id",
            "item": "item_id",
            "fields": [
                {"name": "age", "of": "user", "kind": "numeric", "buckets": 4},
                {"name": "city", "of": "user"},
                {"name": "title", "of": "item", "kind": "text"},
                {"name": "genres", "of": "item", "kind": "multivalued", "max_values": 3},
                {"name": "price", "of": "item", "kind": "numeric", "buckets": 5},
                {"name": "hour"},
            ],
        },
        "run": {"model": {"embedding": 8, "deep": [16, 8]}},
    }
)

UNSPLIT = SPEC.model_copy(
    update={"run": SPEC.run.model_copy(update={"serving": SPEC.run.serving.model_copy(update={"split": False})})}
)


def users_table() -> pa.Table:
    ids = np.arange(USERS)
    return pa.table(
        {
            "user_id": [f"u{i}" for i in ids],
            "event_timestamp": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * USERS, pa.timestamp("us", tz="UTC")),
            "age": [None if i % 9 == 0 else float(18 + i) for i in ids],
            "city": [None if i % 7 == 0 else f"c{i % 5}" for i in ids],
        }
    )


def items_table() -> pa.Table:
    ids = np.arange(ITEMS)
    return pa.table(
        {
            "item_id": [f"i{i}" for i in ids],
            "event_timestamp": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * ITEMS, pa.timestamp("us", tz="UTC")),
            "title": [f"Item {i}" for i in ids],
            "genres": pa.array([None if i % 11 == 0 else [f"g{j}" for j in range(i % 5)] for i in ids], pa.list_(pa.string())),
            "price": [float(i * 1.5) for i in ids],
        }
    )


def frame(rows: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, USERS, rows), draw.integers(0, ITEMS, rows)
    users, items = users_table().take(user), items_table().take(item)
    columns = {
        "row_id": np.arange(rows),
        "label": pa.array(draw.integers(0, 2, rows), pa.int8()),
        "event_timestamp": pa.array([AS_OF] * rows, pa.timestamp("us", tz="UTC")),
        "hour": [None if h == 3 else str(h) for h in draw.integers(0, 24, rows)],
    }
    for table in (users, items):
        columns |= {name: table[name] for name in table.column_names if name != "event_timestamp"}
    return pa.table({name: columns[name] for name in frame_schema(SPEC.dataset).names}).cast(frame_schema(SPEC.dataset))


def make_features(folder: Path) -> Path:
    """What the features step leaves, as far as a bundle needs it."""
    (folder / "frame").mkdir(parents=True)
    pq.write_table(frame(800, 1), folder / "frame" / "train.parquet")
    pq.write_table(frame(300, 2), folder / "frame" / "test.parquet")
    FeatureEncoder.fit(SPEC.dataset, folder / "frame" / "train.parquet").save(folder / "vocabulary")
    return folder


def make_knowledge(features: Path, folder: Path) -> Path:
    """What students other than the vanilla one read; the last items and users are left out of it, and have no history."""
    draw = np.random.default_rng(5)
    items = [f"i{i}" for i in range(ITEMS - 5)]
    first = [str(i % 4) for i in range(len(items))]
    second = [f"{code}-{i % 3}" for i, code in enumerate(first)]
    vectors_IV, vectors_UV = draw.normal(size=(len(items), VECTOR)), draw.normal(size=(USERS - 5, VECTOR))
    folder.mkdir(parents=True)
    described = {"item_id": items, "code_1": first, "code_2": second, "vector": _vector_column(vectors_IV)}
    pq.write_table(pa.table(described), folder / "items.parquet")
    users = {"user_id": [f"u{i}" for i in range(USERS - 5)]}
    users["event_timestamp"] = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * (USERS - 5), pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table(users | {"vector": _vector_column(vectors_UV)}), folder / "users.parquet")
    (folder / "projection.safetensors").write_bytes(b"as if")
    encoder = FeatureEncoder.load(features / "vocabulary")
    specs = [FieldSpec(name=name, of=Entity.ITEM) for name in ("semantic_id_1", "semantic_id_2")]
    codes = [Vocabulary(pa.array(sorted(set(values)))) for values in (first, second)]
    encoder.extended(specs, codes).save(folder / "vocabulary")
    (folder / "rows").mkdir()
    rows = pq.read_table(features / "frame" / "test.parquet", columns=["user_id", "item_id"]).to_pylist()
    of_user = {f"u{i}": vector for i, vector in enumerate(vectors_UV)}
    of_item = {f"i{i}": vector for i, vector in enumerate(vectors_IV)}
    nothing = np.zeros(VECTOR)
    rows_N2V = np.array([(of_user.get(row["user_id"], nothing), of_item.get(row["item_id"], nothing)) for row in rows])
    np.save(folder / "rows" / "test.npy", rows_N2V.astype(np.float16))
    return folder


def _vector_column(vectors_NV: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_NV.astype(np.float32).reshape(-1)), vectors_NV.shape[1])


def make_model(
    features: Path, folder: Path, *, seed: int = 0, model: ModelSpec = SPEC.run.model, student: Student = "vanilla"
) -> Path:
    """What the distillation step leaves, with random weights wide enough for scores to differ.

    `features` is the knowledge for the student that reads semantic ids.
    """
    import torch

    from elec.models import vanilla_network
    from elec.training.checkpoint import ModelRecord, field_records, save_weights

    fields = FeatureEncoder.load(features / "vocabulary").fields
    torch.manual_seed(seed)
    vector_size = VECTOR if student == "vectors" else 0
    network = vanilla_network(fields, model, vector_size)
    with torch.no_grad():
        network.module.embedding.table.weight.normal_(std=0.5)
    record = ModelRecord(
        student=student,
        vector_size=vector_size,
        model=model,
        fields=field_records(fields),
        llm_size=128,
        settings=SPEC.run.distill,
        seed=seed,
        best_epochs={"vanilla": 1},
    )
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(record.model_dump_json())
    save_weights(network, folder / "vanilla.safetensors")
    return folder


def metadata(**other: object) -> BundleMetadata:
    return BundleMetadata.model_validate(
        {
            "run_id": "run-1",
            "as_of": AS_OF,
            "code_version": "abc",
            "metrics": {"auc": 0.7},
            "llm": "none",
            "feature_service": f"{SPEC.dataset.name}_v1",
            "feature_views": ("users", "items"),
        }
        | other
    )


def make_bundle(root: Path, *, seed: int = 0) -> Manifest:
    """A bundle in `root/bundle`, with its features and its model beside it."""
    from elec.export.bundle import build_bundle

    features = root / "features"
    if not features.exists():
        make_features(features)
    model = make_model(features, root / f"model-{seed}", seed=seed)
    return build_bundle(SPEC, model, features, root / "bundle", metadata=metadata())


def variant(bundle: Path, folder: Path, **changes: object) -> Manifest:
    """A copy of a bundle's folder with a manifest that fits its files, and differs as said."""
    shutil.copytree(bundle, folder)
    content = read_manifest(bundle).model_dump() | {"files": hashes(folder)} | changes
    content["bundle_id"] = bundle_id(content["dataset"], content["as_of"], content["files"])
    (folder / MANIFEST).write_bytes(Manifest.model_validate(content).to_bytes())
    return read_manifest(folder)


def make_student(root: Path, student: Student) -> Manifest:
    """The bundle of a student in `root/<student>`, from the features, knowledge and views of vectors of that folder."""
    from elec.export.bundle import build_bundle

    features, knowledge = root / "features", root / "knowledge"
    if not features.exists():
        make_knowledge(make_features(features), knowledge)
    encoded = knowledge if student == "semantic_ids" else features
    model = make_model(encoded, root / f"{student}-model", seed=7, student=student)
    return build_bundle(
        SPEC,
        model,
        features,
        root / student,
        metadata=metadata(),
        student=student,
        knowledge=knowledge,
        vectors=vector_views(knowledge) if student == "vectors" else None,
    )


def unsplit(root: Path, student: Student, folder: Path) -> Path:
    """The bundle of a student of `make_student`, the network of which is in one piece."""
    from elec.export.bundle import build_bundle

    whole = SPEC.run.serving.model_copy(update={"split": False})
    build_bundle(
        SPEC.model_copy(update={"run": SPEC.run.model_copy(update={"serving": whole})}),
        root / f"{student}-model",
        root / "features",
        folder / student,
        metadata=metadata(),
        student=student,
        knowledge=root / "knowledge",
        vectors=vector_views(root / "knowledge") if student == "vectors" else None,
    )
    return folder / student


def vector_views(knowledge: Path) -> VectorViews:
    """The views of made vectors."""
    return VectorViews.of(knowledge / "projection.safetensors", size=VECTOR, history=SPEC.run.student.history)


@functools.cache
def shared_students() -> Path:
    """One folder with the bundles of all students, and a Feast folder with their vectors, for all tests of this process."""
    from elec.features.repository import FeatureRepository

    root = _shared_folder()
    for student in get_args(Student):
        make_student(root, student)
    shutil.copytree(shared_feast(), root / "feast")
    knowledge = root / "knowledge"
    repository = FeatureRepository(SPEC.dataset, root / "feast", SPEC.run.feast)
    rows = {Entity.USER: knowledge / "users.parquet", Entity.ITEM: knowledge / "items.parquet"}
    repository.publish_vectors(vector_views(knowledge), rows, AS_OF)
    return root


@functools.cache
def shared_bundle() -> Path:
    """One bundle for all tests of this process: the export takes seconds."""
    root = _shared_folder()
    make_bundle(root)
    return root


@functools.cache
def shared_feast() -> Path:
    """One Feast folder for all tests of this process."""
    from elec.features.repository import FeatureRepository

    root = _shared_folder()
    pq.write_table(users_table(), root / "users.parquet")
    pq.write_table(items_table(), root / "items.parquet")
    with FeatureRepository(SPEC.dataset, root / "feast", SPEC.run.feast).published(root, AS_OF):
        return root / "feast"


@contextmanager
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on a server of one's own, to which this process's environment leads."""
    import boto3
    import httpx
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # Its state is the process's: what an earlier server held is still there.
    httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()
    boto3.client("s3").create_bucket(Bucket="elec")
    try:
        yield "s3://elec/ws"
    finally:
        server.stop()


def _shared_folder() -> Path:
    root = Path(tempfile.mkdtemp(prefix="elec-tests-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
