"""Figures: what an issue asks for, what was measured, whether it holds. Printed as a table and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside what was asked for."""

    figure: str
    value: float | int | str
    unit: str
    bar: str
    """What was asked for, in words; empty: reported without a bar."""
    holds: bool | None
    """None: there is no bar."""
    command: str


def report(name: str, figures: list[Figure], notes: list[str], *, keep: bool = True) -> int:
    """Print a table and write `docs/results/NAME.json`.

    Args:
        name: of the benchmark.
        figures: what was measured.
        notes: printed under the table.
        keep: False prints only, for a part of a benchmark.

    Returns:
        The exit code: 0 when every bar holds, else 1.
    """
    table = Table(title=f"{name} on {machine()}, commit {COMMIT}", title_justify="left")
    for column, justify in (
        ("figure", "left"),
        ("value", "right"),
        ("unit", "left"),
        ("bar", "left"),
        ("holds", "left"),
    ):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for figure in figures:
        holds = {True: "yes", False: "NO", None: ""}[figure.holds]
        table.add_row(figure.figure, _shown(figure.value), figure.unit, figure.bar, holds)
    console = Console(width=None if os.isatty(1) else 150)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)
    if keep:
        _keep(name, figures)
    return 0 if all(figure.holds is not False for figure in figures) else 1


def keep_part(name: str, figures: list[Figure]) -> None:
    """Write the figures of one command into `docs/results/NAME.json`; those of other commands stay as they are."""
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    commands = {figure.command for figure in figures}
    _write(name, [row for row in before if row["command"] not in commands] + _rows(figures))


def _keep(name: str, figures: list[Figure]) -> None:
    _write(name, _rows(figures))


def _rows(figures: list[Figure]) -> list[dict[str, object]]:
    return [{**asdict(figure), "machine": machine(), "commit": COMMIT} for figure in figures]


def _write(name: str, rows: list[dict[str, object]]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _shown(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> str:
    """Processor, cores available to this process, and system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _commit() -> str:
    short = _git("rev-parse", "--short=12", "HEAD")
    changed = [line for line in _git("status", "--porcelain").splitlines() if "docs/results/" not in line]
    return short + ("+changes" if changed else "")


COMMIT = _commit()
"""The commit that is measured, as it was when the benchmark began; `+changes` when the tree differed from it outside
docs/results."""
