"""Builds a bundle from a trained student: its network as ONNX, proved equal to torch on real rows."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from elec.errors import InputError
from elec.export.onnx_file import OPSET, check_scores, export_onnx
from elec.export.precision import Rows, choose_precision
from elec.export.split import ItemHalf, RequestHalf
from elec.features import FeatureEncoder
from elec.features.definitions import VIEWS
from elec.features.vectors import VectorViews
from elec.models import VanillaNetwork
from elec.serving.bundle import GOLDEN, ITEM_MODEL, MODEL, SEMANTIC_IDS, VOCABULARY, hashes, verify
from elec.serving.golden import Golden
from elec.serving.manifest import (
    MANIFEST,
    BundleMetadata,
    Cost,
    Manifest,
    NetworkName,
    Student,
    bundle_id,
    inputs_of,
    read_manifest,
)
from elec.serving.network import Network
from elec.serving.semantic_ids import SemanticIds, write_semantic_ids
from elec.spec import Entity, Spec
from elec.storage import whole_folder
from elec.training.checkpoint import load_network

#: Records in the golden file.
GOLDEN_RECORDS = 64

#: Most validation rows that precisions are judged on.
VALID_ROWS = 200_000


class Probability(torch.nn.Module):
    """A network whose output is the probability alone, not the logit, as it serves.

    Args:
        network: A vanilla or a gain network.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, slots_NS: torch.Tensor, second: torch.Tensor | None = None, third: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Turns ids_NS, and what else the network reads (the M-LLM's representations, text vectors), into probability_N."""
        logit_N, _ = self.network(slots_NS, *(other for other in (second, third) if other is not None))
        return torch.sigmoid(logit_N)


def build_bundle(
    spec: Spec,
    model: Path,
    features: Path,
    folder: Path,
    *,
    metadata: BundleMetadata,
    student: Student = "vanilla",
    knowledge: Path | None = None,
    vectors: VectorViews | None = None,
    network: NetworkName = "vanilla",
    llm: np.ndarray | None = None,
) -> Manifest:
    """Builds the bundle of one of a run's students.

    Args:
        spec: The data set, and how the run treated it.
        model: Folder of the student's networks, as the distillation step wrote it.
        features: Folder of the features step: vocabularies, and the test rows for the golden records.
        folder: The bundle; nothing may be there yet, and it is complete or absent.
        metadata: What only the run knows.
        student: Which one; what it reads follows from it.
        knowledge: Folder of what students other than `vanilla` read.
        vectors: The Feast views of the text vectors, for the student `vectors`.
        network: The one that serves, or its teacher, for audits.
        llm: float [N, L], the M-LLM's representations of the test rows in their order, for the gain network.

    Returns:
        The manifest, as written.

    Raises:
        InputError: If the folders do not hold a model and features that fit each other.
        RunFailedError: If ONNX Runtime's probabilities differ from torch's by more than 1e-5.
    """
    dataset = spec.dataset
    if student != "vanilla" and knowledge is None:
        raise ValueError(f"the student {student} reads the knowledge of its run")
    if (student == "vectors") is not (vectors is not None):
        raise ValueError("the student vectors, and no other, goes with views of vectors")
    if (network == "gain") is not (llm is not None):
        raise ValueError("the gain network, and no other, goes with the M-LLM's representations")
    source = knowledge if student == "semantic_ids" and knowledge is not None else features
    encoder = FeatureEncoder.load(source / "vocabulary")
    names = tuple(field.name for field in encoder.fields[len(dataset.encoded_fields) :])
    trained = load_network(model, network)
    fields = [field.name for field in dataset.tabular_fields]
    records, rows_G = _spread(features / "frame" / "test.parquet", fields, GOLDEN_RECORDS)
    if not records.num_rows:
        raise InputError(
            f"{features / 'frame' / 'test.parquet'}: has no rows, so nothing can prove that serving equals training; "
            "give a test window"
        )
    vectors_G2V = None
    if vectors is not None and knowledge is not None:
        # The rows lie in the order of the frame.
        vectors_G2V = np.load(knowledge / "rows" / "test.npy", mmap_mode="r")[rows_G].astype(np.float32)
    llm_GL = None if llm is None else llm[rows_G].astype(np.float32)
    inputs = inputs_of(student, network)
    for name in inputs[1:]:
        if name in records.column_names:
            raise InputError(f"field '{name}': the name is that of an input of the network; rename it in the spec")
    with whole_folder(folder) as place:
        shutil.copytree(source / "vocabulary", place / VOCABULARY)
        codes = None
        if student == "semantic_ids" and knowledge is not None:
            write_semantic_ids(knowledge / "items.parquet", place / SEMANTIC_IDS, dataset.item, names)
            codes = SemanticIds(place / SEMANTIC_IDS, dataset.item, names)

        def encode(table: pa.Table) -> np.ndarray:
            return encoder.encode(table if codes is None else codes.add(table))

        slots_GS = encode(records)
        given_G = {"slots": slots_GS}
        given_G |= {} if llm_GL is None else {"llm": llm_GL}
        given_G |= {} if vectors_G2V is None else {"vectors": vectors_G2V}
        split = spec.run.serving.split and trained.module.splits and network == "vanilla"
        if split:
            assert isinstance(trained, VanillaNetwork)
            _write_halves(trained, encoder, given_G, place)
        else:
            export_onnx(Probability(trained).eval(), given_G, place / MODEL)
        with torch.inference_mode():
            scores = Probability(trained)(*map(torch.from_numpy, given_G.values())).double().numpy()
        Golden(records, scores, vectors_G2V, llm_GL).save(place / GOLDEN)
        files = hashes(place)
        manifest = Manifest(
            **metadata.model_dump(exclude={"feature_views"}),
            bundle_id=bundle_id(dataset.name, metadata.as_of, files),
            dataset=dataset.name,
            network=network,
            student=student,
            split=split,
            inputs=inputs,
            user=dataset.user,
            item=dataset.item,
            fields=dataset.tabular_fields,
            crossed=dataset.crossed_fields,
            semantic_ids=names,
            vectors=vectors,
            feature_views=(*metadata.feature_views, *(vectors.name(entity) for entity in VIEWS if vectors is not None)),
            feast=spec.run.feast,
            slots=encoder.slots,
            llm_size=0 if llm_GL is None else llm_GL.shape[1],
            opset=OPSET,
            files=files,
        )
        check_network(Network(place, manifest), given_G, scores)
        if spec.run.serving.precision == "auto" and network == "vanilla":
            rows = _valid_rows(features, knowledge if vectors is not None else None, spec, encode)
            golden = Golden(records, scores, vectors_G2V)
            precision = choose_precision(place, manifest, rows, slots_GS, golden, spec.run.serving)
            files = hashes(place)
            changed = {"precision": precision, "files": files, "bundle_id": bundle_id(dataset.name, metadata.as_of, files)}
            manifest = manifest.model_copy(update=changed)
        (place / MANIFEST).write_bytes(manifest.to_bytes())
        return verify(place)


def note_cost(folder: Path, cost: Cost) -> Manifest:
    """Writes into the manifest of a bundle that is not yet published what a request costs.

    Args:
        folder: The bundle.
        cost: As measured with this bundle.

    Returns:
        The manifest, as written.
    """
    manifest = read_manifest(folder).model_copy(update={"cost": cost})
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return read_manifest(folder)


def check_network(network: Network, given: Mapping[str, np.ndarray], expected: np.ndarray) -> None:
    """Compares an exported network with torch, on all rows at once and on one.

    Args:
        network: As it serves.
        given: What it reads, a row a score.
        expected: float [N], torch's probabilities.

    Raises:
        RunFailedError: If a probability differs by more than 1e-5.
    """
    for count in (len(expected), 1):
        part = {name: rows[:count] for name, rows in given.items()}
        check_scores(network.run(part["slots"], part.get("vectors"), part.get("llm")), expected[:count])


def _write_halves(trained: VanillaNetwork, encoder: FeatureEncoder, given: Mapping[str, np.ndarray], place: Path) -> None:
    """The two files of a split network."""
    of_item = [field.of is Entity.ITEM for field in encoder.fields]
    items, requests = ([at for at, mine in enumerate(of_item) if mine is side] for side in (True, False))
    item_S = np.repeat(of_item, [field.width for field in encoder.fields])
    slots_GS, vectors_G2V = given["slots"], given.get("vectors")
    item_half = ItemHalf(trained, encoder.fields, items).eval()
    of_items = {"items": slots_GS[:, item_S]} | ({} if vectors_G2V is None else {"vectors": vectors_G2V[:, 1]})
    export_onnx(item_half, of_items, place / ITEM_MODEL, output="states")
    with torch.inference_mode():
        states_GK = item_half(*map(torch.from_numpy, of_items.values())).numpy()
    of_requests = {"requests": slots_GS[:, ~item_S], "states": states_GK, "row": np.arange(len(slots_GS))}
    of_requests |= {} if vectors_G2V is None else {"vectors": vectors_G2V[:, 0]}
    export_onnx(RequestHalf(trained, encoder.fields, requests).eval(), of_requests, place / MODEL, broadcast="row")


def _valid_rows(features: Path, knowledge: Path | None, spec: Spec, encode: Callable[[pa.Table], np.ndarray]) -> Rows:
    """The validation rows, or as many of them as are enough, encoded; with vectors if there is knowledge to take them from."""
    names = [field.name for field in spec.dataset.tabular_fields]
    table, rows_N = _spread(features / "frame" / "valid.parquet", ["label", *names], VALID_ROWS)
    vectors = None
    if knowledge is not None:
        vectors = np.load(knowledge / "rows" / "valid.npy", mmap_mode="r")[rows_N].astype(np.float32)
    return Rows(encode(table.select(names)), table["label"].to_numpy(), vectors)


def _spread(frame: Path, names: Sequence[str], most: int) -> tuple[pa.Table, np.ndarray]:
    """Records of a window, spread evenly over it, and which rows of it they are."""
    try:
        file = pq.ParquetFile(frame)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{frame}: cannot be read ({error}); give the folder of the features step") from None
    rows = file.metadata.num_rows
    wanted = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, most)).astype(np.int64))
    parts, start = [], 0
    for batch in file.iter_batches(columns=list(names)):
        here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
        parts.append(batch.select(names).take(pa.array(here)))
        start += batch.num_rows
    schema = pa.schema([file.schema_arrow.field(name) for name in names])
    return pa.Table.from_batches([part for part in parts if part.num_rows], schema), wanted
