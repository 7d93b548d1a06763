"""The run's folder: what each step did, how long it took and how it ended, written by the steps themselves.

A step writes one JSON record when it starts and again when it ends, so a run that was killed at any moment can be told from
its folder alone, on a laptop as on a cluster. The exit handler turns the records into `summary.json` and `index.html`.
"""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from elec import storage
from elec.errors import BlockedError, ElecError


class StepRecord:
    """What a step tells of itself while it runs: `record.facts[...] = ...`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}


class RunFolder:
    """One run's folder.

    Args:
        uri: The folder, local or `s3://`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @contextmanager
    def step(self, name: str) -> Iterator[StepRecord]:
        """Records a step around the work in the `with` block; what the block raises is recorded and raised on.

        Args:
            name: The step, unique in its run (`encode_text-0`).
        """
        record = StepRecord(name)
        started = time.time()
        self._write(record, "running", started, None)
        try:
            yield record
        except BaseException as error:
            self._write(record, "blocked" if isinstance(error, BlockedError) else "failed", started, error)
            raise
        self._write(record, "done", started, None)

    def records(self) -> dict[str, dict[str, Any]]:
        """The records of all steps that started, by name, in the order in which they started."""
        folder = storage.join(self.uri, "steps")
        names = [name for name in storage.list_files(folder) if name.endswith(".json")]
        found = [orjson.loads(storage.read_bytes(storage.join(folder, name))) for name in names]
        return {record["name"]: record for record in sorted(found, key=lambda record: record["started"])}

    def put(self, name: str, content: bytes) -> str:
        """Keeps a file (a report, a table) in the run's folder and gives its URI."""
        uri = storage.join(self.uri, name)
        storage.write_bytes(uri, content)
        return uri

    def put_file(self, name: str, path: Path) -> str:
        """Keeps a copy of a file in the run's folder and gives its URI."""
        return self.put(name, path.read_bytes())

    def get(self, name: str) -> bytes | None:
        """A file of the run's folder, or None."""
        try:
            return storage.read_bytes(storage.join(self.uri, name))
        except FileNotFoundError:
            return None

    def _write(self, record: StepRecord, status: str, started: float, error: BaseException | None) -> None:
        content: dict[str, Any] = {
            "name": record.name,
            "status": status,
            "started": started,
            "seconds": round(time.time() - started, 3),
            "facts": record.facts,
        }
        if error is not None:
            expected = isinstance(error, ElecError)
            content["error"] = {
                "message": str(error) or type(error).__name__,
                "kind": type(error).__name__,
                "exit_code": error.exit_code if isinstance(error, ElecError) else 1,
                "trace": "" if expected else "".join(traceback.format_exception(error)),
            }
        # A path or an epoch number among the facts must not be what ends a step.
        option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        storage.write_bytes(
            storage.join(self.uri, "steps", f"{record.name}.json"), orjson.dumps(content, default=str, option=option)
        )
