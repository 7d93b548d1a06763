"""A table's figures as Markdown: the same figures give the same text."""

from collections.abc import Sequence

from elec.evaluation.significance import PairedTest, Spread
from elec.evidence.table import Row, TableFigures

TITLES = {
    2: "Comparison",
    3: "Ablation",
    4: "Effect of the base LLM",
    5: "Inference times",
}
_SLICES = ("unseen_item", *(f"item_decile_{number}" for number in range(1, 11)))


def table_markdown(figures: TableFigures, title: str, about: str, plots: Sequence[str]) -> str:
    """Writes a table.

    Args:
        figures: Of table 2, 3 or 4.
        title: Of the data set.
        about: What it is for.
        plots: File names of pictures beside the text, with a word each: `lift.svg|Lift of AUC`.
    """
    experiment = figures.experiment
    words = TITLES[figures.table]
    lines = [f"# {title}: {words[0].lower()}{words[1:]}", ""]
    if about:
        lines += [about, ""]
    lines += [_how(figures), ""]
    lines += _main_table(figures)
    if figures.missing:
        lines += ["", "**Missing:** " + "; ".join(figures.missing) + "."]
    for plot in plots:
        file, _, words = plot.partition("|")
        lines += ["", f"![{words}]({file})"]
    lines += _controls(figures)
    lines += _slices(figures)
    lines += _settings(figures)
    lines += [
        "",
        f"Code {', '.join(figures.code_versions) or 'unknown'}; seed of the search {experiment['search']['seed']}.",
        "",
    ]
    return "\n".join(lines)


def _how(figures: TableFigures) -> str:
    experiment = figures.experiment
    rows = ", ".join(f"{split} {count:,}" for split, count in figures.samples.items())
    sampled = "every seed has a sample of its own" if experiment["resample"] else "all seeds share the rows"
    seeds = len(figures.rows[0].seeds) if figures.rows else 0
    return (
        f"Rows: {rows or 'none'}; {sampled}. Mean ± sd over {seeds} seeds. Lift: AUC over {figures.baseline}; in brackets the "
        f"{experiment['confidence']:.0%} interval of {experiment['resamples']:,} draws of users; p of the paired t-test over "
        f"seeds, corrected by Holm over this table. GAUC weighs users by their rows. Settings: the best of "
        f"{experiment['trials']} trials by validation {experiment['metric'].upper()}, searched on a seed that is in no mean. "
        "Kept: the student's share of the gain network's lift."
    )


def _main_table(figures: TableFigures) -> list[str]:
    lines = [
        "| arm | online | AUC | GAUC | LogLoss | NE | PCOC | ECE | AUC lift | p | kept |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures.rows:
        metric = row.metrics
        lines.append(
            "| "
            + " | ".join(
                [
                    row.title,
                    row.serves,
                    _spread(metric["auc"]),
                    _mean(metric["gauc"]),
                    _spread(metric["logloss"]),
                    _mean(metric["ne"]),
                    _mean(metric["pcoc"], 3),
                    _mean(metric["ece"]),
                    _lift(row),
                    _p(row.lift.auc_p) if row.lift is not None else "",
                    f"{row.retention:.0%}" if row.retention is not None else "",
                ]
            )
            + " |"
        )
    return lines


def _controls(figures: TableFigures) -> list[str]:
    rows = [row for row in figures.rows if row.control is not None]
    if not rows:
        return []
    lines = [
        "",
        "## Controls",
        "",
        "What an arm's lift leaves over when the text says nothing: its controls, and the arm's AUC beyond each of them.",
        "",
        "| control | lift | share of the arm's lift | arm beyond control | p |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row.control is None or row.lift is None:
            continue
        share = f"{row.control.share:.0%}" if row.control.share is not None else "the arm has none"
        beyond = row.control.beyond
        lines.append(f"| {row.title} | {row.lift.auc.difference:+z.4f} | {share} | {_test(beyond)} | {_p(beyond.p)} |")
    return lines


def _slices(figures: TableFigures) -> list[str]:
    shown = [row for row in figures.rows if row.lift is not None and row.control_of is None]
    base = figures.row(figures.baseline)
    if not shown or base is None:
        return []
    names = [part.name for part in base.slices if part.rows > 0 and part.auc is not None]
    kinds = [("Items by train rows", [name for name in _SLICES if name in names])]
    kinds.append(("Users", [name for name in names if name.endswith("_user") or name.startswith("history_")]))
    lines: list[str] = []
    for heading, wanted in kinds:
        if not wanted:
            continue
        own = {part.name: part for part in base.slices}
        lines += [
            "",
            f"## {heading}",
            "",
            "AUC lift over the baseline (± sd over seeds).",
            "",
            "| arm | " + " | ".join(_slice_title(name) for name in wanted) + " |",
            "|---|" + "---|" * len(wanted),
            "| test rows | " + " | ".join(f"{own[name].rows:,.0f}" for name in wanted) + " |",
            "| mean interactions | " + " | ".join(_number(own[name].interactions) for name in wanted) + " |",
            f"| {base.title}, AUC | " + " | ".join(_mean(own[name].auc) for name in wanted) + " |",
        ]
        for row in shown:
            parts = {part.name: part for part in row.slices}
            cells = [_test(parts[name].lift) if name in parts else "" for name in wanted]
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return lines


def _settings(figures: TableFigures) -> list[str]:
    metric = figures.experiment["metric"].upper()
    lines = ["", "## Settings", "", f"| arm | chosen | validation {metric} of the trials, the recipe first | s a cell |"]
    lines.append("|---|---|---|---|")
    for row in figures.rows:
        chosen = ", ".join(f"{name.rsplit('.', 1)[-1]} {value}" for name, value in sorted(row.settings.items()))
        borrowed = f" (of {row.settings_of})" if row.settings_of != row.arm else ""
        trials = ", ".join(f"{value:.4f}" for value in row.trials)
        lines.append(f"| {row.title} | {chosen}{borrowed} | {trials} | {row.seconds:.0f} |")
    return lines


def _lift(row: Row) -> str:
    if row.lift is None:
        return "baseline"
    interval = row.lift.interval
    return f"{row.lift.auc.difference:+z.4f} [{interval.low:+z.4f}, {interval.high:+z.4f}]"


def _spread(value: Spread | None) -> str:
    if value is None:
        return "undefined"
    return f"{value.mean:.4f}" + (f" ± {value.sd:.4f}" if value.sd is not None else "")


def _mean(value: Spread | None, digits: int = 4) -> str:
    return f"{value.mean:.{digits}f}" if value is not None else "undefined"


def _test(test: PairedTest | None) -> str:
    if test is None:
        return "undefined"
    return f"{test.difference:+z.4f}" + (f" ± {test.sd:.4f}" if test.sd is not None else "")


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _number(value: float | None) -> str:
    return f"{value:,.1f}" if value is not None else ""


def _slice_title(name: str) -> str:
    if name.startswith("item_decile_"):
        return f"decile {name.removeprefix('item_decile_')}"
    if name.startswith("history_"):
        return name.removeprefix("history_").replace("_", " ") + " clicks"
    return name.replace("_", " ")
