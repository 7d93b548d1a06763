"""Files: where the log, the clicks, the users and the items are, and how to read them."""

import codecs
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from elec.spec.frozen import Frozen


class Source(Frozen):
    """A file, a glob, a folder or an `s3://` URI, and how to read it.

    Attributes:
        path: Where. `${NAME}` and `${NAME:-default}` come from the environment; a relative path starts at the spec's folder.
        format: Left out, it follows from the file's name (`.csv`, `.tsv`, `.parquet`, `.jsonl`, text also `.csv.gz`,
            `.csv.zst`, `.csv.bz2`).
        delimiter: Between columns of CSV or TSV; more than one character is allowed (`::`).
        header: Whether the first line names the columns.
        columns: Names for the columns, in order; with a header they replace it.
        encoding: Of CSV, TSV and JSON lines.
    """

    path: str = Field(min_length=1)
    format: Literal["csv", "tsv", "parquet", "jsonl"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    header: bool = True
    columns: tuple[str, ...] | None = None
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _columns_without_header(self) -> Self:
        if not self.header and not self.columns:
            raise ValueError("header is false, so `columns` has to name the columns")
        for column in self.columns or ():
            if (self.columns or ()).count(column) > 1:
                raise ValueError(f"`columns` names '{column}' more than once")
        return self

    @model_validator(mode="after")
    def _known_encoding(self) -> Self:
        try:
            codecs.lookup(self.encoding)
            # Python has codecs that are not of text, such as zlib and hex, and some that read a text only as a whole.
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)("backslashreplace").decode(b"", final=True)
        except (LookupError, ValueError):
            raise ValueError(
                f"`encoding` = '{self.encoding}' is not known; use utf-8, latin-1, cp1252 or utf-16, say"
            ) from None
        return self


class SideTable(Source):
    """Users or items in a file of their own, joined to the log by key.

    A row counts until the next one of its key, however old it is by then: there is no time to live, for Feast's online reads do
    not look at one, and training has to read what serving does.

    Attributes:
        key: The key's column in this file; the same name as in the log when left out.
        timestamp: When a row of this file became true; left out, its rows have always been true.
        unit: The timestamp's unit.
    """

    key: str | None = None
    timestamp: str | None = None
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"


class Clicks(Source):
    """A log of clicks: an impression is a click if this log has its request id within a time.

    Attributes:
        request: The column of both logs that holds the request id.
        key: Its name in the log of clicks, if that is another one.
        timestamp: When the click happened; clicks later than `as_of` are invisible.
        unit: The timestamp's unit.
        within: The attribution window: `30m`, `12h`, `1d`; a later click does not count.
        open: What happens to impressions whose attribution window is not over at `as_of`: `drop` them, for a click may still
            come, or `keep` them with the label known by then. Counted in both cases.
    """

    request: str
    key: str | None = None
    timestamp: str
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    within: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")] = "1d"
    open: Literal["keep", "drop"] = "drop"

    @property
    def within_us(self) -> int:
        """The attribution window in microseconds."""
        return int(self.within[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[self.within[-1]] * 1_000_000


class Tables(Frozen):
    """Files that describe users and items; without one, their fields are columns of the log."""

    users: SideTable | None = None
    items: SideTable | None = None
