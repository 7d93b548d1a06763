"""Every network leaves torch in two halves, and ONNX Runtime gives the probabilities of the whole one."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from elec.export.onnx_file import export_onnx
from elec.export.split import ItemHalf, RequestHalf
from elec.models import COLLABORATIVE_MODULES, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, VECTOR, slots_of, vectors_of

#: Of the first three fields: a user, tags (three slots) and an item, of which the last two are the item's.
ITEMS, REQUESTS = [1, 2], [0]
COLUMNS = [1, 2, 3, 4]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("vector_size", [0, VECTOR])
@pytest.mark.parametrize(("name", "structure"), [*((name, "stacked") for name in COLLABORATIVE_MODULES), ("dcnv2", "parallel")])
def test_two_halves_score_as_the_whole(name: str, vector_size: int, structure: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    spec = ModelSpec(
        name=name,
        embedding=4,
        deep=(5,),
        attention_layers=1,
        attention_size=4,
        structure=structure,
        cross_rank=2 if structure == "parallel" else None,
    )
    fields = FIELDS[:3]
    network = vanilla_network(fields, spec, vector_size).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.4)
    slots, vectors = slots_of(30)[:, :5], vectors_of(30)
    items, of_items, of_users = slots[:, COLUMNS], [], []
    if vector_size:
        of_items, of_users = [vectors[:, 1]], [vectors[:, 0]]
    names = ["vectors"][: len(of_items)]
    half = ItemHalf(network, fields, ITEMS).eval()
    export_onnx(half, {"items": items} | dict(zip(names, of_items, strict=True)), tmp_path / "item.onnx", output="states")
    given = {"requests": slots[:, :1], "states": half(*map(torch.from_numpy, [items, *of_items])).numpy(), "row": np.arange(30)}
    export_onnx(
        RequestHalf(network, fields, REQUESTS).eval(),
        given | dict(zip(names, of_users, strict=True)),
        tmp_path / "model.onnx",
        broadcast="row",
    )
    item, request = session(tmp_path / "item.onnx"), session(tmp_path / "model.onnx")
    for rows in (30, 1, 7):
        (states,) = item.run(
            None, {"items": items[:rows]} | {name: part[:rows] for name, part in zip(names, of_items, strict=True)}
        )
        for users in {1, rows}:
            # One user for all rows, or one each.
            at = np.zeros(rows, np.int64) if users == 1 else np.arange(rows)
            one = {"requests": slots[:users, :1], "states": states}
            one |= {name: part[:users] for name, part in zip(names, of_users, strict=True)}
            (scores,) = request.run(None, one)
            whole = np.column_stack([slots[at, 0], items[:rows]])
            both = [np.stack([vectors[at, 0], vectors[:rows, 1]], axis=1)] if vector_size else []
            expected = torch.sigmoid(network(*map(torch.from_numpy, [whole, *both]))[0]).numpy()
            np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
            assert rows == 1 or scores.std() > 0.005


def test_each_file_has_its_own_fields_rows_of_the_table_and_what_follows_from_weights_is_computed(tmp_path: Path) -> None:
    network = vanilla_network(FIELDS[:3], ModelSpec(embedding=4, deep=(5,))).eval().requires_grad_(False)
    slots = slots_of(4)[:, :5]
    export_onnx(
        ItemHalf(network, FIELDS[:3], ITEMS).eval(), {"items": slots[:, COLUMNS]}, tmp_path / "item.onnx", output="states"
    )
    states = np.zeros((4, 24), np.float32)
    given = {"requests": slots[:, :1], "states": states, "row": np.arange(4)}
    export_onnx(RequestHalf(network, FIELDS[:3], REQUESTS).eval(), given, tmp_path / "model.onnx", broadcast="row")
    sizes = {field.name: field.size for field in FIELDS[:3]}
    for name, rows in (("item", sizes["tags"] + sizes["item"]), ("model", sizes["user"])):
        graph = onnx.load(tmp_path / f"{name}.onnx").graph
        tables = {tuple(tensor.dims) for tensor in graph.initializer if tensor.dims[-1:] == [4] and len(tensor.dims) == 2}
        assert tables - {(12, 4), (5, 4)} == {(rows, 4)}
        assert not {"GatherND", "Transpose"} & {node.op_type for node in graph.node}
