"""A bundle behind KServe's own model server: `python -m elec.serving.kserve_model --bundle URI`, with the `kserve` extra.

The adapter is thin: the protocol, the predictor and the ranker are those of our own server, which is the faster of the two and
has the bounds that this one lacks; this one is for clusters whose platform wants KServe's. Open Inference Protocol V2 scores
records, as `POST /v2/models/elec/infer` does with us. KServe's V1 ranks: `POST /v1/models/elec:predict` with `instances` of
`{user, items | candidates, context}`, each answered as `POST /rank` does. KServe's server listens on all addresses.
"""

import argparse
import asyncio
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.errors import InvalidInput, ModelNotReady

from elec.errors import ElecError, InputError
from elec.features.store_config import OnlineStoreError
from elec.serving.http.protocol import MODEL_NAME, OUTPUT, model_metadata, parse_infer
from elec.serving.http.protocol_rank import parse_rank, rank_response
from elec.serving.predictor import FeatureLookupError
from elec.serving.service import Service, open_service
from elec.serving.settings import read_settings
from elec.spec.serving import ServingSpec

T = TypeVar("T")


class BundleModel(Model):  # type: ignore[misc]
    """A bundle as KServe's model server wants a model.

    Args:
        bundle: Its URI.
        feast_folder: The Feast folder of a workspace, for ranking and for a student that reads text vectors; empty for none.
        settings: Of a server; rows, items, threads and device hold here too.
        name: Of the model, in every path.
    """

    def __init__(
        self, bundle: str, feast_folder: str = "", settings: ServingSpec | None = None, name: str = MODEL_NAME
    ) -> None:
        super().__init__(name)
        self._bundle = bundle
        self._feast_folder = feast_folder
        self._settings = settings or ServingSpec()
        self._service: Service | None = None
        # Look-ups wait, and must not hold up the event loop; one thread, for threads do not share a store.
        self._looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look-up")

    def load(self) -> bool:
        """Opens the bundle, and runs it once.

        Raises:
            InputError: If the bundle is refused, or the Feast folder does not fit it.
        """
        self._service = open_service(self._bundle, self._feast_folder, self._settings)
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs, for the model's metadata."""
        return [_tensor(entry) for entry in model_metadata(self._loaded.manifest)["inputs"]]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs, for the model's metadata."""
        return [_tensor(entry) for entry in model_metadata(self._loaded.manifest)["outputs"]]

    async def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Answers a request.

        Args:
            payload: An `InferRequest` of V2, or the body of V1.
            headers: Of the request; not looked at.

        Raises:
            InvalidInput: If the client is wrong, with one sentence: 400.
            ModelNotReady: If the feature store does not answer: 503.
        """
        try:
            if isinstance(payload, InferRequest):
                return await self._infer(payload)
            return await self._rank(payload)
        except InputError as error:
            raise InvalidInput(str(error)) from None
        except (FeatureLookupError, OnlineStoreError) as error:
            raise ModelNotReady(self.name, str(error)) from None

    @property
    def _loaded(self) -> Service:
        if self._service is None:
            raise ModelNotReady(self.name)
        return self._service

    async def _infer(self, request: InferRequest) -> InferResponse:
        service = self._loaded
        manifest = service.manifest
        content = {"inputs": [_content(tensor) for tensor in request.inputs]}
        records = parse_infer(content, manifest.fields, self._settings.rows, manifest.vector_size, manifest.llm_size)
        if manifest.vectors is not None and records.vectors_N2V is None:
            scores_N = await self._in_order(service.predictor.score, *records)
        else:
            scores_N = service.predictor.score(*records)
        output = InferOutput(name=OUTPUT, datatype="FP32", shape=[len(scores_N)], data=scores_N)
        return InferResponse(
            # KServe refuses an answer without one.
            response_id=request.id or uuid.uuid4().hex,
            model_name=self.name,
            model_version=manifest.bundle_id,
            infer_outputs=[output],
            requested_outputs=request.request_outputs,
            use_binary_outputs=request.use_binary_outputs,
        )

    async def _rank(self, body: Any) -> dict[str, Any]:
        service = self._loaded
        instances = body.get("instances") if isinstance(body, dict) else None
        if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
            raise InputError(
                "'instances' is missing or no list of objects; send [{user, items, context}], or V2 to score records"
            )
        if service.ranker is None:
            raise FeatureLookupError(
                "ranking looks features up in Feast, and this server was started without it; start it with --feast FOLDER"
            )
        answers = []
        for instance in instances:
            asked = parse_rank(instance, service.manifest.fields, self._settings.rows)
            ranked = await self._in_order(service.ranker.rank, asked.user, asked.items, asked.context)
            answers.append(orjson.loads(rank_response(asked, ranked, service.version)))
        return {"predictions": answers}

    async def _in_order(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._looking, work, *arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves a bundle until SIGTERM.

    Args:
        arguments: Of the command line; the process's own when left out. KServe reads the process's own for its settings.

    Returns:
        The exit code.
    """
    known = argparse.ArgumentParser(prog="python -m elec.serving.kserve_model", parents=[model_server.parser])
    known.add_argument("--bundle", required=True, help="folder or s3:// URI")
    known.add_argument("--feast", default="", help="Feast folder of a workspace, for ranking")
    known.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of this server")
    known.set_defaults(model_name=MODEL_NAME)
    given = known.parse_args(arguments)
    try:
        model = BundleModel(given.bundle, given.feast, read_settings(given.set), given.model_name)
        model.load()
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        return error.exit_code
    ModelServer().start([model])
    return 0


def _content(tensor: InferInput) -> dict[str, Any]:
    """A tensor in the JSON form of the protocol, in which it may have come binary."""
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": tensor.data}


def _tensor(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What KServe's metadata may say of a tensor."""
    return {name: entry[name] for name in ("name", "datatype", "shape")}


if __name__ == "__main__":
    sys.exit(main())
