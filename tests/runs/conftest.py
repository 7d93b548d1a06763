"""The records of a made-up run on MovieLens-100K, as its steps would have written them."""

import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from elec.runs import RunFolder

STARTED = 1_780_000_000.0
SECONDS = {
    "ingest": 2.41,
    "check_drift": 7.92,
    "build_features": 14.3,
    "textify": 1.12,
    "encode_text-0": 6.4,
    "encode_text-1": 7.1,
    "adapt_llm": 21.7,
    "distill": 96.4,
    "evaluate": 9.3,
    "deploy": 6.8,
}
NETWORKS = {"vanilla": 0.7812, "gain": 0.7841, "plain": 0.7754, "champion": 0.7789}


def roc(auc: float) -> dict[str, list[float]]:
    power = 1 / auc - 1
    fpr = [step / 150 for step in range(151)]
    return {"fpr": fpr, "tpr": [x**power for x in fpr]}


def reliability(bend: float) -> dict[str, list[float]]:
    predicted = [0.06 + 0.085 * step for step in range(10)]
    return {
        "predicted": predicted,
        "observed": [p + bend * math.sin(6 * p) for p in predicted],
        "rows": [1000.0] * 10,
    }


def curve(floor: float, epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": floor + 0.16 * math.exp(-epoch / 2.2),
            "valid_logloss": floor + 0.03 + 0.12 * math.exp(-epoch / 1.8) + 0.0011 * max(0, epoch - 6),
            "valid_auc": 0.79 - 0.1 * math.exp(-epoch / 2),
        }
        for epoch in range(1, epochs + 1)
    ]


def facts() -> dict[str, dict[str, Any]]:
    """The facts of a run that ended well."""
    fields = {
        "user_id": {"kind": "key", "psi": 0.62, "missing_change": 0.0, "known": 0.814, "verdict": "ok"},
        "item_id": {"kind": "key", "psi": 0.04, "missing_change": 0.0, "known": 0.981, "verdict": "ok"},
        "age": {"kind": "numeric", "psi": 0.034, "missing_change": 0.0, "known": None, "verdict": "ok"},
        "gender": {"kind": "categorical", "psi": 0.006, "missing_change": 0.0, "known": None, "verdict": "ok"},
        "occupation": {"kind": "categorical", "psi": 0.141, "missing_change": 0.0, "known": None, "verdict": "warn"},
        "zip_code": {"kind": "categorical", "psi": 0.091, "missing_change": 0.012, "known": None, "verdict": "ok"},
        "movie_title": {"kind": "text", "psi": 0.011, "missing_change": 0.0, "known": None, "verdict": "ok"},
        "release_year": {"kind": "categorical", "psi": 0.052, "missing_change": -0.001, "known": None, "verdict": "ok"},
        "genres": {"kind": "multivalued", "psi": 0.013, "missing_change": 0.0, "known": None, "verdict": "ok"},
    }
    return {
        "ingest": {
            "run": {
                "run_id": "movielens-100k-20260522-0300",
                "as_of": "2026-05-22T03:00:00+00:00",
                "code_version": "aee7d29c41f0",
                "dataset": "movielens-100k",
            },
            "rows": {"read": 100_000, "quarantined": 37, "train": 79_970, "valid": 9_996, "test": 9_997},
            "label_rate": {"train": 0.5562, "valid": 0.5481, "test": 0.5413},
            "quarantine": {"rating: 'n/a' is not a number": 21, "line has 3 columns instead of 4": 12, "in the future": 4},
            "report": {"rows_quarantined": 37, "rows_dropped": 0, "rows_after_as_of": 0, "duplicates_dropped": 0},
        },
        "check_drift": {
            "verdict": "warn",
            "reasons": ["Field 'occupation' has drifted: PSI 0.141, above 0.1."],
            "fields": fields,
            "label_rate": {"current": 0.5562, "reference": 0.5538},
            "rows": {"current": 79_970.0, "reference": 71_204.0},
            "rows_a_day": {"current": 431.0, "reference": 418.0},
            "limits": {"warn": 0.1, "retrain": 0.25, "block": 5.0},
            "decision": "train",
            "report": "drift.html",
        },
        "build_features": {"rows": 99_963},
        "textify": {"unique": 2620, "rows": 99_963, "summarised": 0},
        "encode_text-0": {"encoded": 160, "reused": 1150},
        "encode_text-1": {"encoded": 158, "reused": 1152},
        "adapt_llm": {
            "curve": [
                {"epoch": e, "train_loss": 0.6 + 0.08 * math.exp(-e / 2), "valid_logloss": 0.612 + 0.05 * math.exp(-e / 2)}
                for e in range(1, 9)
            ],
            "valid_auc": 0.742,
            "best_epoch": 8,
        },
        "distill": {
            "curves": {"vanilla": curve(0.531, 11), "gain": curve(0.527, 11), "plain": curve(0.538, 9)},
            "best_epochs": {"vanilla": 7, "gain": 7, "plain": 6},
        },
        "evaluate": {
            "metrics": {
                name: {"auc": auc, "gauc": auc - 0.081, "logloss": 1.3421 - auc, "pcoc": 1.0 + (auc - 0.776), "rows": 9997}
                for name, auc in NETWORKS.items()
            },
            "roc": {name: roc(auc) for name, auc in NETWORKS.items()},
            "reliability": {name: reliability((0.785 - auc) * 4) for name, auc in NETWORKS.items()},
            "gate": {
                "verdict": "promote",
                "reasons": [
                    "The challenger's LogLoss is better at 95% confidence over 214 users: LogLoss 0.5609 against 0.5632 "
                    "(improvement +0.0023, interval +0.0004 to +0.0041), AUC 0.7812 against 0.7789.",
                    "It predicts 1.005 times the observed clicks, within 0.8 to 1.25.",
                    "It takes 0.31 ms, and at most 10 ms are allowed.",
                ],
            },
            "latency_ms": 0.31,
            "difference": {
                "auc": {"estimate": 0.0023, "low": -0.0002, "high": 0.0047},
                "logloss": {"estimate": 0.0023, "low": 0.0004, "high": 0.0041},
            },
            "against_plain": {
                "auc": {"estimate": 0.0058, "low": 0.0031, "high": 0.0086},
                "logloss": {"estimate": 0.0049, "low": 0.0021, "high": 0.0079},
            },
        },
        "deploy": {
            "bundle": "/work/runs/registry/bundles/movielens-100k-20260522T030000-3f9c21ab07de",
            "endpoint": "http://127.0.0.1:8080/v2/models/elec",
            "smoke": {"golden": 64, "difference": 1.2e-7, "ranked": 100, "seconds": 1.9},
        },
    }


@pytest.fixture
def made_up() -> dict[str, dict[str, Any]]:
    return facts()


Write = Callable[..., RunFolder]


def write_run(
    uri: str, found: dict[str, dict[str, Any]], until: str = "deploy", status: str = "done", error: dict[str, Any] | None = None
) -> RunFolder:
    """Writes records as the steps would, up to a step, which ends with the given status."""
    run = RunFolder(uri)
    clock = STARTED
    for name, seconds in SECONDS.items():
        record = {"name": name, "status": "done", "started": clock, "seconds": seconds, "facts": found.get(name, {})}
        last = name == until
        if last:
            record |= {"status": status, "facts": record["facts"] if status == "done" else {}}
            record |= {"error": error} if error else {}
        run.put(f"steps/{name}.json", orjson.dumps(record))
        clock += seconds if name != "encode_text-0" else 0.5
        if last:
            break
    return run


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes a made-up run below the test's folder."""

    def into(found: dict[str, dict[str, Any]], **how: Any) -> RunFolder:
        return write_run(str(tmp_path / "a-run"), found, **how)

    return into
