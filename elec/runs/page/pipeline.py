"""The run's steps as a drawing: the pipeline's graph with each step's time and outcome, and where the time went."""

from collections.abc import Mapping
from dataclasses import dataclass

from elec.runs.page.numbers import seconds
from elec.runs.summary import STEPS, Step, Summary

#: The drawing's size, in SVG units.
WIDTH, HEIGHT = 1040, 196
_BOX_WIDTH, _BOX_HEIGHT = 110, 58
_UPPER, _LOWER = 14, 122

# The column and the lane of each step: the texts' way runs below the direct one, between its columns.
_COLUMNS = 8
_PLACES: Mapping[str, tuple[float, int]] = {
    "ingest": (0, _UPPER),
    "check_drift": (1, _UPPER),
    "build_features": (2, _UPPER),
    "textify": (2.5, _LOWER),
    "encode_text": (3.5, _LOWER),
    "adapt_llm": (4.5, _LOWER),
    "distill": (5, _UPPER),
    "evaluate": (6, _UPPER),
    "deploy": (7, _UPPER),
}
_EDGES = (
    ("ingest", "check_drift"),
    ("check_drift", "build_features"),
    ("build_features", "distill"),
    ("build_features", "textify"),
    ("textify", "encode_text"),
    ("encode_text", "adapt_llm"),
    ("adapt_llm", "distill"),
    ("distill", "evaluate"),
    ("evaluate", "deploy"),
)
_TITLES = {
    "check_drift": "Check drift",
    "build_features": "Build features",
    "encode_text": "Encode text",
    "adapt_llm": "Adapt LLM",
}
_WORDS = {"done": "done", "failed": "failed", "blocked": "blocked", "killed": "killed", "skipped": "not run"}


@dataclass(frozen=True)
class Box:
    """A step: its place and what is written in it."""

    name: str
    title: str
    status: str
    word: str
    time: str
    note: str
    x: float
    y: float
    width: int = _BOX_WIDTH
    height: int = _BOX_HEIGHT


@dataclass(frozen=True)
class Edge:
    """What one step hands to the next; `walked` if both have started."""

    path: str
    walked: bool


@dataclass(frozen=True)
class Share:
    """A step's share of the time, in percent of the whole and from its start."""

    title: str
    time: str
    start: float
    percent: float


@dataclass(frozen=True)
class Pipeline:
    """The drawing."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    shares: tuple[Share, ...]
    total: str
    width: int = WIDTH
    height: int = HEIGHT


def title_of(step: str) -> str:
    """A step's name as people read it."""
    return _TITLES.get(step, step.replace("_", " ").capitalize())


def draw_pipeline(summary: Summary, notes: Mapping[str, str]) -> Pipeline:
    """Lays out the graph.

    Args:
        summary: The run.
        notes: A word on a step (`2 shards`), by name.
    """
    total = sum(step.seconds for step in summary.steps.values())
    shares, start = [], 0.0
    for name, step in summary.steps.items():
        percent = 100 * step.seconds / total if total else 0.0
        if percent > 0:
            shares.append(Share(title_of(name), seconds(step.seconds), round(start, 2), round(percent, 2)))
        start += percent
    return Pipeline(
        boxes=tuple(_box(name, summary.steps[name], notes.get(name, "")) for name in STEPS),
        edges=tuple(
            Edge(_path(one, other), all(summary.steps[end].status != "skipped" for end in (one, other)))
            for one, other in _EDGES
        ),
        shares=tuple(shares),
        total=seconds(total),
    )


def _box(name: str, step: Step, note: str) -> Box:
    x, y = _corner(name)
    time = seconds(step.seconds) if step.status != "skipped" else ""
    return Box(name, title_of(name), step.status, _WORDS[step.status], time, note, x, y)


def _corner(name: str) -> tuple[float, float]:
    column, lane = _PLACES[name]
    pitch = (WIDTH - 2 - _BOX_WIDTH) / (_COLUMNS - 1)
    return round(1 + column * pitch, 1), float(lane)


def _path(start: str, end: str) -> str:
    (x, y), (to_x, to_y) = _corner(start), _corner(end)
    middle = _BOX_HEIGHT / 2
    if y == to_y:
        return f"M{x + _BOX_WIDTH:g},{y + middle:g}H{to_x - 5:g}"
    if y < to_y:
        # Down from below the box, round the corner, and in from the left.
        drop = x + _BOX_WIDTH / 4
        return f"M{drop:g},{y + _BOX_HEIGHT:g}V{to_y + middle - 12:g}q0,12 12,12H{to_x - 5:g}"
    rise = to_x + _BOX_WIDTH * 3 / 4
    return f"M{x + _BOX_WIDTH:g},{y + middle:g}H{rise - 12:g}q12,0 12,-12V{to_y + _BOX_HEIGHT + 5:g}"
