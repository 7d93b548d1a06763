"""The workspace: the one place that outlives a run. Runs, published bundles, the champion, vectors and Feast's state.

<workspace>/<run id>/              a run's folder: summary.json, index.html, data.html, steps/, artifacts
<workspace>/registry/bundles/      published bundles, immutable
<workspace>/registry/references/   what a bundle was trained on, for the drift check
<workspace>/registry/champion.json which bundle is in service, and which was before
<workspace>/registry/weights/      all networks of a published bundle, for a training that starts from them
<workspace>/snapshots/             trainings that were killed, to go on from, by all that decides them
<workspace>/trainjobs/<run id>/    what the workers of a training on several nodes read and write
<workspace>/vectors/               text vectors, by content
<workspace>/knowledge/             projection and codebooks of the students, by data set, LLM and size
<workspace>/feast/                 Feast's registry and online store
<workspace>/segments/<data set>/   what was read and checked of each file of the log, by content
<workspace>/backfill/<data set>/   which days of a backfill are done
"""

from collections.abc import Callable
from datetime import UTC, datetime

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from elec import storage
from elec.errors import BlockedError, InputError
from elec.updating import update


class Champion(BaseModel):
    """The bundle in service."""

    model_config = ConfigDict(frozen=True)

    bundle_id: str
    run_id: str
    promoted_at: datetime
    previous: str | None = None


class Workspace:
    """Where things are below a workspace.

    Args:
        uri: A folder or `s3://bucket/prefix`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def run(self, run_id: str) -> str:
        """A run's folder."""
        return storage.join(self.uri, run_id)

    def bundle(self, bundle_id: str) -> str:
        """A published bundle."""
        return storage.join(self.uri, "registry", "bundles", bundle_id)

    def reference(self, bundle_id: str) -> str:
        """The reference window of a published bundle."""
        return storage.join(self.uri, "registry", "references", bundle_id)

    def weights(self, bundle_id: str) -> str:
        """The trained networks of a published bundle and their vocabulary, for a training that starts from them."""
        return storage.join(self.uri, "registry", "weights", bundle_id)

    def snapshots(self, key: str) -> str:
        """The snapshots of a run's trainings."""
        return storage.join(self.uri, "snapshots", key)

    def train_job(self, run_id: str) -> str:
        """Where the workers of a training on several nodes find their inputs and leave the model."""
        return storage.join(self.uri, "trainjobs", run_id)

    def data_job(self, run_id: str, step: str) -> str:
        """Where the workers of a step's work on data find its inputs, exchange files and leave its output."""
        return storage.join(self.uri, "datajobs", run_id, step)

    @property
    def vectors(self) -> str:
        """The store of text vectors."""
        return storage.join(self.uri, "vectors")

    def knowledge(self, dataset: str, llm_id: str, size: str) -> str:
        """The projection and the codebooks that every run of a data set with an LLM uses."""
        return storage.join(self.uri, "knowledge", dataset, llm_id, size)

    @property
    def feast(self) -> str:
        """Feast's registry and online store."""
        return storage.join(self.uri, "feast")

    def segments(self, dataset: str) -> str:
        """What was read and checked of each file of a data set's log."""
        return storage.join(self.uri, "segments", dataset)

    def backfill(self, dataset: str, key: str, day: str) -> str:
        """The record of a day of a backfill."""
        return storage.join(self.uri, "backfill", dataset, key, day)

    def champion(self) -> Champion | None:
        """The bundle in service, or None before the first promotion.

        Raises:
            InputError: If the record of it cannot be read.
        """
        try:
            content = storage.read_bytes(self._champion)
        except FileNotFoundError:
            return None
        return self._parse(content)

    def _parse(self, content: bytes) -> Champion:
        try:
            return Champion.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"]) or "the content"
            raise InputError(
                f"{self._champion}: not the record of a champion ({field}: {problem['msg']}); "
                "restore it, or remove it to start anew"
            ) from None

    def promote(self, bundle_id: str, run_id: str) -> Champion:
        """Makes a published bundle the champion, in one step; the one before is remembered for a rollback.

        Promoting the champion again (a rerun) keeps what is remembered. Of two that promote at once the later one is the
        champion, and remembers the other.
        """

        def promoted(before: Champion | None) -> Champion:
            previous = None
            if before is not None:
                previous = before.previous if before.bundle_id == bundle_id else before.bundle_id
            return Champion(bundle_id=bundle_id, run_id=run_id, promoted_at=datetime.now(UTC), previous=previous)

        return self._change(promoted)

    def rollback(self, run_id: str, seen: Champion | None = None) -> Champion:
        """Makes the champion's predecessor the champion again, in one step; a second rollback goes forward again.

        Args:
            run_id: The run that made the predecessor.
            seen: The champion whose predecessor that is; left out, whichever is the champion now.

        Raises:
            InputError: If there is no champion, or none before it.
            BlockedError: If another one has become the champion since.
        """

        def rolled_back(now: Champion | None) -> Champion:
            if now is None:
                raise InputError(f"{self.uri}: no model is in service there yet, so there is nothing to roll back")
            if seen is not None and now != seen:
                raise BlockedError(
                    f"{self.uri}: {now.bundle_id} was made the champion in the meantime, so nothing was rolled back; "
                    "roll back once more if you mean that one"
                )
            if now.previous is None:
                raise InputError(
                    f"{self.uri}: {now.bundle_id} is the first model in service there; there is none to go back to"
                )
            return Champion(bundle_id=now.previous, run_id=run_id, promoted_at=datetime.now(UTC), previous=now.bundle_id)

        return self._change(rolled_back)

    @property
    def _champion(self) -> str:
        return storage.join(self.uri, "registry", "champion.json")

    def _change(self, change: Callable[[Champion | None], Champion]) -> Champion:
        """Replaces the record by one that follows from it; nobody else's is lost in between."""

        def changed(content: bytes | None) -> bytes:
            champion = change(None if content is None else self._parse(content))
            return orjson.dumps(champion.model_dump(mode="json"), option=orjson.OPT_INDENT_2)

        return self._parse(update(self._champion, changed))
