"""Evidently's picture of the drift, beside the verdict: never the verdict itself.

Its default rule lets half of the columns drift, and a column of raw ids takes minutes: so keys and texts stay out, wide
categorical columns become their most frequent values and `other`, and the rows are a sample.
"""

import os
from pathlib import Path
from typing import Any

from elec.spec import DatasetSpec, Kind

_TOP = 20
_OTHER = "other"
_MISSING = "(missing)"


def evidently_report(current_sample: Path, reference_sample: Path, spec: DatasetSpec, html: Path) -> None:
    """Writes Evidently's data drift report as one HTML file.

    Args:
        current_sample: The current window's `sample.parquet`.
        reference_sample: The reference's.
        spec: The data set.
        html: Where the report goes.
    """
    # Evidently reads it when it is imported.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    current, reference = _read(current_sample), _read(reference_sample)
    keys = {spec.user, spec.item}
    shown = [
        field
        for field in spec.tabular_fields
        if field.name not in keys and field.name in current.columns and field.name in reference.columns
    ]
    columns_now, columns_before = {"label": current["label"].astype(str)}, {"label": reference["label"].astype(str)}
    numeric: list[str] = []
    for field in shown:
        now, before = current[field.name], reference[field.name]
        if field.kind is Kind.NUMERIC:
            if now.notna().any() and before.notna().any():
                columns_now[field.name], columns_before[field.name] = now.astype(float), before.astype(float)
                numeric.append(field.name)
            continue
        labels_now, labels_before = _labels(now), _labels(before)
        top = set(labels_before.value_counts().index[:_TOP])
        columns_now[field.name] = labels_now.where(labels_now.isin(top), _OTHER)
        columns_before[field.name] = labels_before.where(labels_before.isin(top), _OTHER)
    definition = DataDefinition(
        numerical_columns=numeric, categorical_columns=[name for name in columns_now if name not in numeric]
    )
    # The same measure as the verdict's.
    report = Report([DataDriftPreset(method="psi")])
    snapshot = report.run(
        Dataset.from_pandas(pd.DataFrame(columns_now), data_definition=definition),
        Dataset.from_pandas(pd.DataFrame(columns_before), data_definition=definition),
    )
    html.parent.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(html))


def _read(sample: Path) -> Any:
    """A sample as a data frame; several values become one string."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(sample)
    for index, column in enumerate(table.schema):
        if pa.types.is_list(column.type):
            table = table.set_column(index, column.name, pc.binary_join(table[column.name], " | "))
    return table.to_pandas()


def _labels(column: Any) -> Any:
    """A column as strings, missing values as one of them."""
    text = column.astype(object).where(column.notna(), _MISSING).astype(str)
    return text.where(text != "", _MISSING)
