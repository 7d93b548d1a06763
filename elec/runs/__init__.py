"""What outlives a process: the workspace, the run's folder, its summary and its page."""

from elec.runs.folder import RunFolder, StepRecord
from elec.runs.workspace import Champion, Workspace

__all__ = ["Champion", "RunFolder", "StepRecord", "Workspace"]
