"""The job: what every step of one run has to know, resolved once by the first step and handed from step to step."""

from contextlib import AbstractContextManager
from datetime import datetime

from elec.runs import RunFolder, StepRecord, Workspace
from elec.spec import Spec
from elec.spec.frozen import Frozen


class Job(Frozen):
    """One run.

    Attributes:
        spec: The data set, and how to run on it.
        workspace: Where runs, bundles, vectors and Feast's state live; a folder or an `s3://` URI.
        run_id: The run's name, unique in its workspace.
        as_of: The moment the run stands at: nothing later is visible to it (UTC).
    """

    spec: Spec
    workspace: str
    run_id: str
    as_of: datetime

    @property
    def space(self) -> Workspace:
        """The workspace."""
        return Workspace(self.workspace)

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.space.run(self.run_id))

    def step(self, name: str) -> AbstractContextManager[StepRecord]:
        """Records a step of this run around a `with` block."""
        return self.folder.step(name)


def parse_job(text: str) -> Job:
    """Reads the job that an earlier step handed on."""
    return Job.model_validate_json(text)
