"""The process in which Kubeflow Pipelines' local runner works.

It is a process of its own so that its log goes to the run's folder instead of the terminal, and so that all of it can be
stopped at once. What it has to do comes on standard input, as JSON.
"""

import sys

from pydantic import BaseModel

from elec import storage
from elec.process import die_with
from elec.runs import Workspace
from elec.spec import Spec


class LocalRun(BaseModel):
    """A run on this machine."""

    spec: Spec
    workspace: str
    run_id: str
    as_of: str
    force: bool
    artifacts: str
    parent: int


def main() -> int:
    """Runs the pipeline; 0 if it succeeded."""
    from kfp import local

    from pipelines.retraining import retraining_pipeline

    this = LocalRun.model_validate_json(sys.stdin.read())
    die_with(this.parent)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=this.artifacts, raise_on_error=True)
    # A retry replaces a lost pod; here there is none, and a wrong file name would be tried again and again. There is one node.
    cluster = this.spec.run.cluster.model_copy(update={"retries": 0, "nodes": 1})
    run = this.spec.run.model_copy(update={"cluster": cluster})
    spec = this.spec.model_copy(update={"run": run})
    pipeline = retraining_pipeline(spec, workspace=this.workspace, run_id=this.run_id)
    try:
        pipeline(as_of=this.as_of, force=this.force)
    except RuntimeError as error:
        # kfp names the step; what happened in it is in the step's record and above in this log.
        print(error, file=sys.stderr)
        return 1
    return 0 if storage.exists(storage.join(Workspace(this.workspace).run(this.run_id), "summary.json")) else 1


if __name__ == "__main__":
    sys.exit(main())
