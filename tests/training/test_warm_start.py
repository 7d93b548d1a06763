"""Warm start: rows follow the values they stand for, and a training that starts from the champion starts lower."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from elec.errors import InputError
from elec.features import FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.ids import FIRST_VALUE
from elec.features.vocabulary import Vocabulary
from elec.models import vanilla_network
from elec.runs.workspace import Workspace
from elec.spec.learning import ModelSpec
from elec.steps.training import train_networks
from elec.training.warm_start import matching_rows, warm_start
from tests.training.prepared import DATASET, prepare

MODEL = ModelSpec(embedding=4, deep=(8, 6), dropout=0.2)


def encoder(users: list[str], items: list[str], genres: list[str], edges: tuple[float, ...]) -> FeatureEncoder:
    codes = [*(Vocabulary(pa.array(values)) for values in (users, items, genres)), Buckets(edges)]
    return FeatureEncoder(DATASET.tabular_fields, codes)


OLD = encoder(["ann", "bob", "cid"], ["i1", "i2"], ["odd", "even"], (1.0, 2.0))


def values_of(found: FeatureEncoder) -> list[tuple[str, str]]:
    """For each row of the table the field and the value that it stands for."""
    rows = []
    for field, code in zip(found.fields, found.codes, strict=True):
        special = ["<padding>", "<missing>", "<unknown>"]
        known = code.values.to_pylist() if isinstance(code, Vocabulary) else [str(n) for n in range(code.size - FIRST_VALUE)]
        rows += [(field.name, value) for value in [*special, *known]]
    return rows


def test_each_row_finds_the_row_of_its_value() -> None:
    new = encoder(["eve", "cid", "ann"], ["i2", "i3", "i1"], ["odd"], (1.0, 2.0))
    before, after = values_of(OLD), values_of(new)
    for row, source in enumerate(matching_rows(OLD, new)):
        assert (before[source] if source >= 0 else None) == (after[row] if after[row] in before else None)


def test_moved_edges_and_codes_that_are_learnt_anew_start_fresh() -> None:
    new = encoder(["ann", "bob", "cid"], ["i1", "i2"], ["odd", "even"], (1.0, 2.5))
    found = matching_rows(OLD, new, refit=["genres"])
    fresh = [value for value, source in zip(values_of(new), found, strict=True) if source < 0]
    assert fresh == [("genres", "odd"), ("genres", "even"), ("price", "0"), ("price", "1"), ("price", "2")]


def champion(folder: Path, found: FeatureEncoder = OLD, model: ModelSpec = MODEL) -> dict[str, torch.Tensor]:
    """A kept champion with weights of its own; gives them."""
    found.save(folder / "vocabulary")
    network = vanilla_network(found.fields, model)
    weights = {name: torch.randn_like(value) for name, value in network.state_dict().items()}
    save_file(weights, folder / "vanilla.safetensors")
    fields = [{"name": f.name, "width": f.width, "size": f.size, "kind": str(f.kind)} for f in found.fields]
    record = {"model": model.model_dump(), "fields": fields, "llm_size": 0, "settings": {}, "seed": 1, "best_epochs": {}}
    (folder / "model.json").write_text(json.dumps(record))
    return weights


def test_kept_values_keep_their_rows_and_dense_weights_are_copied(tmp_path: Path) -> None:
    weights = champion(tmp_path / "champion")
    new = encoder(["eve", "cid", "ann"], ["i2", "i3", "i1"], ["odd", "even", "none"], (1.0, 2.0))
    new.save(tmp_path / "vocabulary")
    start, why = warm_start(tmp_path / "champion", tmp_path / "vocabulary", MODEL.model_copy(update={"dropout": 0.5}))
    assert why == "starts from the champion: 21 of 24 embedding rows are known to it"
    assert start is not None
    network = vanilla_network(new.fields, MODEL)
    fresh = network.module.embedding.table.weight.detach().clone()
    start.begin("vanilla", network)
    table, before = network.module.embedding.table.weight, weights["module.embedding.table.weight"]
    places = {value: row for row, value in enumerate(values_of(OLD))}
    for row, value in enumerate(values_of(new)):
        torch.testing.assert_close(table[row], before[places[value]] if value in places else fresh[row], rtol=0, atol=0)
    for name, parameter in network.named_parameters():
        if "table" not in name:
            assert torch.equal(parameter, weights[name]), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embedding": 8}, "the champion is another model (embedding 4, now 8)"),
        ({"name": "dnn", "cross_layers": 3}, "(name dcnv2, now dnn, cross_layers 2, now 3)"),
    ],
)
def test_another_model_starts_fresh_and_says_why(tmp_path: Path, change: dict[str, object], words: str) -> None:
    champion(tmp_path / "champion")
    start, why = warm_start(tmp_path / "champion", tmp_path / "champion" / "vocabulary", MODEL.model_copy(update=change))
    assert start is None
    assert words in why


def test_other_fields_and_vectors_start_fresh(tmp_path: Path) -> None:
    champion(tmp_path / "champion")
    fewer = FeatureEncoder(OLD.specs[:3], OLD.codes[:3])
    fewer.save(tmp_path / "vocabulary")
    assert "reads other fields" in warm_start(tmp_path / "champion", tmp_path / "vocabulary", MODEL)[1]
    assert (
        "text vectors of 0 numbers"
        in warm_start(tmp_path / "champion", tmp_path / "champion" / "vocabulary", MODEL, vector_size=2)[1]
    )
    assert "were not kept" in warm_start(tmp_path / "nothing", tmp_path / "vocabulary", MODEL)[1]
    (tmp_path / "champion" / "model.json").write_text("{}")
    assert "starts fresh: " in warm_start(tmp_path / "champion", tmp_path / "vocabulary", MODEL)[1]


def test_codes_and_vectors_count_only_if_they_mean_the_same(tmp_path: Path) -> None:
    known, other = tmp_path / "champion", tmp_path / "knowledge"
    champion(known)
    other.mkdir()
    (known / "codebooks.safetensors").write_bytes(b"codes")
    for codes, rows in ((b"codes", 22), (b"other", 20)):
        (other / "codebooks.safetensors").write_bytes(codes)
        start, _ = warm_start(known, known / "vocabulary", MODEL, semantic=["genres"], knowledge=other)
        assert start is not None
        assert np.count_nonzero(start.row_V >= 0) == rows
    record = json.loads((known / "model.json").read_text()) | {"vector_size": 2}
    (known / "model.json").write_text(json.dumps(record))
    assert "another projection" in warm_start(known, known / "vocabulary", MODEL, vector_size=2, knowledge=other)[1]


def test_weights_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    champion(tmp_path / "champion")
    start, _ = warm_start(tmp_path / "champion", tmp_path / "champion" / "vocabulary", MODEL)
    assert start is not None
    (tmp_path / "champion" / "vanilla.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"vanilla\.safetensors: cannot be read .*set run\.distill\.warm_start to false"):
        start.begin("vanilla", vanilla_network(OLD.fields, MODEL))


def test_a_retraining_starts_lower_from_the_champion(tmp_path: Path) -> None:
    inputs = {name: tmp_path / "first" / name for name in ("features", "texts", "mllm")}
    workspace = str(tmp_path / "workspace")
    first = prepare(tmp_path / "first", workspace)
    train_networks(first, inputs, tmp_path / "champion")

    # The next window has ten new users, lacks ten old ones, and counts values in another order.
    later = {name: tmp_path / "later" / name for name in inputs}
    job = prepare(tmp_path / "later", workspace, seed=1, first_user=10, run={"distill": {"warm_start": True, "epochs": 1}})
    cold = train_networks(job, later, tmp_path / "cold")
    assert cold["warm_start"] == {"vanilla": "starts fresh: there is no champion yet"}

    space = Workspace(workspace)
    kept = Path(space.weights("small-1"))
    kept.mkdir(parents=True)
    for path in (*(tmp_path / "champion").glob("*.safetensors"), tmp_path / "champion" / "model.json"):
        shutil.copy(path, kept)
    shutil.copytree(inputs["features"] / "vocabulary", kept / "vocabulary")
    space.promote("small-1", "run-0")
    warm = train_networks(job, later, tmp_path / "warm")
    assert warm["warm_start"]["vanilla"].startswith("starts from the champion: ")
    for network in ("vanilla", "gain", "plain"):
        assert warm["curves"][network][0]["loss"] < 0.95 * cold["curves"][network][0]["loss"], network

    other = job.model_copy(
        update={
            "spec": job.spec.model_copy(
                update={"run": job.spec.run.model_copy(update={"model": MODEL.model_copy(update={"embedding": 5})})}
            )
        }
    )
    fresh = train_networks(other, later, tmp_path / "other")
    assert "embedding 4, now 5" in fresh["warm_start"]["vanilla"]
    assert not np.isnan(fresh["valid_auc"]["vanilla"])
    assert load_file(tmp_path / "other" / "vanilla.safetensors")["module.embedding.table.weight"].shape[1] == 5
