"""Students and modes: what each reads, who teaches whom, and which files are written."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from elec.errors import InputError
from elec.evaluation import auc, pcoc
from elec.features import FeatureEncoder
from elec.llm import VectorStore, llm_id
from elec.llm.mllm import load_mllm
from elec.llm.representations import PairRepresentations, representations_of
from elec.llm.rows import read_texts
from elec.progress import Progress
from elec.spec import DatasetSpec, Spec
from elec.spec.run import RunSpec
from elec.training import DistillReport, PairTeacher, distill, load_network, load_record, read_inputs, train_pair
from elec.training.data import load_rows
from tests.training.prepared import ROWS, prepare

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


class World:
    """Prepared folders, and trainings on them."""

    def __init__(self, folder: Path) -> None:
        self.job = prepare(folder)
        self.folder = folder
        self.features = folder / "features"
        store = VectorStore(self.job.space.vectors, llm_id(self.job.spec.run.llm))
        mllm = load_mllm(folder / "mllm")
        self.known = representations_of(mllm, folder / "texts", store)
        vectors = store.gather(pq.read_table(folder / "texts" / "texts.parquet")["key"])
        _, _, numbers = read_texts(folder / "texts" / "rows" / "train.parquet")
        texts = numbers.astype(np.int64)
        self.teacher = PairTeacher(texts[:, 0], texts[:, 1], PairRepresentations(mllm, vectors))
        self.knowledge = _knowledge(self.features, folder / "knowledge", self.job.spec.dataset)

    def spec(self, *train: str, **distilling: object) -> Spec:
        run = self.job.spec.run.model_dump()
        run["distill"] |= distilling
        run["student"]["train"] = train or ("vanilla",)
        return Spec(dataset=self.job.spec.dataset, run=RunSpec.model_validate(run))

    def train(self, spec: Spec, model: Path, *, labels_only: bool = False) -> DistillReport:
        known = None if labels_only else self.known
        return distill(spec, self.features, known, model, "cpu", knowledge=self.knowledge, teacher=self.teacher)


def _knowledge(features: Path, folder: Path, dataset: DatasetSpec) -> Path:
    """A field more of the item, and vectors that tell its number."""
    described = dataset.model_dump(mode="json")
    described["fields"].append({"name": "semantic_id_1", "of": "item"})
    (folder / "encoded").mkdir(parents=True)
    (folder / "rows").mkdir()
    encoder = None
    for split, rows in ROWS.items():
        frame = pq.read_table(features / "frame" / f"{split}.parquet")
        items = np.array(frame["item"].to_pylist()).astype(int)
        frame = frame.append_column("semantic_id_1", pa.array([str(item % 4) for item in items]))
        pq.write_table(frame, folder / "frame.parquet")
        encoder = encoder or FeatureEncoder.fit(DatasetSpec.model_validate(described), folder / "frame.parquet")
        slots = pa.FixedSizeListArray.from_arrays(pa.array(encoder.encode(frame).ravel()), encoder.slots)
        encoded = pq.read_table(features / "encoded" / f"{split}.parquet").drop(["slots"]).append_column("slots", slots)
        pq.write_table(encoded, folder / "encoded" / f"{split}.parquet")
        vectors = np.random.default_rng(1).normal(size=(rows, 2, 3)).astype(np.float16)
        np.save(folder / "rows" / f"{split}.npy", vectors)
    assert encoder is not None
    encoder.save(folder / "vocabulary")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_several_students_have_a_folder_each_and_the_best_one_is_the_model(world: World, tmp_path: Path) -> None:
    model = tmp_path / "model"
    report = world.train(world.spec("vanilla", "semantic_ids", "vectors", epochs=2), model)
    record = json.loads((model / "students.json").read_text())
    figures = record["students"]
    assert set(figures) == set(report.students) == {"vanilla", "semantic_ids", "vectors"}
    assert record["chosen"] == report.student == max(figures, key=lambda name: figures[name]["valid_auc"]["vanilla"])
    assert report.valid_auc == figures[report.student]["valid_auc"]
    own = {path.relative_to(model / "students" / "vectors") for path in (model / "students" / "vectors").rglob("*")}
    for name in figures:
        folder = model / "students" / name
        assert {path.relative_to(folder) for path in folder.rglob("*")} == own
        found = load_record(folder)
        assert (found.student, found.vector_size) == (name, 3 if name == "vectors" else 0)
    assert load_record(model).student == report.student
    assert (model / "vanilla.safetensors").read_bytes() == (
        model / "students" / report.student / "vanilla.safetensors"
    ).read_bytes()
    fields = [field.name for field in load_record(model / "students" / "semantic_ids").fields]
    assert fields == ["user", "item", "genres", "price", "semantic_id_1"]
    # A student alone is the model, with the files that it has among others.
    world.train(world.spec("vectors", epochs=2), tmp_path / "alone")
    assert {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*")} == own
    for network in ("vanilla", "gain", "plain"):
        among, alone = (
            load_file(path / f"{network}.safetensors") for path in (model / "students" / "vectors", tmp_path / "alone")
        )
        assert all(torch.equal(among[name], alone[name]) for name in among)


def test_a_loaded_student_predicts_what_was_written(world: World, tmp_path: Path) -> None:
    world.train(world.spec("vectors", epochs=1), tmp_path / "model")
    network = load_network(tmp_path / "model")
    vectors = np.load(world.knowledge / "rows" / "test.npy")
    rows = load_rows(world.features / "encoded" / "test.parquet", None, vectors)
    batch = next(rows.in_order(1000))
    with torch.inference_mode():
        logit, _ = network(batch.slots_BS, batch.vectors_B2V)  # type: ignore[call-arg, arg-type]
    written = pq.read_table(tmp_path / "model" / "predictions" / "test.parquet")["vanilla"].to_numpy()
    np.testing.assert_allclose(logit.double().sigmoid().numpy(), written, rtol=1e-5)


@pytest.mark.parametrize("mode", ["joint", "two_stage"])
@pytest.mark.parametrize("asked", ["gain", "mllm"])
def test_every_mode_learns_with_unlabelled_pairs(world: World, tmp_path: Path, mode: str, asked: str) -> None:
    unlabelled = {"share": 0.5, "weight": 0.5, "teacher": asked}
    world.train(world.spec(mode=mode, unlabelled=unlabelled, epochs=4), tmp_path / "model")
    table = pq.read_table(tmp_path / "model" / "predictions" / "test.parquet")
    label = table["label"].to_numpy()
    for network in ("vanilla", "gain", "plain"):
        assert auc(label, table[network].to_numpy()) > 0.65
    curve = json.loads((tmp_path / "model" / "curves.json").read_text())["vanilla"][-1]
    assert curve["unlabelled_loss"] > 0
    assert ("score_loss" in curve, "representation_loss" in curve) == (True, True)


def test_in_two_stages_the_gain_network_knows_nothing_of_the_student(world: World, tmp_path: Path) -> None:
    for name, weight in (("one", 1.0), ("two", 3.0)):
        world.train(world.spec(mode="two_stage", score_weight=weight, epochs=1), tmp_path / name)
    one, two = (load_file(tmp_path / name / "gain.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = (load_file(tmp_path / name / "vanilla.safetensors") for name in ("one", "two"))
    assert not torch.equal(one["prediction.weight"], two["prediction.weight"])


def test_a_teacher_that_knows_only_the_labels_reads_no_text(world: World, tmp_path: Path) -> None:
    world.train(world.spec(unlabelled={"share": 0.5}, epochs=1), tmp_path / "model", labels_only=True)
    record = load_record(tmp_path / "model")
    assert record.llm_size == 0
    gain = load_file(tmp_path / "model" / "gain.safetensors")
    assert gain["aggregation.weight"].shape == (6, 6)
    network = load_network(tmp_path / "model", "gain")
    batch = next(load_rows(world.features / "encoded" / "test.parquet").in_order(1000))
    with torch.inference_mode():
        logit, _ = network(batch.slots_BS, torch.zeros(len(batch), 0))  # type: ignore[call-arg]
    written = pq.read_table(tmp_path / "model" / "predictions" / "test.parquet")["gain"].to_numpy()
    np.testing.assert_allclose(logit.double().sigmoid().numpy(), written, rtol=1e-5)


def test_rows_larger_than_the_memory_allowed_give_the_same_networks(world: World, tmp_path: Path) -> None:
    files = {split: tmp_path / f"{split}.npy" for split in ROWS}
    for split, file in files.items():
        np.save(file, world.known[split])
    spec = world.spec("vectors", unlabelled={"share": 0.5}, epochs=1)
    small = spec.run.model_copy(update={"training": spec.run.training.model_copy(update={"memory": "1K"})})
    for name, run in (("memory", spec.run), ("stream", small)):
        streamed = Spec(dataset=spec.dataset, run=run)
        distill(streamed, world.features, files, tmp_path / name, "cpu", knowledge=world.knowledge, teacher=world.teacher)
    for network in ("vanilla", "gain", "plain"):
        one, two = (load_file(tmp_path / name / f"{network}.safetensors") for name in ("memory", "stream"))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_building_block_takes_representations_that_were_replaced(world: World) -> None:
    found = []
    for known in (world.known, {split: np.zeros_like(part) for split, part in world.known.items()}):
        inputs = read_inputs("vanilla", world.features, known, None, CPU)
        with Progress("train", unit="rows") as progress:
            found.append(train_pair(inputs, world.spec(epochs=1).run, CPU, progress)["gain"].curve[-1]["valid_logloss"])
    assert found[0] != found[1]


@pytest.mark.parametrize("calibrated", [False, True])
def test_predicted_clicks_are_as_many_as_observed_ones(world: World, tmp_path: Path, calibrated: bool) -> None:
    # Pairs that the M-LLM here likes at random leave the student with too many or too few clicks.
    unlabelled = {"share": 2.0, "weight": 5.0, "teacher": "mllm"}
    world.train(world.spec(unlabelled=unlabelled, epochs=2, calibrate=calibrated), tmp_path / "model")
    table = pq.read_table(tmp_path / "model" / "predictions" / "valid.parquet")
    off = [abs(pcoc(table["label"].to_numpy(), table[name].to_numpy()) - 1) for name in ("vanilla", "gain", "plain")]
    assert (max(off) < 1e-6) is calibrated


def test_what_it_refuses(world: World, tmp_path: Path) -> None:
    spec = world.spec(unlabelled={"share": 1.0})
    with pytest.raises(InputError, match=r"run\.distill\.unlabelled\.share: unlabelled pairs need a text of the user"):
        distill(spec, world.features, world.known, tmp_path / "model", "cpu")
    with pytest.raises(InputError, match="the student 'vectors' needs the items' knowledge"):
        distill(world.spec("vectors"), world.features, world.known, tmp_path / "model", "cpu")
    with pytest.raises(InputError, match=r"train\.npy: the text vectors cannot be read"):
        distill(world.spec("vectors"), world.features, world.known, tmp_path / "model", "cpu", knowledge=tmp_path)
    assert not (tmp_path / "model").exists()
