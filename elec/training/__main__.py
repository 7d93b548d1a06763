"""Trains a run's networks in several processes, which `torchrun` starts on one machine or on several nodes.

    torchrun --nproc-per-node 2 -m elec.training --job job.json --features ... --texts ... --mllm ... --model ...

Inputs are the folders of the distillation step, or `s3://` URIs of them. With `--report` the outcome is written as JSON.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from elec import storage
from elec.cluster.told import told
from elec.errors import ElecError

_INPUTS = ("features", "texts", "mllm", "knowledge")


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(prog="elec.training", description="Train a run's networks in the processes of torchrun.")
    found.add_argument("--job", required=True, help="the run, as JSON: spec, workspace, run_id, as_of")
    for name in _INPUTS:
        found.add_argument(f"--{name}", required=name != "knowledge", help=f"folder of the {name}")
    found.add_argument("--model", required=True, help="where the networks go")
    found.add_argument("--report", help="where to write how it ended")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Trains; 0 if it went well, else the exit code of the error."""
    given = parser().parse_args(arguments)
    try:
        facts = _train(given)
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        return error.exit_code
    if facts is not None and given.report:
        content = orjson.dumps({"facts": facts}, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        storage.write_bytes(given.report, content)
    return 0


def _train(given: argparse.Namespace) -> dict[str, Any] | None:
    """What the first process reports; None in the others."""
    from torch import distributed

    from elec.steps.job import parse_job
    from elec.steps.training import train_networks
    from elec.training.parallel import is_first, process_group

    # Its error is written before the group ends, because that ends the other processes, too, with errors of less use.
    with process_group() as group, told(given.report):
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            _fetch(given)
        if group is not None:
            # The other processes of this machine read what the first one fetched.
            distributed.barrier()
        inputs = {name: _here(getattr(given, name)) for name in _INPUTS if getattr(given, name)}
        job = parse_job(storage.read_bytes(given.job).decode())
        with tempfile.TemporaryDirectory(prefix="elec-model-") as scratch:
            model = Path(scratch, "model") if storage.is_s3(given.model) else storage.local_path(given.model)
            facts = train_networks(job, inputs, model)
            if not is_first():
                return None
            if storage.is_s3(given.model):
                storage.remove_folder(given.model)
                storage.publish_folder(model, given.model, last="model.json")
            return facts


def _fetch(given: argparse.Namespace) -> None:
    for name in _INPUTS:
        uri = getattr(given, name)
        if uri and storage.is_s3(uri) and not _here(uri).exists():
            with storage.whole_folder(_here(uri)) as folder:
                storage.fetch_folder(uri, folder)


def _here(uri: str) -> Path:
    """Where a folder is, or will be, on this machine."""
    if not storage.is_s3(uri):
        return storage.local_path(uri)
    return Path(tempfile.gettempdir(), f"elec-{hashlib.sha256(uri.encode()).hexdigest()[:16]}")


if __name__ == "__main__":
    sys.exit(main())
