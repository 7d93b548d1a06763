"""Plots of a table's figures, as SVG and PNG: the same figures give the same files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elec.evidence.table import Row, SliceFigures, TableFigures

#: Two-sided 95% points of Student's t for 1 to 9 degrees of freedom: intervals of a mean over few seeds.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_INK, _MUTED, _GRID = "#1b1f24", "#6b7280", "#e5e7eb"
_COLOURS = {"vanilla": "#2f6fde", "semantic_ids": "#c2570c", "vectors": "#0b8a5f"}
#: The students whose lift is drawn against interactions: the first of each that the table has.
_STUDENTS = {
    "vanilla": ("unlabelled", "elec", "two_stage"),
    "semantic_ids": ("semantic_ids_unlabelled", "semantic_ids", "semantic_ids_plain"),
    "vectors": ("vectors", "vectors_unlabelled", "vectors_plain"),
}


def plot_lifts(figures: TableFigures, title: str, folder: Path) -> list[str]:
    """Draws every arm's AUC lift with its interval, controls hollow.

    Args:
        figures: Of table 2, 3 or 4.
        title: Of the data set.
        folder: Where the files go.

    Returns:
        `file|words` for the text; nothing if there is no lift.
    """
    rows = [row for row in figures.rows if row.lift is not None]
    if not rows:
        return []
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8.5, 0.9 + 0.3 * len(rows)), layout="constrained")
    places = list(range(len(rows)))[::-1]
    for place, row in zip(places, rows, strict=True):
        assert row.lift is not None
        interval = row.lift.interval
        colour = _MUTED if row.control_of else _COLOURS[_student_of(row)]
        axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        face = "white" if row.control_of else colour
        axes.plot([row.lift.auc.difference], [place], "o", color=colour, markerfacecolor=face, markersize=6.5)
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_yticks(places, [row.title for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"AUC over {figures.baseline}: mean over seeds, {figures.experiment['confidence']:.0%} interval over users")
    axes.set_title(f"{title}: what each arm adds (hollow: controls)", loc="left", fontsize=11)
    _quiet(axes, "x")
    return [f"{_save(figure, folder, f'table-{figures.table}-lift')}|AUC lift of every arm with its interval"]


def plot_interactions(figures: TableFigures, title: str, folder: Path) -> list[str]:
    """Draws the students' AUC lift against the item's interactions in training.

    Args:
        figures: Of table 2.
        title: Of the data set.
        folder: Where the files go.

    Returns:
        `file|words` for the text; nothing if no student has slices.
    """
    lines = {}
    for student, names in _STUDENTS.items():
        row = next((found for name in names if (found := figures.row(name)) is not None), None)
        points = _points(row) if row is not None else []
        if row is not None and len(points) > 1:
            lines[student] = (row, points)
    if not lines:
        return []
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8.5, 4.6), layout="constrained")
    for student, (row, points) in lines.items():
        across = [part.interactions or 0.0 for part, _, _ in points]
        middle = [lift for _, lift, _ in points]
        colour = _COLOURS[student]
        low, high = ([lift + sign * half for _, lift, half in points] for sign in (-1, 1))
        axes.fill_between(across, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(across, middle, "-o", color=colour, linewidth=2, markersize=5, label=row.title)
    axes.axhline(0, color=_INK, linewidth=1)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=-0.15)
    axes.xaxis.set_major_formatter(pyplot.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("the item's rows in training (0: never seen; then tenths of the test rows)")
    axes.set_ylabel(f"AUC over {figures.baseline}")
    axes.set_title(f"{title}: lift by how often training saw the item (band: 95% over seeds)", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _quiet(axes, "both")
    return [f"{_save(figure, folder, f'table-{figures.table}-interactions')}|AUC lift against the item's train rows"]


def _points(row: Row) -> list[tuple[SliceFigures, float, float]]:
    """Slices by item frequency with a lift in every seed: the slice, its lift, half its interval."""
    found = []
    for part in row.slices:
        if not part.name.startswith(("unseen_item", "item_decile_")) or part.lift is None or part.interactions is None:
            continue
        n, sd = part.lift.n, part.lift.sd
        half = _T95[min(n - 1, len(_T95)) - 1] * sd / n**0.5 if sd is not None else 0.0
        found.append((part, part.lift.difference, half))
    return sorted(found, key=lambda point: point[0].interactions or 0.0)


def _student_of(row: Row) -> str:
    return next((student for student in ("semantic_ids", "vectors") if row.arm.startswith(student)), "vanilla")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, rcParams

    # Identifiers in an SVG are random unless they are salted.
    rcParams.update({"svg.hashsalt": "elec", "font.size": 9.5, "axes.edgecolor": _MUTED, "text.color": _INK})
    return pyplot


def _quiet(axes: Any, grid: str) -> None:
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
    _pyplot().close(figure)
    return f"{name}.svg"


def plots_of(figures: TableFigures, title: str, folder: Path) -> Sequence[str]:
    """All plots that a table has."""
    return [*plot_lifts(figures, title, folder), *(plot_interactions(figures, title, folder) if figures.table == 2 else [])]
