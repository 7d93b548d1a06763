"""`elec data`: fetch a public data set, and look at one's own."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from elec import storage
from elec.errors import InputError
from elec.spec import Kind, load_spec

if TYPE_CHECKING:
    from elec.ingest import IngestReport
    from elec.ingest.describe import FieldSummary
    from elec.ingest.refusals import Refusal

#: Characters of a refused row that are shown.
_RAW = 80

app = typer.Typer(
    help="Fetch a public data set, or look at what a spec makes of your log.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The data set: `movielens-100k`.")],
) -> None:
    """Fetches a public data set into the cache.

    The files are checked against known hashes and kept in `$ELEC_CACHE` (`~/.cache/elec` by default), never in the repository.
    What is there already is checked again and not fetched twice. Its spec comes with elec: `elec run --spec movielens-100k`.
    """
    from elec.datasets.fetch import PACKAGED
    from elec.datasets.fetch import fetch as fetch_data

    console = Console(soft_wrap=True)
    folder = fetch_data(name)
    console.print(f"{name} is in {folder}", highlight=False)
    console.print(PACKAGED[name].terms, highlight=False)


@app.command()
def describe(
    spec: Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="UTC; later rows are invisible. Now when left out.",
        ),
    ] = None,
) -> None:
    """Shows what a spec makes of a log, without training anything.

    Reads the log exactly as a run would: how many rows are kept, refused (and why) and dropped, how train, valid and test
    come out, and for every field how many values it has, which are frequent and how many are missing. Nothing is kept.
    """
    from elec.ingest import Ingested, ingest
    from elec.ingest.describe import describe as describe_fields

    dataset = load_spec(spec).dataset
    moment = as_of.replace(tzinfo=UTC) if as_of is not None else datetime.now(UTC)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="elec-describe-") as temporary:
        folder = Path(temporary, "ingested")
        report = ingest(dataset, folder, as_of=moment)
        fields = describe_fields(Ingested(folder), dataset)
    console.print(f"[bold]{dataset.name}[/bold]  {escape(dataset.description)}")
    console.print(_rows_table(report), _splits_table(report), _fields_table(fields))


@app.command()
def quarantine(
    run: Annotated[str, typer.Option("--run", help="The run's name, as `elec run` shows it.")],
    output: Annotated[str, typer.Option(help="The workspace that the run is in: a folder or s3://bucket/prefix.")] = "runs",
    examples: Annotated[int, typer.Option(min=1, max=20, help="Rows to show of each reason.")] = 2,
) -> None:
    """Shows which rows a run refused: how many for each reason, and where the first ones are.

    All of them, as they were in the log, are in the run's `quarantine.parquet`.
    """
    from elec.ingest.refusals import refusals
    from elec.runs import RunFolder, Workspace
    from elec.steps.ingest import QUARANTINE

    folder = Workspace(output).run(run)
    if "ingest" not in RunFolder(folder).records():
        raise InputError(f"--run {run}: there is no such run in {output}; give the name of a folder there, and --output")
    address = storage.join(folder, QUARANTINE)
    console = Console()
    if not storage.exists(address):
        console.print(f"run {run} refused no row", highlight=False)
        return
    with tempfile.TemporaryDirectory(prefix="elec-quarantine-") as scratch:
        path = Path(scratch, QUARANTINE) if storage.is_s3(address) else storage.local_path(address)
        if storage.is_s3(address):
            path.write_bytes(storage.read_bytes(address))
        found = refusals(path, examples)
    console.print(_refusals_table(found), f"all rows: {address}", highlight=False, soft_wrap=True)


def _refusals_table(found: "list[Refusal]") -> Table:
    table = Table("rows", "reason", "file", "line", "raw", title=f"Refused: {sum(one.rows for one in found):,} rows")
    for refusal in found:
        for position, (file, line, raw) in enumerate(refusal.examples):
            about = ("", "") if position else (f"{refusal.rows:,}", escape(refusal.reason))
            shown = raw if len(raw) <= _RAW else f"{raw[: _RAW - 3]}..."
            table.add_row(*about, escape(file.rsplit("/", 1)[-1]), f"{line:,}", escape(shown))
    table.columns[0].justify = table.columns[3].justify = "right"
    return table


def _rows_table(report: "IngestReport") -> Table:
    table = Table("", "files", "read", "kept", "refused", "dropped", "after as-of", "duplicates", title="Rows")
    counts = [report.rows_read, report.rows_kept, report.rows_quarantined, report.rows_dropped, report.rows_after_as_of]
    table.add_row("log", f"{len(report.files):,}", *(f"{count:,}" for count in counts), f"{report.duplicates:,}")
    for name, part in report.tables.items():
        counts = [part.rows_read, part.rows_kept, part.rows_quarantined]
        table.add_row(name, "", *(f"{count:,}" for count in counts), "", f"{part.rows_after_as_of:,}", f"{part.duplicates:,}")
    clicks = report.clicks
    notes = {
        "older than the look-back": report.rows_before_window,
        "with a label that is not known yet": report.rows_open,
        "without a click and not sampled": report.negatives_dropped,
    }
    lines = [f"{count:,} {what}" for what, count in notes.items() if count]
    if clicks is not None:
        counts = [clicks.rows_read, clicks.counted, clicks.rows_quarantined]
        table.add_row(
            "clicks", "", *(f"{count:,}" for count in counts), "", f"{clicks.rows_after_as_of:,}", f"{clicks.duplicates:,}"
        )
        lines.append(f"clicks: {clicks.without_impression:,} without an impression, {clicks.outside_attribution:,} too late")
    if report.reasons:
        lines.append("refused: " + "; ".join(f"{count:,} x {why}" for why, count in report.reasons.items()))
    table.caption = escape("; ".join(lines)) or None
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _splits_table(report: "IngestReport") -> Table:
    table = Table("split", "rows", "label rate", "first event (UTC)", "last event (UTC)", title="Splits")
    for name, rows in report.split_rows.items():
        first, last = (f"{moment[name]:%Y-%m-%d %H:%M:%S}" for moment in (report.first_event, report.last_event))
        table.add_row(name, f"{rows:,}", f"{report.label_rate[name]:.4f}", first, last)
    table.columns[1].justify = table.columns[2].justify = "right"
    return table


def _fields_table(fields: "list[FieldSummary]") -> Table:
    table = Table("field", "of", "kind", "distinct", "missing", "values", title="Fields")
    for summary in fields:
        table.add_row(
            summary.spec.name,
            summary.spec.of,
            summary.spec.kind,
            f"{summary.distinct:,}",
            f"{summary.missing:.1%}",
            escape(_values(summary)),
        )
    table.columns[3].justify = table.columns[4].justify = "right"
    return table


def _values(summary: "FieldSummary") -> str:
    """The last column: what the values look like."""
    parts = [", ".join(f"{value[:24]} {share:.1%}" for value, share in summary.top)] if summary.top else []
    if summary.quantiles is not None:
        low, middle, high = (f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}" for value in summary.quantiles)
        unit = {Kind.TEXT: " words", Kind.MULTIVALUED: " values"}.get(summary.spec.kind, "")
        parts.append(f"{low} to {high}{unit}, median {middle}")
    return "; ".join(parts)
