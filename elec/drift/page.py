"""The verdict as a small page of its own, for the pipeline's UI; Evidently's large report stands beside it."""

from elec.drift.verdict import DriftVerdict


def drift_page(verdict: DriftVerdict) -> str:
    """The verdict, its reasons and a table of the fields, as one self-contained HTML page."""
    from elec.runs.page.drift import drift_view
    from elec.runs.page.render import render

    return render("drift.html", drift=drift_view(verdict.model_dump(mode="json")))
