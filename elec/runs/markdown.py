"""The results as a few lines of Markdown, for the pipeline's UI."""

import re
from collections.abc import Mapping
from typing import Any

from elec.runs.page.numbers import count, fixed, signed
from elec.runs.page.results import gaps, metric_rows, student_rows

_VERDICTS = {
    "promote": "The challenger goes into service.",
    "keep": "The champion stays in service.",
    "reject": "The challenger is rejected.",
}


def results_markdown(facts: Mapping[str, Any]) -> str:
    """Writes metrics and the gate's decision as Markdown.

    Args:
        facts: What the evaluation recorded.
    """
    gate = facts.get("gate") or {}
    lines = [f"**{_VERDICTS.get(gate.get('verdict', ''), 'The gate has come to no decision.')}**", ""]
    lines += [f"- {_plain(reason)}" for reason in gate.get("reasons") or ()]
    rows = metric_rows(facts.get("metrics") or {})
    if rows:
        lines += ["", "| network | AUC | GAUC | LogLoss | PCOC |", "|---|--:|--:|--:|--:|"]
        for row in rows:
            cells = [
                f"**{text}**" if metric in row.best else text
                for metric, digits in (("auc", 4), ("gauc", 4), ("logloss", 4), ("pcoc", 3))
                for text in (fixed(row.values[metric], digits),)
            ]
            lines.append(f"| {_plain(row.network)} | {' | '.join(cells)} |")
    students = student_rows(facts)
    if students:
        lines += ["", "| student | valid AUC | AUC | LogLoss | PCOC | latency, ms | chosen or why not |"]
        lines.append("|---|--:|--:|--:|--:|--:|---|")
        for one in students:
            figures = (fixed(one.valid_auc), fixed(one.auc), fixed(one.logloss), fixed(one.pcoc, 3), fixed(one.latency, 2))
            name = f"**{_plain(one.name)}**" if one.chosen else _plain(one.name)
            lines.append(f"| {name} | {' | '.join(figures)} | {_plain(one.why)} |")
    found = gaps(facts)
    if found:
        lines += ["", "| improvement | metric | estimate | interval |", "|---|---|--:|--:|"]
        lines += [
            f"| {gap.title} | {gap.metric} | {signed(gap.estimate)} | {signed(gap.low)} to {signed(gap.high)} |"
            for gap in found
        ]
    tested = ((facts.get("metrics") or {}).get("vanilla") or {}).get("rows")
    if tested is not None:
        lines += ["", f"On {count(tested)} rows of the test window."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text from outside without Markdown's or HTML's meaning."""
    return re.sub(r"([\\`*_{}\[\]<>|#!&])", r"\\\1", " ".join(str(text).split()))
