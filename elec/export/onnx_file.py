"""Writes a network as ONNX, for any number of rows, and equal networks as equal files."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import optimizer

from elec.errors import RunFailedError
from elec.serving.golden import TOLERANCE

OPSET = 20

# The weights of a larger network go into a file beside it, which ONNX Runtime maps into memory: it starts at once, and the
# servers of a machine share the pages. Protocol buffers end at 2 GiB anyway.
_LARGEST_IN_ONE_FILE = 16 * 2**20
_ANY_SIZE = 2**62
_SCORE = "score"


def export_onnx(
    network: torch.nn.Module, given: Mapping[str, np.ndarray], path: Path, *, output: str = _SCORE, broadcast: str = ""
) -> None:
    """Writes a network as ONNX, with any number of rows.

    Args:
        network: In evaluation mode; its inputs are in the order of `given`.
        given: Rows to trace it with, two at least, by the names of the inputs.
        path: The file.
        output: The output's name.
        broadcast: An input that only says which row of one tensor goes with each row of another. It is taken out: the one
            tensor then has one row for all of the other's, or one each. (The tracer knows no such size.)
    """
    # A batch of one would be taken for a constant.
    rows = np.arange(max(2, len(next(iter(given.values())))))
    example = [torch.from_numpy(part[rows % len(part)]) for part in given.values()]
    with _quiet():
        program: Any = torch.onnx.export(
            network,
            tuple(example),
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in example),
            input_names=list(given),
            output_names=[output],
            opset_version=OPSET,
            verbose=False,
        )
    if broadcast:
        _take_out(program.model.graph, broadcast)
    # What follows from the weights alone is computed here, however large, and not by every server that starts.
    optimizer.fold_constants(program.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    RemoveUnusedNodesPass()(program.model)
    _forget_the_machine(program.model)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    program.save(str(path), external_data=weights > _LARGEST_IN_ONE_FILE)
    onnx.checker.check_model(str(path))


def check_scores(scores: np.ndarray, expected: np.ndarray) -> None:
    """Compares an exported network's probabilities with torch's.

    Raises:
        RunFailedError: If one differs by more than 1e-5.
    """
    if scores.shape != expected.shape:
        raise RunFailedError(f"the exported network gives {scores.shape} for {len(expected)} rows; it is not published")
    difference = float(np.abs(scores - expected).max())
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


def _take_out(graph: onnx_ir.Graph, name: str) -> None:
    """Removes the gathers by an input, and the input: ONNX's own broadcasting does the same."""
    index = next(value for value in graph.inputs if value.name == name)
    gathers = list(index.consumers())
    if any(node.op_type != "Gather" or node.inputs[1] is not index for node in gathers):
        raise AssertionError(f"the input '{name}' is used for more than gathering rows")
    for node in gathers:
        rows = node.inputs[0]
        assert rows is not None
        onnx_ir.convenience.replace_all_uses_with(node.outputs[0], rows)
        graph.remove(node, safe=True)
    graph.inputs.remove(index)
    # What the tracer noted of sizes is of the graph with the gathers; ONNX Runtime would share memory between tensors by it.
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


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
