"""Builds a bundle from a trained student: its network as ONNX, proved equal to torch on real rows."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from elec.errors import InputError, RunFailedError
from elec.features import FeatureEncoder
from elec.features.definitions import VIEWS, view_fields
from elec.features.vectors import VectorViews
from elec.serving.bundle import GOLDEN, MODEL, SEMANTIC_IDS, VOCABULARY, hashes, verify
from elec.serving.golden import TOLERANCE, Golden
from elec.serving.manifest import MANIFEST, BundleMetadata, Cost, Manifest, Student, bundle_id, read_manifest
from elec.serving.semantic_ids import SemanticIds, write_semantic_ids
from elec.spec import Spec
from elec.storage import whole_folder
from elec.training.checkpoint import load_network

#: Records in the golden file.
GOLDEN_RECORDS = 64

_OPSET = 20
# Protocol buffers end at 2 GiB; the weights of a larger network go into a file beside it.
_LARGEST_IN_ONE_FILE = 1_900_000_000
_VECTORS = "vectors"
_SCORE = "score"


class Probability(torch.nn.Module):
    """A network whose output is the probability alone, not the logit, as it serves.

    Args:
        network: A vanilla network.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slots_NS: torch.Tensor, vectors_N2V: torch.Tensor | None = None) -> torch.Tensor:
        """Turns ids_NS, and text vectors where it reads them, into probability_N."""
        logit_N, _ = self.network(slots_NS, vectors_N2V)
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
    source = knowledge if student == "semantic_ids" and knowledge is not None else features
    encoder = FeatureEncoder.load(source / "vocabulary")
    names = tuple(field.name for field in encoder.fields[len(dataset.tabular_fields) :])
    network = Probability(load_network(model, "vanilla")).eval()
    records, rows_G = _golden_records(features / "frame" / "test.parquet", spec)
    vectors_G2V = None
    if vectors is not None and knowledge is not None:
        if _VECTORS in records.column_names:
            raise InputError(f"field '{_VECTORS}': the name is that of the network's second input; rename it in the spec")
        # The rows lie in the order of the frame.
        vectors_G2V = np.load(knowledge / "rows" / "test.npy", mmap_mode="r")[rows_G].astype(np.float32)
    with whole_folder(folder) as place:
        shutil.copytree(source / "vocabulary", place / VOCABULARY)
        encodable = records
        if student == "semantic_ids" and knowledge is not None:
            write_semantic_ids(knowledge / "items.parquet", place / SEMANTIC_IDS, dataset.item, names)
            encodable = SemanticIds(place / SEMANTIC_IDS, dataset.item, names).add(records)
        slots_GS = encoder.encode(encodable)
        export_onnx(network, slots_GS, place / MODEL, vectors_G2V)
        with torch.inference_mode():
            given = () if vectors_G2V is None else (torch.from_numpy(vectors_G2V),)
            scores = network(torch.from_numpy(slots_GS), *given).double().numpy()
        check_export(place / MODEL, slots_GS, scores, vectors_G2V)
        Golden(records, scores, vectors_G2V).save(place / GOLDEN)
        files = hashes(place)
        keys = (dataset.user, dataset.item)
        views = [VIEWS[entity] for entity in VIEWS if view_fields(dataset.tabular_fields, entity, keys)]
        manifest = Manifest(
            **metadata.model_dump(),
            bundle_id=bundle_id(dataset.name, metadata.as_of, files),
            dataset=dataset.name,
            student=student,
            inputs=("slots",) if vectors is None else ("slots", _VECTORS),
            user=dataset.user,
            item=dataset.item,
            fields=dataset.tabular_fields,
            semantic_ids=names,
            vectors=vectors,
            feature_views=(*views, *(vectors.name(entity) for entity in VIEWS if vectors is not None)),
            feature_service=dataset.feature_service,
            feast=spec.run.feast,
            slots=encoder.slots,
            opset=_OPSET,
            files=files,
        )
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


def export_onnx(network: torch.nn.Module, slots_NS: np.ndarray, path: Path, vectors_N2V: np.ndarray | None = None) -> None:
    """Writes a network as ONNX, with any number of rows.

    Args:
        network: `slots` int64 [N, S], and `vectors` float32 [N, 2, V] if it reads them, to `score` float32 [N], in
            evaluation mode.
        slots_NS: Rows to trace it with, two at least.
        path: The file.
        vectors_N2V: Of the same rows.
    """
    # A batch of one would be taken for a constant.
    rows = np.arange(max(2, len(slots_NS))) % len(slots_NS)
    example = [torch.from_numpy(part[rows]) for part in (slots_NS, vectors_N2V) if part is not None]
    with _quiet():
        program: Any = torch.onnx.export(
            network,
            tuple(example),
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in example),
            input_names=list(_given(slots_NS, vectors_N2V)),
            output_names=[_SCORE],
            opset_version=_OPSET,
            verbose=False,
        )
    _forget_the_machine(program.model)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.state_dict().values())
    program.save(str(path), external_data=weights > _LARGEST_IN_ONE_FILE)
    onnx.checker.check_model(str(path))


def check_export(path: Path, slots_NS: np.ndarray, expected: np.ndarray, vectors_N2V: np.ndarray | None = None) -> None:
    """Compares ONNX Runtime with torch, on all rows at once and on one.

    Raises:
        RunFailedError: If a probability differs by more than 1e-5.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (len(slots_NS), 1):
        given = {name: part[:count] for name, part in _given(slots_NS, vectors_N2V).items()}
        scores = session.run([_SCORE], given)[0]
        if scores.shape != (count,):
            raise RunFailedError(f"the exported network gives {scores.shape} for {count} rows; it is not published")
        difference = float(np.abs(scores - expected[:count]).max())
        # Written so that a NaN fails.
        if not difference <= TOLERANCE:
            raise RunFailedError(
                f"the exported network's probabilities differ from the trained one's by {difference:.2g}; it is not published"
            )


def _given(slots_NS: np.ndarray, vectors_N2V: np.ndarray | None) -> dict[str, np.ndarray]:
    """The network's inputs by name."""
    return {"slots": slots_NS} if vectors_N2V is None else {"slots": slots_NS, _VECTORS: vectors_N2V}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks on packages that are not needed away from the user."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _golden_records(frame: Path, spec: Spec) -> tuple[pa.Table, np.ndarray]:
    """Records of the test window, spread evenly over it, and which rows of it they are."""
    names = [field.name for field in spec.dataset.tabular_fields]
    try:
        file = pq.ParquetFile(frame)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{frame}: cannot be read ({error}); give the folder of the features step") from None
    rows = file.metadata.num_rows
    if rows == 0:
        raise InputError(f"{frame}: has no rows, so nothing can prove that serving equals training; give a test window")
    wanted = np.unique(np.linspace(0, rows - 1, min(rows, GOLDEN_RECORDS)).astype(np.int64))
    parts, start = [], 0
    for batch in file.iter_batches(columns=names):
        here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
        parts.append(batch.select(names).take(pa.array(here)))
        start += batch.num_rows
    return pa.Table.from_batches([part for part in parts if part.num_rows]), wanted


def _forget_the_machine(model: Any) -> None:
    """Removes the exporter's traces, which hold paths of this machine: equal networks shall make equal files."""
    graph = model.graph
    model.metadata_props.clear()
    model.producer_version = None
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        for output in node.outputs:
            output.metadata_props.clear()
