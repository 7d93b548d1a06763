"""`elec score`: a file of records, scored."""

from pathlib import Path
from typing import Annotated

import typer


def score(
    source: Annotated[
        str, typer.Option("--input", help="CSV, TSV, JSON lines or Parquet with a column for every field of the model.")
    ],
    output: Annotated[Path, typer.Option(help="The file to write, .parquet or .csv: the input's columns and `score`.")],
    bundle: Annotated[str, typer.Option(help="The bundle's folder or s3:// URI. The workspace's champion, if left out.")] = "",
    workspace: Annotated[str, typer.Option(help="Where the champion stands. A folder or s3://bucket/prefix.")] = "runs",
) -> None:
    """Score the records of a file.

    A record is scored as it stands in the file: no features are looked up. A missing value is left empty. Only the text
    vectors of a model that reads them come from the workspace, by the record's user and item.
    """
    from elec.commands.bundles import bundle_of, feast_of
    from elec.serving.batch import score_file
    from elec.serving.start import load_scorer

    rows = score_file(load_scorer(bundle_of(bundle, workspace), feast_of(workspace)), source, output)
    typer.echo(f"{rows:,} records scored: {output}")
