"""Snapshots of a training on disk or S3, from which a killed training goes on bit-exactly: safetensors and JSON.

They lie below the workspace, not in the run's folder, under a key of all that decides the training. A run that is started
again has another name but finds its snapshot; a training with any other setting, seed, data or code does not.

    <workspace>/snapshots/<key>/<training>/snapshot.json     what the training knows of itself, and which tensors belong to it
    <workspace>/snapshots/<key>/<training>/a.safetensors     the tensors, in one of two files that take turns

The tensors are written first, beside those of the snapshot before; `snapshot.json` then changes in one step, and names their
hash. A kill at any moment leaves the old snapshot or the new one.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from elec import storage
from elec.training.parallel import is_first
from elec.training.state import Snapshot

log = logging.getLogger("elec.training")

_SCHEMA_VERSION = 1
_STATE = "snapshot.json"
_TENSORS = ("a.safetensors", "b.safetensors")
_KEY_LENGTH = 32


class SnapshotFolder:
    """The snapshots of one training; see `elec.training.state.Snapshots`.

    Of processes that train together the first one writes, and all read.

    Args:
        uri: The training's folder, local or `s3://`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def load(self) -> Snapshot | None:
        """The newest complete snapshot with its tensors on the CPU, or None to start from the beginning.

        A snapshot that is torn, or that another version wrote, is left aside with a line in the log.
        """
        if not storage.exists(storage.join(self.uri, _STATE)):
            return None
        with TemporaryDirectory(prefix="elec-snapshot-") as scratch:
            folder = storage.fetch_folder(self.uri, Path(scratch))
            try:
                state = json.loads((folder / _STATE).read_bytes())
                if state["schema_version"] != _SCHEMA_VERSION:
                    raise ValueError(f"its schema_version is {state['schema_version']!r}")
                tensors = folder / _TENSORS[_TENSORS.index(state["tensors"])]
                if _hash([tensors]) != state["sha256"]:
                    raise ValueError("its tensors are not the ones that were written")
                found = load_file(tensors)
                # In the order in which they were saved, which safetensors does not keep.
                return Snapshot({name: found[name] for name in state["names"]}, dict(state["values"]))
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                log.warning("%s: the snapshot cannot be used (%s); the training starts from the beginning", self.uri, error)
                return None

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the newest snapshot atomically.

        Args:
            snapshot: Its tensors may be on any device; they are written before this returns.
        """
        if not is_first():
            return
        name = _TENSORS[1] if self._in_use() == _TENSORS[0] else _TENSORS[0]
        with storage.whole_file(storage.join(self.uri, name)) as path:
            save_file({key: _alone(tensor) for key, tensor in snapshot.tensors.items()}, path)
            digest = _hash([path])
        state = {
            "schema_version": _SCHEMA_VERSION,
            "tensors": name,
            "sha256": digest,
            "names": list(snapshot.tensors),
            "values": snapshot.values,
        }
        # Not orjson: it writes infinity, the best loss before the first epoch, as null.
        storage.write_bytes(storage.join(self.uri, _STATE), json.dumps(state).encode())

    def _in_use(self) -> str:
        """The tensors' file that the newest snapshot names."""
        try:
            return str(json.loads(storage.read_bytes(storage.join(self.uri, _STATE)))["tensors"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""


def training_key(decides: Mapping[str, Any], files: Iterable[Path]) -> str:
    """The name of a training: of two trainings that may differ in any weight it differs.

    Args:
        decides: Settings, seed, code version and the like; JSON.
        files: All that is learnt from, in an order of their own; their contents count, not where they lie.
    """
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    digest.update(_hash(files).encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU, in memory of its own: safetensors refuses views of a larger one."""
    here = tensor.detach().cpu().contiguous()
    return here if here.untyped_storage().nbytes() == here.nbytes else here.clone()
