"""The driver of a step's work on data in Ray's workers; KubeRay starts it on the head of a RayJob's cluster.

    python -m elec.engine build_features --job=job.json --ingested=... --output=... --report=... --exchange=...

Inputs and outputs are folders, or `s3://` URIs of them.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from elec import storage
from elec.cluster.told import told
from elec.engine.engine import started
from elec.errors import ElecError
from elec.steps.data import WORK
from elec.steps.job import parse_job

_INPUTS = ("ingested",)
#: The file whose presence says that an output is complete.
_LAST = "report.json"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(prog="elec.engine", description="Do a step's work on data in the workers of Ray.")
    found.add_argument("step", choices=sorted(WORK))
    found.add_argument("--job", required=True, help="the run, as JSON: spec, workspace, run_id, as_of")
    for name in _INPUTS:
        found.add_argument(f"--{name}", help=f"folder of the {name} rows")
    found.add_argument("--output", required=True, help="where the step's folder goes")
    found.add_argument("--report", required=True, help="where to write how it ended")
    found.add_argument("--exchange", required=True, help="a place that all workers reach")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Does the work; 0 if it went well, else the exit code of the error."""
    given = parser().parse_args(arguments)
    try:
        with told(given.report):
            facts = _work(given)
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        return error.exit_code
    storage.write_bytes(given.report, orjson.dumps({"facts": facts}))
    return 0


def _work(given: argparse.Namespace) -> dict[str, Any]:
    job = parse_job(storage.read_bytes(given.job).decode())
    with tempfile.TemporaryDirectory(prefix="elec-data-") as scratch:
        inputs = {
            name: storage.fetch_folder(getattr(given, name), Path(scratch, name)) for name in _INPUTS if getattr(given, name)
        }
        output = Path(scratch, "output")
        with started(job.spec.run.data, given.exchange) as engine:
            facts = WORK[given.step](job, inputs, output, engine)
        # What an earlier attempt has left is not of this one.
        storage.remove_folder(given.output)
        storage.publish_folder(output, given.output, last=_LAST)
        shutil.rmtree(output)
        return facts


if __name__ == "__main__":
    sys.exit(main())
