"""The run's page, and the parts of it that a pipeline's UI shows: HTML that loads nothing, in light and dark."""

from elec.runs.page.build import build_page, results_page

__all__ = ["build_page", "results_page"]
