"""A made bundle of eight fields with many ids, its users and items in an online store: what the serving benchmarks serve."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.features import FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.definitions import project_name
from elec.features.frame import frame_schema
from elec.features.repository import FeatureRepository
from elec.features.vocabulary import Vocabulary
from elec.serving.manifest import BundleMetadata
from elec.spec import Spec
from elec.spec.learning import ModelSpec
from elec.spec.run import FeastSpec
from elec.version import code_version

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)

_CITIES, _CATEGORIES, _TAGS = 500, 300, 2000
_GOLDEN_ROWS = 500


def made_spec(feast: FeastSpec) -> Spec:
    """Eight fields, the paper's network; users and items in the given store."""
    return Spec.model_validate(
        {
            "dataset": {
                "name": "made",
                "source": {"path": "/nowhere/made.csv"},
                "label": {"column": "click"},
                "timestamp": {"column": "time"},
                "user": "user_id",
                "item": "item_id",
                "fields": [
                    {"name": "age", "of": "user", "kind": "numeric"},
                    {"name": "city", "of": "user"},
                    {"name": "category", "of": "item"},
                    {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 3},
                    {"name": "price", "of": "item", "kind": "numeric"},
                    {"name": "hour"},
                ],
            },
            "run": {"feast": feast.model_dump()},
        }
    )


def build(spec: Spec, folder: Path, *, ids: int, model: ModelSpec | None = None) -> Path:
    """Builds a bundle of random weights in `folder/bundle`.

    Args:
        spec: Of `made_spec`.
        folder: Where its parts are left too.
        ids: Values of the vocabularies together; nine in ten are users.
        model: The network; the paper's when left out.

    Returns:
        The bundle's folder.
    """
    import torch

    from elec.export.bundle import build_bundle
    from elec.models import vanilla_network
    from elec.training.checkpoint import ModelRecord, field_records, save_weights

    model = model or spec.run.model
    features = folder / "features"
    (features / "frame").mkdir(parents=True)
    users = ids * 9 // 10
    known = {
        "user_id": [f"user-{number}" for number in range(users)],
        "item_id": [f"item-{number}" for number in range(ids - users)],
        "city": [f"city {number}" for number in range(_CITIES)],
        "category": [f"category {number}" for number in range(_CATEGORIES)],
        "tags": [f"tag {number}" for number in range(_TAGS)],
        "hour": [str(number) for number in range(24)],
    }
    edges = {"age": tuple(range(20, 70, 5)), "price": tuple(range(1, 1000, 20))}
    fields = spec.dataset.tabular_fields
    codes = [
        Vocabulary(pa.array(known[field.name])) if field.name in known else Buckets(edges=edges[field.name]) for field in fields
    ]
    encoder = FeatureEncoder(fields, codes)
    encoder.save(features / "vocabulary")
    draw = np.random.default_rng(1)
    rows = {
        "row_id": np.arange(_GOLDEN_ROWS),
        "label": draw.integers(0, 2, _GOLDEN_ROWS),
        "event_timestamp": pa.array([AS_OF] * _GOLDEN_ROWS, pa.timestamp("us", tz="UTC")),
        "hour": pa.array(draw.integers(0, 24, _GOLDEN_ROWS)).cast(pa.string()),
        **_users(draw.integers(0, users, _GOLDEN_ROWS)),
        **_items(draw.integers(0, ids - users, _GOLDEN_ROWS)),
    }
    schema = frame_schema(spec.dataset)
    pq.write_table(pa.table({name: rows[name] for name in schema.names}).cast(schema), features / "frame" / "test.parquet")
    torch.manual_seed(0)
    network = vanilla_network(encoder.fields, model, 0)
    with torch.no_grad():
        network.module.embedding.table.weight.normal_(std=0.1)
    record = ModelRecord(
        student="vanilla",
        vector_size=0,
        model=model,
        fields=field_records(encoder.fields),
        llm_size=128,
        settings=spec.run.distill,
        seed=0,
        best_epochs={"vanilla": 1},
    )
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text(record.model_dump_json(), encoding="utf-8")
    save_weights(network, folder / "model" / "vanilla.safetensors")
    metadata = BundleMetadata(
        run_id="made",
        as_of=AS_OF,
        code_version=code_version(),
        feature_service=f"{project_name(spec.dataset.name)}_v1",
        feature_views=("users", "items"),
    )
    build_bundle(spec, folder / "model", features, folder / "bundle", metadata=metadata)
    return folder / "bundle"


def publish(spec: Spec, folder: Path, *, users: int, items: int) -> Path:
    """Puts the first users and items into the online store of the spec.

    Returns:
        The Feast folder.
    """
    rows = folder / "rows"
    rows.mkdir()
    for name, columns in (("users", _users(np.arange(users))), ("items", _items(np.arange(items)))):
        count = len(next(iter(columns.values())))
        times = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * count, pa.timestamp("us", tz="UTC"))
        pq.write_table(pa.table({**columns, "event_timestamp": times}), rows / f"{name}.parquet")
    with FeatureRepository(spec.dataset, folder / "feast", spec.run.feast).published(rows, AS_OF):
        return folder / "feast"


def _users(numbers: np.ndarray) -> dict[str, pa.Array]:
    return {
        "user_id": pa.array([f"user-{number}" for number in numbers]),
        "age": pa.array([float(18 + number % 60) for number in numbers]),
        "city": pa.array([f"city {number % _CITIES}" for number in numbers]),
    }


def _items(numbers: np.ndarray) -> dict[str, pa.Array]:
    return {
        "item_id": pa.array([f"item-{number}" for number in numbers]),
        "category": pa.array([f"category {number % _CATEGORIES}" for number in numbers]),
        "tags": pa.array(
            [[f"tag {(number * step) % _TAGS}" for step in range(1, 1 + number % 4)] for number in numbers.tolist()]
        ),
        "price": pa.array([float(number % 1000) for number in numbers]),
    }
