"""What a run shows while it works, and when it has ended."""

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from elec.runs.summary import Summary

_MARKS = {
    "running": "[cyan]…[/]",
    "done": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "blocked": "[yellow]■[/]",
    "killed": "[red]✗[/]",
    "skipped": "[dim]-[/]",
}
_NETWORKS = {
    "vanilla": "vanilla: distilled, serves",
    "gain": "gain: the teacher, never serves",
    "plain": "plain: the same network, no teacher",
    "champion": "champion: in service",
}


class Display:
    """Shows a run: live on a terminal, a line per step otherwise.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._told: set[str] = set()

    def begin(self, dataset: str, run_id: str, as_of: datetime) -> None:
        """The run starts."""
        self.console.print(f"[bold]elec[/] {dataset}  as of {as_of:%Y-%m-%d %H:%M:%S} UTC  run {run_id}", highlight=False)
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def look(self, records: dict[str, dict[str, Any]], progress: list[dict[str, Any]]) -> None:
        """Shows how the run stands.

        Args:
            records: The steps' records.
            progress: What the processes at work say of themselves.
        """
        if self._live is not None:
            self._live.update(_standing(records, progress))
            return
        for name, record in records.items():
            if record["status"] == "running" and (name, "running") not in self._told:
                self._told.add((name, "running"))
                self.console.print(f"  {name} ...", highlight=False)
            if record["status"] != "running" and name not in self._told:
                self._told.add(name)
                self.console.print(f"  {name} {record['status']} in {record['seconds']:.1f} s", highlight=False)

    def end(self, summary: Summary, folder: str) -> None:
        """The run has ended: its steps, its figures, its decision, its page."""
        if self._live is not None:
            self._live.stop()
        self.console.print(_steps(summary))
        if summary.metrics:
            self.console.print(_metrics(summary))
        for topic, found in (("drift", summary.drift), ("gate", summary.gate)):
            if found.verdict is not None:
                self.console.print(f"[bold]{topic}[/]: {found.verdict} - {' '.join(found.reasons)}", highlight=False)
        if summary.error:
            self.console.print(f"[red]{summary.status}[/]: {summary.error}", highlight=False)
        if summary.bundle:
            self.console.print(f"bundle: {summary.bundle}", highlight=False, soft_wrap=True)
        self.console.print(f"page:   {folder.rstrip('/')}/index.html", highlight=False, soft_wrap=True)


def _standing(records: dict[str, dict[str, Any]], progress: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, record in records.items():
        seconds = "" if record["status"] == "running" else f"{record['seconds']:.1f} s"
        table.add_row(f" {_MARKS.get(record['status'], ' ')} {name}", seconds)
    for state in progress:
        table.add_row("", _sentence(state))
    return table


def _sentence(state: dict[str, Any]) -> str:
    """For example `encode text: 640 of 2,400 texts, 244/s, 7 s left`."""
    done, total, seconds = state["done"], state["total"], max(state["seconds"], 1e-9)
    rate = done / seconds
    words = f"[dim]{state['what']}: {done:,}" + (f" of {total:,}" if total else "") + f" {state['unit']}"
    if done:
        words += f", {rate:,.0f}/s"
    if done and total and total > done:
        words += f", {(total - done) / rate:,.0f} s left"
    return words + (f" ({state['note']})" if state["note"] else "") + "[/]"


def _steps(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("outcome")
    for name, step in summary.steps.items():
        shown = "" if step.status == "skipped" else f"{step.seconds:.1f}"
        table.add_row(name, shown, f"{_MARKS.get(step.status, ' ')} {step.status}")
    return table


def _metrics(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("network")
    for title in ("AUC", "per-user AUC", "LogLoss", "PCOC"):
        table.add_column(title, justify="right")
    for network, found in summary.metrics.items():
        figures = (found.auc, found.gauc, found.logloss, found.pcoc)
        table.add_row(_NETWORKS.get(network, network), *("-" if value is None else f"{value:.4f}" for value in figures))
    return table
