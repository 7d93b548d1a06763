"""`elec data`: fetch a public data set, and look at one's own."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from elec import storage
from elec.errors import InputError
from elec.spec import load_spec

if TYPE_CHECKING:
    from elec.describe.summary import DataSummary, FieldSummary
    from elec.ingest import IngestReport
    from elec.ingest.refusals import Refusal

#: Characters of a refused row that are shown.
_RAW = 80
_OUTPUT = "The workspace, where runs are: a folder or s3://bucket/prefix."

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
    spec: Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")] = "",
    run: Annotated[str, typer.Option("--run", help="Instead of a spec: a run's name, as `elec run` shows it.")] = "",
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="UTC; later rows are invisible. Now when left out. Of a run it is known.",
        ),
    ] = None,
    output: Annotated[str, typer.Option(help=_OUTPUT)] = "runs",
) -> None:
    """Shows what a spec makes of a log, without training anything, or what a run made of it.

    Reads the log exactly as a run would: how many rows are kept, refused (and why) and dropped, how train, valid and test
    come out, and for every field, crossed ones too, how many values it has, which are frequent and how many are missing. All
    of it is in one HTML page with pictures, and the click rate of every value: `DATASET-data.html` in the workspace, or
    `data.html` of the run, which has the aggregates as well.
    """
    from elec.describe import data_page
    from elec.steps.ingest import PAGE

    if bool(spec) == bool(run):
        raise InputError("give either --spec, to look at a log, or --run, to look at what a run read")
    if run and as_of is not None:
        raise InputError(f"--as-of goes with --spec; run {run} stands at a moment already")
    found = _summary_of_run(run, output) if run else _summary_of_spec(spec, as_of)
    page = storage.join(output, run, PAGE) if run else storage.join(output, f"{found.dataset}-data.html")
    storage.write_bytes(page, data_page(found).encode())
    console = Console()
    console.print(f"[bold]{found.dataset}[/bold]  {escape(found.about)}")
    console.print(_rows_table(found.report), _splits_table(found), _fields_table(found.fields))
    console.print(f"page: {page}", highlight=False, markup=False, soft_wrap=True)


def _summary_of_spec(spec: str, as_of: datetime | None) -> "DataSummary":
    from elec.describe import describe as describe_data
    from elec.ingest import Ingested, ingest

    dataset = load_spec(spec).dataset
    moment = as_of.replace(tzinfo=UTC) if as_of is not None else datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="elec-describe-") as temporary:
        folder = Path(temporary, "ingested")
        ingest(dataset, folder, as_of=moment)
        return describe_data(Ingested(folder), dataset, moment)


def _summary_of_run(run: str, output: str) -> "DataSummary":
    from elec.describe import DataSummary
    from elec.steps.ingest import DESCRIPTION

    address = storage.join(_run_folder(run, output), DESCRIPTION)
    try:
        content = storage.read_bytes(address)
    except FileNotFoundError:
        raise InputError(f"{address}: run {run} kept no description of its data; describe its log with --spec") from None
    try:
        return DataSummary.model_validate_json(content)
    except ValidationError:
        raise InputError(
            f"{address}: not a description that this version of elec reads; describe the log with --spec"
        ) from None


def _run_folder(run: str, output: str) -> str:
    """The folder of a run that has read its log.

    Raises:
        InputError: If there is none.
    """
    from elec.runs import RunFolder, Workspace

    folder = Workspace(output).run(run)
    if "ingest" not in RunFolder(folder).records():
        raise InputError(f"--run {run}: there is no such run in {output}; give the name of a folder there, and --output")
    return folder


@app.command()
def quarantine(
    run: Annotated[str, typer.Option("--run", help="The run's name, as `elec run` shows it.")],
    output: Annotated[str, typer.Option(help=_OUTPUT)] = "runs",
    examples: Annotated[int, typer.Option(min=1, max=20, help="Rows to show of each reason.")] = 2,
) -> None:
    """Shows which rows a run refused: how many for each reason, and where the first ones are.

    All of them, as they were in the log, are in the run's `quarantine.parquet`.
    """
    from elec.ingest.refusals import refusals
    from elec.steps.data import QUARANTINE

    address = storage.join(_run_folder(run, output), QUARANTINE)
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


def _splits_table(found: "DataSummary") -> Table:
    columns = ("split", "rows", "label rate", "first event (UTC)", "last event (UTC)", "new users", "new items")
    table = Table(*columns, title="Splits", caption="new: share of the rows whose user, or item, has no row in train")
    report = found.report
    for name, rows in report.split_rows.items():
        first, last = (f"{moment[name]:%Y-%m-%d %H:%M:%S}" for moment in (report.first_event, report.last_event))
        new = [f"{one.new_rows / one.rows:.1%}" for one in found.unseen.get(name, {}).values()]
        table.add_row(name, f"{rows:,}", f"{report.label_rate[name]:.4f}", first, last, *new)
    for position in (1, 2, 5, 6):
        table.columns[position].justify = "right"
    return table


def _fields_table(fields: "tuple[FieldSummary, ...]") -> Table:
    from elec.describe.words import holds

    table = Table("field", "of", "kind", "distinct", "missing", "values", title="Fields, over the kept rows")
    for summary in fields:
        table.add_row(
            summary.name,
            summary.of,
            summary.kind,
            f"{summary.distinct:,}",
            f"{summary.missing.rows / summary.rows:.1%}",
            escape(holds(summary)),
        )
    table.columns[3].justify = table.columns[4].justify = "right"
    return table
