"""Figures and texts of tables made of made cells."""

from pathlib import Path

import numpy as np
import pytest

from elec.evaluation.significance import holm, paired_test
from elec.evidence.arms import ARMS
from elec.evidence.figures import table_figures
from elec.evidence.markdown import table_markdown
from elec.evidence.plots import plots_of
from tests.evidence.made_cells import EXPERIMENT, fill


def test_a_table_has_lifts_tests_controls_and_retention(tmp_path: Path) -> None:
    plan = fill(tmp_path)
    figures = table_figures(plan, 2)
    assert [row.arm for row in figures.rows] == ["dcnv2", "mllm", "gain", "elec", "elec_shuffled"]
    assert figures.missing == ()
    aucs = {
        row.arm: [plan.cells.read(cell).test[ARMS[row.arm].network].auc for cell in plan.finals(ARMS[row.arm], row.llm)]  # type: ignore[union-attr]
        for row in figures.rows
    }
    raw = []
    for row in figures.rows[1:]:
        assert row.lift is not None
        assert row.lift.auc == paired_test(aucs[row.arm], aucs["dcnv2"])
        assert row.lift.interval.low <= row.lift.interval.estimate <= row.lift.interval.high
        assert row.lift.interval.estimate == pytest.approx(row.lift.auc.difference)
        raw.append(row.lift.auc.p)
    assert [row.lift.auc_p for row in figures.rows[1:] if row.lift] == holm(raw)
    means = {arm: np.mean(values) for arm, values in aucs.items()}
    elec, shuffled, gain = (figures.row(name) for name in ("elec", "elec_shuffled", "gain"))
    assert elec is not None
    assert elec.retention == pytest.approx((means["elec"] - means["dcnv2"]) / (means["gain"] - means["dcnv2"]))
    assert shuffled is not None
    assert shuffled.control is not None
    assert shuffled.retention is None
    lift = means["elec"] - means["dcnv2"]
    assert shuffled.control.share == pytest.approx((means["elec_shuffled"] - means["dcnv2"]) / lift)
    assert gain is not None
    assert gain.retention is None
    assert figures.rows[0].lift is None


def test_slices_are_compared_seed_by_seed(tmp_path: Path) -> None:
    figures = table_figures(fill(tmp_path), 2)
    elec, base = figures.row("elec"), figures.row("dcnv2")
    assert elec is not None
    assert base is not None
    for own, other in zip(elec.slices, base.slices, strict=True):
        assert own.name == other.name
        if own.auc is not None and own.lift is not None and other.auc is not None and own.lift.n == 3:
            assert own.lift.difference == pytest.approx(own.auc.mean - other.auc.mean)
    assert any(part.lift is not None for part in elec.slices)


def test_an_arm_that_lacks_a_cell_is_named_and_left_out(tmp_path: Path) -> None:
    plan = fill(tmp_path)
    cell = plan.finals(ARMS["elec"], EXPERIMENT.run.llm.name)[1]
    (tmp_path / f"{cell.key}.json").unlink()
    figures = table_figures(plan, 2)
    assert figures.row("elec") is None
    # The gain network is of the same cells.
    assert [line.split(":")[-1] for line in figures.missing] == [" 2 of 3 final cells are there"] * 2
    assert "**Missing:** " in table_markdown(figures, "Toy", "", [])


def test_the_same_cells_give_the_same_files(tmp_path: Path) -> None:
    plan = fill(tmp_path / "cells")
    texts, pictures = [], []
    for name in ("one", "two"):
        figures = table_figures(plan, 2)
        plots = plots_of(figures, "Toy", tmp_path / name)
        texts.append(table_markdown(figures, "Toy", "About it.", plots))
        pictures.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert texts[0] == texts[1]
    assert pictures[0] == pictures[1]
    assert set(pictures[0]) == {f"table-2-{what}.{kind}" for what in ("lift", "interactions") for kind in ("svg", "png")}


def test_the_text_says_what_was_done(tmp_path: Path) -> None:
    text = table_markdown(table_figures(fill(tmp_path), 2), "Toy", "About it.", ["x.svg|A plot"])
    for words in (
        "# Toy: comparison",
        "About it.",
        "over 3 seeds",
        "corrected by Holm",
        "best of 2 trials",
        "![A plot](x.svg)",
    ):
        assert words in text
    assert "| DCNv2 | fields |" in text
    assert "share of the arm's lift" in text
    assert "learning_rate" in text
    assert "nan" not in text


def test_the_ablation_shares_cells_with_the_comparison(tmp_path: Path) -> None:
    figures = table_figures(fill(tmp_path, tables=(3,)), 3)
    assert [row.title for row in figures.rows] == ["DCNv2", ARMS["elec"].title, "without text (label-only teacher)"]
