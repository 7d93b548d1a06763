"""An ingested log whose users and items change over time, with what makes a description hard."""

import datetime as dt
import random
from pathlib import Path

from elec.ingest import Ingested, ingest
from elec.spec import DatasetSpec
from tests.ingest.made import AS_OF, NOW, START, made_rows, made_spec, write_csv

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}"
BAD_ROWS = 4


def made_log(folder: Path, seed: int, rows: int = 700) -> tuple[Ingested, DatasetSpec]:
    """Ingests a log of some days: users with a history of their own, items as the log describes them."""
    draw = random.Random(seed)
    tail = [draw.paretovariate(0.8) for _ in range(rows)]
    log = made_rows(
        rows,
        ts=lambda position, _: (START + dt.timedelta(minutes=17 * position)).isoformat(),
        user=lambda position, _: f"{min(int(tail[position]), 60):05}" if position % 11 else f"new{position}",
        ad=lambda *_: f"ad{min(int(draw.paretovariate(0.7)), 40)}",
        slot=lambda *_: draw.choice(["top", "side", "", HOSTILE, "Ä" * 300, "  ", "a\nb", "a\u202eb"]),
        tags=lambda *_: draw.choice(["a|b", "b", "", "c|a|a|d", HOSTILE]),
        title=lambda position, _: draw.choice(["Café au lait", "one", "", f"of this row {position} alone"]),
        clicked=lambda position, _: str(int(draw.random() < (0.4 if tail[position] > 3 else 0.1))),
    )
    for row in log:
        row["price"] = draw.choice(["", "0.5", f"{draw.lognormvariate(2, 1.5):.6f}", "1e12" if draw.random() < 0.02 else "3"])
        row["hour"] = str(draw.randrange(6))
        row["age"] = str(draw.choice([20, 30])) if draw.random() < 0.9 else ""
    for position in range(BAD_ROWS):
        log[10 * position + 1]["age"] = HOSTILE if position else "old"
    users = ["user,since,city,visits"]
    for number in range(1, 55):
        for _ in range(draw.choice([1, 1, 1, 3])):
            since = START + dt.timedelta(minutes=draw.randrange(-20_000, 20_000) if number % 4 else -20_000)
            users.append(
                f"{number:05},{since.isoformat()},{draw.choice(['Oslo', 'Rome', '', 'Lima'])},{draw.choice(['', '1', '7.5'])}"
            )
    write_csv(folder / "log.csv", log)
    (folder / "users.csv").write_text("\n".join(users))
    spec = described_spec(folder)
    ingest(spec, folder / "ingested", as_of=AS_OF, now=NOW)
    return Ingested(folder / "ingested"), spec


def described_spec(folder: Path) -> DatasetSpec:
    """What the log is, with fields of every kind and crosses of them."""
    return made_spec(
        folder / "log.csv",
        description=HOSTILE,
        tables={"users": {"path": str(folder / "users.csv"), "timestamp": "since", "unit": "iso"}},
        fields=[
            {"name": "city", "of": "user"},
            {"name": "visits", "of": "user", "kind": "numeric"},
            {"name": "age", "of": "item", "kind": "numeric"},
            {"name": "slot"},
            {"name": "tags", "kind": "multivalued"},
            {"name": "title", "kind": "text"},
            {"name": "price", "kind": "numeric"},
            {"name": "hour", "kind": "numeric"},
        ],
        crossed=[
            ["user", "ad"],
            {"fields": ["slot", "city"], "min_count": 1},
            ["visits", "price", "slot"],
            {"fields": ["tags", "city"], "max_values": 2},
            {"fields": ["age", "tags"]},
        ],
    )
