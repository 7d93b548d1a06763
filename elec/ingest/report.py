"""What ingest leaves behind: the folder's files, and the account of every row that was read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from elec.errors import InputError

#: The parts of a data set, in time's order when the split is by time.
SPLITS = ("train", "valid", "test")

#: The rows without a click that train leaves out, for aggregates count them too; there only with both.
NEGATIVES = "negatives"

#: The time of a side table's row that has none of its own: before every event. Not 1970-01-01, which readers take for unset.
ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)


class TableReport(BaseModel):
    """The account of a side table's rows.

    Attributes:
        rows_read: Rows in its files.
        rows_kept: Rows of the written table.
        rows_quarantined: Rows refused; they are in the quarantine beside the log's.
        rows_after_as_of: Rows that were not yet true at `as_of`.
        duplicates: Rows overruled by a later row of the file with the same key and time.
    """

    model_config = ConfigDict(frozen=True)

    rows_read: int
    rows_kept: int
    rows_quarantined: int
    rows_after_as_of: int
    duplicates: int

    @model_validator(mode="after")
    def _every_row_is_accounted_for(self) -> Self:
        found = self.rows_kept + self.rows_quarantined + self.rows_after_as_of + self.duplicates
        assert self.rows_read == found, f"{self.rows_read} rows read, {found} accounted for"
        return self


class ClicksReport(BaseModel):
    """The account of the rows of a log of clicks. Every row that was read is in exactly one of the counts.

    Attributes:
        rows_read: Rows in its files.
        rows_quarantined: Rows refused; they are in the quarantine beside the log's.
        rows_after_as_of: Clicks later than `as_of`.
        rows_before_window: Clicks older than the look-back.
        counted: Clicks that make an impression a click.
        duplicates: More clicks of the same request within the attribution window.
        outside_attribution: Clicks before their impression, or too long after it.
        without_impression: Clicks whose request is not in the log.
    """

    model_config = ConfigDict(frozen=True)

    rows_read: int
    rows_quarantined: int
    rows_after_as_of: int
    rows_before_window: int
    counted: int
    duplicates: int
    outside_attribution: int
    without_impression: int

    @model_validator(mode="after")
    def _every_row_is_accounted_for(self) -> Self:
        outside = self.rows_quarantined + self.rows_after_as_of + self.rows_before_window
        found = outside + self.counted + self.duplicates + self.outside_attribution + self.without_impression
        assert self.rows_read == found, f"{self.rows_read} clicks read, {found} accounted for"
        return self


class IngestReport(BaseModel):
    """The account of the log's rows. Every row that was read is in exactly one of the counts.

    Attributes:
        rows_read: Rows in the log's files, broken lines included.
        rows_kept: Rows of the three splits together.
        rows_quarantined: Rows refused.
        rows_dropped: Rows left out by `label.drop`.
        rows_after_as_of: Rows later than `as_of`.
        rows_before_window: Rows older than the look-back.
        rows_open: Rows whose label is not known yet at `as_of`.
        negatives_dropped: Rows without a click that were left out of train by `split.negatives`.
        duplicates: Rows equal to an earlier kept row in every column of the log.
        duplicates_dropped: As many of them as were left out: all or none.
        reasons: Why rows were refused, and how many, the most frequent first; rows of side tables are not in it.
        split_rows: Rows of each split.
        label_rate: Share of clicks in each split.
        first_event: Earliest event of each split.
        last_event: Latest event of each split.
        users: Distinct users in the kept rows.
        items: Distinct items in the kept rows.
        files: The log's files, in reading order.
        tables: The account of each side table, by name (`users`, `items`).
        clicks: The account of the log of clicks, if there is one.
    """

    model_config = ConfigDict(frozen=True)

    rows_read: int
    rows_kept: int
    rows_quarantined: int
    rows_dropped: int
    rows_after_as_of: int
    rows_before_window: int = 0
    rows_open: int = 0
    negatives_dropped: int = 0
    duplicates: int
    duplicates_dropped: int
    reasons: dict[str, int]
    split_rows: dict[str, int]
    label_rate: dict[str, float]
    first_event: dict[str, datetime]
    last_event: dict[str, datetime]
    users: int
    items: int
    files: tuple[str, ...]
    tables: dict[str, TableReport]
    clicks: ClicksReport | None = None

    @model_validator(mode="after")
    def _every_row_is_accounted_for(self) -> Self:
        outside = self.rows_after_as_of + self.rows_before_window + self.rows_open
        left_out = self.rows_dropped + self.duplicates_dropped + self.negatives_dropped
        found = self.rows_kept + self.rows_quarantined + left_out + outside
        assert self.rows_read == found, f"{self.rows_read} rows read, {found} accounted for"
        assert sum(self.split_rows.values()) == self.rows_kept, "the splits do not add up to the kept rows"
        assert sum(self.reasons.values()) == self.rows_quarantined, "the reasons do not add up to the quarantined rows"
        return self


class Ingested:
    """The files of an ingested data set.

    Args:
        folder: The folder that `ingest` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def train(self) -> Path:
        """The rows to train on."""
        return self.split("train")

    @property
    def valid(self) -> Path:
        """The rows that choose epochs."""
        return self.split("valid")

    @property
    def test(self) -> Path:
        """The rows that judge."""
        return self.split("test")

    @property
    def users(self) -> Path:
        """What is known of users, over time."""
        return self.folder / "users.parquet"

    @property
    def items(self) -> Path:
        """What is known of items, over time."""
        return self.folder / "items.parquet"

    @property
    def quarantine(self) -> Path:
        """The refused rows: file, line, reason, raw."""
        return self.folder / "quarantine.parquet"

    def split(self, name: str) -> Path:
        """The rows of `train`, `valid` or `test`."""
        if name not in SPLITS:
            raise ValueError(f"'{name}' is not one of {', '.join(SPLITS)}")
        return self.folder / f"{name}.parquet"

    def report(self) -> IngestReport:
        """The account of every row.

        Raises:
            InputError: If the folder holds no ingested data set.
        """
        try:
            content = (self.folder / "report.json").read_bytes()
        except FileNotFoundError:
            raise InputError(f"{self.folder}: holds no ingested data set (no report.json); run ingest first") from None
        return IngestReport.model_validate_json(content)
