"""Builds a bundle from a trained model: the vanilla network as ONNX, proved equal to torch on real rows."""

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
from elec.serving.bundle import GOLDEN, MODEL, VOCABULARY, hashes, verify
from elec.serving.golden import TOLERANCE, Golden
from elec.serving.manifest import MANIFEST, BundleMetadata, Manifest, bundle_id
from elec.spec import Spec
from elec.storage import whole_folder
from elec.training.checkpoint import load_network

#: Records in the golden file.
GOLDEN_RECORDS = 64

_OPSET = 20
# Protocol buffers end at 2 GiB; the weights of a larger network go into a file beside it.
_LARGEST_IN_ONE_FILE = 1_900_000_000
_NAMES = ("slots", "score")


class _Probability(torch.nn.Module):
    """A network whose output is the probability, not the logit."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slots_NS: torch.Tensor) -> torch.Tensor:
        logit_N, _ = self.network(slots_NS)
        return torch.sigmoid(logit_N)


def build_bundle(spec: Spec, model: Path, features: Path, folder: Path, *, metadata: BundleMetadata) -> Manifest:
    """Builds the bundle of a run's vanilla network.

    Args:
        spec: The data set, and how the run treated it.
        model: Folder of the distillation step.
        features: Folder of the features step: vocabularies, and the test rows for the golden records.
        folder: The bundle; nothing may be there yet, and it is complete or absent.
        metadata: What only the run knows.

    Returns:
        The manifest, as written.

    Raises:
        InputError: If the folders do not hold a model and features that fit each other.
        RunFailedError: If ONNX Runtime's probabilities differ from torch's by more than 1e-5.
    """
    encoder = FeatureEncoder.load(features / "vocabulary")
    network = _Probability(load_network(model, "vanilla")).eval()
    records = _golden_records(features / "frame" / "test.parquet", spec)
    slots_NS = encoder.encode(records)
    with whole_folder(folder) as place:
        shutil.copytree(features / "vocabulary", place / VOCABULARY)
        export_onnx(network, slots_NS, place / MODEL)
        with torch.inference_mode():
            scores = network(torch.from_numpy(slots_NS)).double().numpy()
        check_export(place / MODEL, slots_NS, scores)
        Golden(records, scores).save(place / GOLDEN)
        files = hashes(place)
        manifest = Manifest(
            **metadata.model_dump(),
            bundle_id=bundle_id(spec.dataset.name, metadata.as_of, files),
            dataset=spec.dataset.name,
            user=spec.dataset.user,
            item=spec.dataset.item,
            fields=spec.dataset.tabular_fields,
            feature_service=spec.dataset.feature_service,
            feast=spec.run.feast,
            slots=encoder.slots,
            opset=_OPSET,
            files=files,
        )
        (place / MANIFEST).write_bytes(manifest.to_bytes())
        return verify(place)


def export_onnx(network: torch.nn.Module, slots_NS: np.ndarray, path: Path) -> None:
    """Writes a network as ONNX, with any number of rows.

    Args:
        network: `slots` int64 [N, S] to `score` float32 [N], in evaluation mode.
        slots_NS: Rows to trace it with, two at least.
        path: The file.
    """
    # A batch of one would be taken for a constant.
    example = torch.from_numpy(np.resize(slots_NS, (max(2, len(slots_NS)), slots_NS.shape[1])))
    with _quiet():
        program: Any = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            input_names=_NAMES[:1],
            output_names=_NAMES[1:],
            opset_version=_OPSET,
            verbose=False,
        )
    _forget_the_machine(program.model)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.state_dict().values())
    program.save(str(path), external_data=weights > _LARGEST_IN_ONE_FILE)
    onnx.checker.check_model(str(path))


def check_export(path: Path, slots_NS: np.ndarray, expected: np.ndarray) -> None:
    """Compares ONNX Runtime with torch, on all rows at once and on one.

    Raises:
        RunFailedError: If a probability differs by more than 1e-5.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for rows in (slots_NS, slots_NS[:1]):
        scores = session.run([_NAMES[1]], {_NAMES[0]: rows})[0]
        if scores.shape != (len(rows),):
            raise RunFailedError(f"the exported network gives {scores.shape} for {len(rows)} rows; it is not published")
        difference = float(np.abs(scores - expected[: len(rows)]).max())
        # Written so that a NaN fails.
        if not difference <= TOLERANCE:
            raise RunFailedError(
                f"the exported network's probabilities differ from the trained one's by {difference:.2g}; it is not published"
            )


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


def _golden_records(frame: Path, spec: Spec) -> pa.Table:
    """Records of the test window, spread evenly over it."""
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
    return pa.Table.from_batches([part for part in parts if part.num_rows])


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
