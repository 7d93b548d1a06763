"""A bundle's network in ONNX Runtime: whole, or in the two halves of which the item's is computed once an item."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from elec.errors import InputError
from elec.serving.bundle import ITEM_MODEL, MODEL
from elec.serving.manifest import Manifest
from elec.spec.fields import Entity
from elec.spec.serving import ServingSpec

DEFAULT_SETTINGS = ServingSpec()

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Network:
    """Scores encoded rows.

    Args:
        folder: Of the bundle.
        manifest: The bundle's.
        settings: Where it runs, and on how many threads.

    Attributes:
        split: Whether `item_states` and `join` are there.
        item_columns: The columns of encoded rows that are the item's.
        request_columns: The other ones: the user's and the context's, and those of the pair.
        pairs: Whether there are some of the pair, so that the request's side differs from item to item.
        state_size: K, the numbers of an item's state; 0 for a network that is not split.
        providers: What ONNX Runtime runs it on, the first choice first.

    Raises:
        InputError: If the files do not read what the manifest says, or there is no GPU where one is asked for.
    """

    def __init__(self, folder: Path, manifest: Manifest, settings: ServingSpec = DEFAULT_SETTINGS) -> None:
        self.split = manifest.split
        self.item_columns, self.request_columns = columns(manifest)
        self.pairs = any(field.of is Entity.PAIR for field in (*manifest.fields, *manifest.crossed))
        self._vectors, self._llm = "vectors" in manifest.inputs, "llm" in manifest.inputs
        self._session = _session(folder / MODEL, settings)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.state_size = 0
        self._items: onnxruntime.InferenceSession | None = None
        if not self.split:
            _check_inputs(folder / MODEL, self._session, manifest.inputs)
            return
        behind = ("vectors",) if self._vectors else ()
        _check_inputs(folder / MODEL, self._session, ("requests", "states", *behind))
        self._items = _session(folder / ITEM_MODEL, settings)
        _check_inputs(folder / ITEM_MODEL, self._items, ("items", *behind))
        self.state_size = int(self._items.get_outputs()[0].shape[1])

    def run(self, slots_NS: np.ndarray, vectors_N2V: np.ndarray | None = None, llm_NL: np.ndarray | None = None) -> np.ndarray:
        """Scores rows of any users and items.

        Args:
            slots_NS: int64 ids.
            vectors_N2V: float32, the user's and the item's text vector, for a network that reads them.
            llm_NL: float32, the M-LLM's representation, for a gain network.

        Returns:
            float32 [N], probabilities of a click.

        Raises:
            InputError: If what the network reads beside the slots is missing.
        """
        return _only(self._session, self.inputs(slots_NS, vectors_N2V, llm_NL))

    def inputs(
        self, slots_NS: np.ndarray, vectors_N2V: np.ndarray | None = None, llm_NL: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """What `model.onnx` is given for the rows of `run`; of a split network, the items' states among it."""
        if self._llm and llm_NL is None:
            raise InputError(
                "this is a gain network, which reads the M-LLM's representation of each record; "
                "send it to /infer as the input 'llm'"
            )
        if self._vectors and vectors_N2V is None:
            raise InputError("this model reads text vectors of user and item; send the input 'vectors'")
        if not self.split:
            given = {"slots": slots_NS, "vectors": vectors_N2V, "llm": llm_NL}
            return {name: part for name, part in given.items() if part is not None}
        of_user_NV, of_item_NV = (None, None) if vectors_N2V is None else (vectors_N2V[:, 0], vectors_N2V[:, 1])
        states_NK = self.item_states(slots_NS[:, self.item_columns], of_item_NV)
        return _given("requests", slots_NS[:, self.request_columns], of_user_NV) | {"states": states_NK}

    def item_states(self, items_NI: np.ndarray, vectors_NV: np.ndarray | None = None) -> np.ndarray:
        """The item's half of a split network.

        Args:
            items_NI: int64 ids, the item's columns of encoded rows.
            vectors_NV: float32, the items' text vectors, for a network that reads them.

        Returns:
            float32 [N, K], to keep for as long as the ids and vectors stay.
        """
        if self._items is None:
            raise ValueError("this network is not split")
        return _only(self._items, _given("items", items_NI, vectors_NV))

    def join(self, requests_MR: np.ndarray, states_NK: np.ndarray, vectors_MV: np.ndarray | None = None) -> np.ndarray:
        """The request's half of a split network.

        Args:
            requests_MR: int64 ids, the request's columns of encoded rows: one row for all items (M = 1), or one each (M = N).
            states_NK: The items' states.
            vectors_MV: float32, the users' text vectors, for a network that reads them.

        Returns:
            float32 [N], probabilities of a click.
        """
        # A row for one item is scored as one for all: nothing else is known here of which item a row is.
        if len(requests_MR) not in {1, len(states_NK)}:
            raise ValueError(f"{len(requests_MR)} requests for {len(states_NK)} items; it has to be one, or one each")
        if len(states_NK) == 0:
            return np.empty(0, dtype=np.float32)
        return _only(self._session, _given("requests", requests_MR, vectors_MV) | {"states": states_NK})


def columns(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """The columns of encoded rows that are the item's (its key and semantic ids among them), and the other ones.

    Those of a pair are among the others: then each candidate has a row of the request's side of its own.
    """
    fields = (*manifest.fields, *manifest.crossed)
    widths = [field.width for field in fields] + [1] * len(manifest.semantic_ids)
    of_item = [field.of is Entity.ITEM for field in fields] + [True] * len(manifest.semantic_ids)
    item_S = np.repeat(np.array(of_item), widths)
    return np.flatnonzero(item_S), np.flatnonzero(~item_S)


def _given(name: str, slots: np.ndarray, vectors: np.ndarray | None) -> dict[str, np.ndarray]:
    return {name: slots} if vectors is None else {name: slots, "vectors": vectors}


def _only(session: onnxruntime.InferenceSession, given: Mapping[str, np.ndarray]) -> np.ndarray:
    result: np.ndarray = session.run(None, given)[0]
    return result


def _session(path: Path, settings: ServingSpec) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    if settings.device == "cpu" or (settings.device == "auto" and _CUDA not in onnxruntime.get_available_providers()):
        return onnxruntime.InferenceSession(str(path), options, providers=[_CPU])
    if _CUDA not in onnxruntime.get_available_providers():
        raise InputError(
            "device 'cuda': this installation of ONNX Runtime has no CUDA provider; install onnxruntime-gpu, or use auto or cpu"
        )
    session = onnxruntime.InferenceSession(str(path), options, providers=[_CUDA, _CPU])
    # Without a driver or a device ONNX Runtime only warns, and takes the CPU.
    if settings.device == "cuda" and _CUDA not in session.get_providers():
        raise InputError("device 'cuda': this machine has no GPU that ONNX Runtime can use; use auto or cpu")
    return session


def _check_inputs(path: Path, session: onnxruntime.InferenceSession, expected: Sequence[str]) -> None:
    read = {put.name for put in session.get_inputs()}
    if read != set(expected):
        raise InputError(
            f"{path}: its network reads {', '.join(sorted(read))}, and the manifest says {', '.join(expected)}; "
            "publish the bundle anew"
        )
