"""Faster numbers for the network, if they cost nothing: bfloat16 and int8 variants are judged on labelled rows.

int8 is static (ranges of the activations come from rows set aside): a row's score then does not depend on the rows beside it.
Its weights have 7 bits, for processors without VNNI add up pairs of products in 16 bits, and 8 would overflow there.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from elec.evaluation import logloss, pcoc
from elec.serving.bundle import ITEM_MODEL, MODEL
from elec.serving.golden import TOLERANCE, Golden
from elec.serving.latency import request_call
from elec.serving.manifest import Manifest, Precision, PrecisionName, Variant
from elec.serving.network import Network
from elec.spec.serving import ServingSpec

#: What a variant may cost, and what it has to bring: share of the LogLoss, PCOC, and share of the time.
MOST_LOGLOSS, MOST_PCOC, LEAST_FASTER = 1e-3, 2e-3, 0.1

_CALIBRATION_ROWS = 1024
_LEAST_ROWS = 1000
_ROWS = 8192
_CANDIDATES = 100
_WARM_UP, _REPEATS = 20, 300
_DENSE = ("Gemm", "MatMul")


class Rows(NamedTuple):
    """Labelled rows, encoded.

    Attributes:
        slots_NS: int64.
        label_N: 0 or 1.
        vectors_N2V: float32, for a network that reads text vectors.
    """

    slots_NS: np.ndarray
    label_N: np.ndarray
    vectors_N2V: np.ndarray | None

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows."""
        vectors = None if self.vectors_N2V is None else self.vectors_N2V[rows]
        return Rows(self.slots_NS[rows], self.label_N[rows], vectors)


def choose_precision(
    folder: Path, manifest: Manifest, rows: Rows, golden_slots: np.ndarray, golden: Golden, settings: ServingSpec
) -> Precision:
    """Tries all variants, and leaves the best that is allowed in the bundle's folder as its network.

    Args:
        folder: The bundle, not yet published, in float32.
        manifest: Its manifest.
        rows: The validation rows.
        golden_slots: int64 [G, S], the golden records encoded.
        golden: The golden records.
        settings: Where it is tried, on how many threads.

    Returns:
        The choice and its figures.
    """
    if len(rows.label_N) < _LEAST_ROWS:
        few = Variant(
            refused=f"there are {len(rows.label_N)} validation rows, too few to judge it by (less than {_LEAST_ROWS})"
        )
        return Precision(variants=dict.fromkeys(_VARIANTS, few))
    aside = np.unique(np.linspace(0, len(rows.label_N) - 1, min(_CALIBRATION_ROWS, len(rows.label_N) // 2)).astype(np.int64))
    examples, judged = rows.take(aside), rows.take(np.delete(np.arange(len(rows.label_N)), aside))
    plain = Network(folder, manifest, settings)
    variants: dict[PrecisionName, Variant] = {"float32": _figures(plain, judged, folder)}
    networks: dict[PrecisionName, Network] = {"float32": plain}
    with TemporaryDirectory(prefix="elec-precision-") as scratch:
        for name, make in _VARIANTS.items():
            place = Path(scratch, name)
            place.mkdir()
            if manifest.split:
                shutil.copyfile(folder / ITEM_MODEL, place / ITEM_MODEL)
            try:
                make(folder / MODEL, place / MODEL, plain, examples)
                network = Network(place, manifest, settings)
                variants[name], networks[name] = _figures(network, judged, place), network
            except Exception as error:
                # Whatever ONNX Runtime cannot do is a reason and not a failure: float32 is there.
                reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                variants[name] = Variant(refused=f"ONNX Runtime cannot run it here: {reason}")
        times = _times(networks, judged)
        found = _judged({name: one.model_copy(update={"p50_ms": times.get(name)}) for name, one in variants.items()})
        allowed = [name for name, one in found.items() if not one.refused]
        chosen = min(allowed, key=lambda name: found[name].p50_ms or np.inf)
        if chosen == "float32":
            return Precision(variants=found)
        shutil.copyfile(Path(scratch, chosen, MODEL), folder / MODEL)
        # Where the weights of a very large float32 network lie.
        (folder / f"{MODEL}.data").unlink(missing_ok=True)
        scores = networks[chosen].run(golden_slots, golden.vectors)
    # Another processor rounds otherwise, so it may be off by as much again.
    tolerance = TOLERANCE + 2 * float(np.abs(scores - golden.scores).max())
    return Precision(chosen=chosen, tolerance=tolerance, variants=found)


def _figures(network: Network, rows: Rows, folder: Path) -> Variant:
    scores = np.empty(len(rows.label_N), dtype=np.float64)
    for start in range(0, len(scores), _ROWS):
        part = rows.take(np.arange(start, min(start + _ROWS, len(scores))))
        scores[start : start + _ROWS] = network.run(part.slots_NS, part.vectors_N2V)
    size = (folder / MODEL).stat().st_size
    return Variant(logloss=logloss(rows.label_N, scores), pcoc=pcoc(rows.label_N, scores), size=size)


def _judged(variants: Mapping[PrecisionName, Variant]) -> dict[PrecisionName, Variant]:
    """The variants with the reasons against them."""
    logloss_0, pcoc_0, time_0 = _numbers(variants["float32"])
    found: dict[PrecisionName, Variant] = {}
    for name, one in variants.items():
        refused = one.refused
        logloss_1, pcoc_1, time_1 = _numbers(one)
        # Written so that a NaN is refused.
        if name == "float32" or refused:
            pass
        elif not logloss_1 <= logloss_0 * (1 + MOST_LOGLOSS):
            refused = f"its LogLoss is {logloss_1 / logloss_0 - 1:.3%} worse (at most {MOST_LOGLOSS:.1%})"
        elif not abs(pcoc_1 - pcoc_0) <= MOST_PCOC:
            refused = f"its PCOC differs by {abs(pcoc_1 - pcoc_0):.4f} (at most {MOST_PCOC})"
        elif not time_1 <= time_0 * (1 - LEAST_FASTER):
            refused = f"it takes {time_1 / time_0:.2f} of the time (at most {1 - LEAST_FASTER:.2f})"
        found[name] = one.model_copy(update={"refused": refused})
    return found


def _numbers(one: Variant) -> tuple[float, ...]:
    return tuple(np.nan if number is None else number for number in (one.logloss, one.pcoc, one.p50_ms))


def _times(networks: Mapping[PrecisionName, Network], rows: Rows) -> dict[PrecisionName, float]:
    """Median milliseconds of a request, of all networks in turn: a busy moment of the machine strikes them alike."""
    some = rows.take(np.arange(_CANDIDATES) % len(rows.label_N))
    calls = {name: request_call(network, some.slots_NS, some.vectors_N2V) for name, network in networks.items()}
    taken: dict[PrecisionName, list[float]] = {name: [] for name in calls}
    for repeat in range(-_WARM_UP, _REPEATS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat >= 0:
                taken[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(one)) * 1e3, 4) for name, one in taken.items()}


class _Examples(CalibrationDataReader):  # type: ignore[misc]
    """Rows for the ranges of the activations, all at once."""

    def __init__(self, given: Mapping[str, np.ndarray]) -> None:
        self._rest: Iterator[Mapping[str, np.ndarray]] = iter([given])

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._rest, None)


def to_int8(source: Path, target: Path, network: Network, rows: Rows) -> None:
    """Writes a network with its large products in int8.

    Args:
        source: `model.onnx` in float32.
        target: The file to write.
        network: The same in ONNX Runtime.
        rows: From which the ranges of the activations come.
    """
    root = logging.getLogger()
    # It logs advice on other networks than these to the root logger.
    root.addFilter(_no_advice)
    try:
        quantize_static(
            source,
            target,
            _Examples(network.inputs(rows.slots_NS, rows.vectors_N2V)),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_quantize=[node.name for node in _dense_nodes(onnx.load(source, load_external_data=False).graph)],
        )
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()


def to_bfloat16(source: Path, target: Path, network: Network, rows: Rows) -> None:
    """Writes a network with its large products in bfloat16, between casts; the arguments are those of `to_int8`."""
    model = onnx.load(source)
    graph = model.graph
    bfloat16, float32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    weights = {tensor.name: tensor for tensor in graph.initializer}
    dense = {node.name for node in _dense_nodes(graph)}
    nodes = []
    for node in graph.node:
        if node.name not in dense:
            nodes.append(node)
            continue
        for at, name in enumerate(node.input):
            node.input[at] = f"{name}.bfloat16"
            if name in weights:
                if weights[name].data_type == float32:
                    numbers = onnx.numpy_helper.to_array(weights[name])
                    cast = onnx.helper.make_tensor(f"{name}.bfloat16", bfloat16, numbers.shape, numbers.reshape(-1))
                    graph.initializer.append(cast)
            else:
                nodes.append(onnx.helper.make_node("Cast", [name], [f"{name}.bfloat16"], to=bfloat16))
        (result,) = node.output
        node.output[0] = f"{result}.bfloat16"
        nodes += [node, onnx.helper.make_node("Cast", [f"{result}.bfloat16"], [result], to=float32)]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.save(model, target)


_VARIANTS: dict[PrecisionName, Callable[[Path, Path, Network, Rows], None]] = {"bfloat16": to_bfloat16, "int8": to_int8}


def _dense_nodes(graph: Any) -> list[Any]:
    """The products worth it: with large weights, and for every candidate, not once a request. The last layer stays exact."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    names = {put.name for put in graph.input}
    reached = {"states"} if "states" in names else names
    found = []
    for node in graph.node:
        if not reached.intersection(node.input):
            continue
        reached.update(node.output)
        shape = shapes.get(node.input[1], ()) if node.op_type in _DENSE else ()
        if len(shape) == 2 and min(shape) > 1:
            found.append(node)
    return found
