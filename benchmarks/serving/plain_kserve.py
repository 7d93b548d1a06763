"""The network behind KServe's model server as a team would write it: pandas for records, ONNX Runtime for the whole network.

    python -m benchmarks.serving.plain_kserve --bundle FOLDER --http_port 8080

Nothing of elec's serving code is in the way of a request: a `DataFrame` of the tensors, `Series.map` with a dictionary a field,
`numpy.digitize`, one run of the network that is not split. It reads the vocabularies of a bundle, and its `model.onnx`.
"""

import argparse
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server

from elec.features import FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING
from elec.serving.http.protocol import MODEL_NAME, OUTPUT


class PlainModel(Model):  # type: ignore[misc]
    """A whole network and its vocabularies.

    Args:
        bundle: Folder of a bundle that is not split.
        name: Of the model, in every path.
    """

    def __init__(self, bundle: Path, name: str = MODEL_NAME) -> None:
        super().__init__(name)
        encoder = FeatureEncoder.load(bundle / "vocabulary")
        self._fields = encoder.fields
        self._edges = {
            field.name: np.array(code.edges)
            for field, code in zip(self._fields, encoder.codes, strict=True)
            if isinstance(code, Buckets)
        }
        self._ids: dict[str, dict[str, int]] = {
            field.name: {value: place + FIRST_VALUE for place, value in enumerate(code.values.to_pylist())}  # type: ignore[union-attr]
            for field, code in zip(self._fields, encoder.codes, strict=True)
            if field.name not in self._edges
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Scores the records of a request."""
        frame = pd.DataFrame({tensor.name: tensor.data for tensor in payload.inputs})
        slots = np.column_stack([self._encoded(frame[field.name], field.name, field.width) for field in self._fields])
        (scores,) = self._session.run(None, {"slots": slots.astype(np.int64)})
        return InferResponse(
            response_id=payload.id or uuid.uuid4().hex,
            model_name=self.name,
            infer_outputs=[InferOutput(name=OUTPUT, datatype="FP32", shape=[len(scores)], data=scores)],
        )

    def _encoded(self, column: "pd.Series[Any]", name: str, width: int) -> np.ndarray:
        if name in self._edges:
            ids = np.digitize(column.astype(float), self._edges[name]) + FIRST_VALUE
            return np.where(column.isna(), MISSING, ids)
        known = self._ids[name]
        if width == 1:
            # Not with the dictionary itself: pandas would make a Series of it at every call.
            mapped = column.map(known.get, na_action="ignore").fillna(OUT_OF_VOCABULARY)
            return np.where(column.isna(), MISSING, mapped)
        rows = [[known.get(value, OUT_OF_VOCABULARY) for value in values or ()][:width] or [MISSING] for values in column]
        return np.array([row + [PADDING] * (width - len(row)) for row in rows])


def main() -> None:
    """Serves until SIGTERM."""
    known = argparse.ArgumentParser(parents=[model_server.parser])
    known.add_argument("--bundle", type=Path, required=True, help="folder")
    ModelServer().start([PlainModel(known.parse_args().bundle)])


if __name__ == "__main__":
    main()
