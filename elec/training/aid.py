"""What a training may be given beside its data: snapshots to go on from, processes to train with, a champion to start from."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from elec import storage
from elec.training.parallel import ProcessGroup
from elec.training.snapshot import SnapshotFolder
from elec.training.warm_start import WarmStart


@dataclass(frozen=True)
class Aid:
    """The aid of the trainings of one run, or of one student of it.

    Attributes:
        snapshots: URI of the folder for their snapshots; empty for none.
        group: The processes that train together, if there are several.
        champion: Folder of the champion's weights; None to start fresh.
        start: What this student starts from.
    """

    snapshots: str = ""
    group: ProcessGroup | None = None
    champion: Path | None = None
    start: WarmStart | None = field(default=None, repr=False)

    def of(self, student: str, start: WarmStart | None) -> "Aid":
        """The aid of one student's trainings."""
        return replace(self, snapshots=storage.join(self.snapshots, student) if self.snapshots else "", start=start)

    def snapshots_of(self, training: str) -> SnapshotFolder | None:
        """Where one training's snapshots are kept."""
        return SnapshotFolder(storage.join(self.snapshots, training)) if self.snapshots else None

    def begin(self, name: str, network: nn.Module) -> None:
        """Lets a fresh network know what the champion's network of this name knows."""
        if self.start is not None:
            self.start.begin(name, network)


#: A training on its own, from the beginning.
ALONE = Aid()
