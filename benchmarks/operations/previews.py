"""`python -m benchmarks.operations.previews` draws each dashboard as a picture, out of the answers to its own queries.

A `tessera up --demo` runs, somebody claims to be one of its people again and again, and a real Prometheus watches. Some
minutes later every panel's expressions are asked and drawn. There are numbers in the pictures and no faces.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures import ROOT
from benchmarks.instance import running
from benchmarks.operations.observatory import Observatory, observatory
from deploy.grafana.panels import COLUMNS, Dashboard, Panel
from deploy.grafana.reading import dashboards
from tessera.client import Tessera
from tessera.demo.portraits import fetch_portraits

FOLDER = ROOT / "docs" / "images" / "dashboards"
JOBS = ("encoder", "gallery", "ingest", "gateway")
WATCHED_S = 150.0
STEP_S = 5.0
_LEGEND_MOST = 6
_SCALES = {
    "s": (1.0, "s"),
    "percentunit": (100.0, "%"),
    "bytes": (1e-6, "MB"),
    "reqps": (1.0, "/s"),
    "hertz": (1.0, "/s"),
    "d": (1.0, "days"),
}


def main() -> int:
    """Run, watch, draw."""
    mpl.use("Agg")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _watched(Path(folder)) as (seen, began):
        for board in dashboards():
            _drawn(board, seen, began).savefig(FOLDER / f"{board.uid}.png", dpi=60)
    return 0


@contextmanager
def _watched(folder: Path) -> Iterator[tuple[Observatory, float]]:
    command = [sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0", "--demo"]
    data_dir = folder / "data"
    with running([*command, "--data-dir", str(data_dir)], ROOT, data_dir, {}) as instance:
        instance.wait_for("match", limit_s=300.0)
        children = instance.children()
        targets = {job: [str(children[job]["metrics_url"]).split("/")[2]] for job in JOBS}
        with observatory(folder, targets, every="5s") as seen, instance.connect() as tessera:
            began = time.time()
            _claim(tessera, WATCHED_S)
            yield seen, began


def _claim(tessera: Tessera, seconds: float) -> None:
    """Two claims and a search a second, of whoever is enrolled."""
    pictures = [path.read_bytes() for path in fetch_portraits().values()]
    subjects = [subject.subject_id for subject in tessera.subjects()]
    end_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        tessera.verify(subjects[number % len(subjects)], pictures[number % len(pictures)])
        if number % 2:
            tessera.identify(pictures[(number + 1) % len(pictures)])
        number += 1
        time.sleep(0.5)


# ---- drawing


def _drawn(board: Dashboard, seen: Observatory, began: float) -> Figure:
    """The board, on Grafana's grid."""
    height = sum(1 + _lines(panels) for _, panels in board.rows)
    ratios = [part for _, panels in board.rows for part in (0.12, *[1.0] * _lines(panels))]
    figure = Figure(figsize=(20, 3.1 * sum(ratios) + 0.8), facecolor="white")
    figure.suptitle(board.title, x=0.01, ha="left", fontsize=20)
    grid = figure.add_gridspec(height, COLUMNS, height_ratios=ratios, hspace=0.55, wspace=2.2)
    figure.subplots_adjust(left=0.03, right=0.99, bottom=0.03, top=0.95)
    top = 0
    for title, panels in board.rows:
        heading = figure.add_subplot(grid[top, :])
        heading.axis("off")
        heading.text(0.0, 0.0, title, fontsize=15, weight="bold")
        top, left = top + 1, 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                top, left = top + 1, 0
            _draw(figure.add_subplot(grid[top, left : left + panel.width]), panel, seen, began)
            left += panel.width
        top += 1
    return figure


def _lines(panels: tuple[Panel, ...]) -> int:
    lines, left = 1, 0
    for panel in panels:
        if left + panel.width > COLUMNS:
            lines, left = lines + 1, 0
        left += panel.width
    return lines


def _draw(axes: Axes, panel: Panel, seen: Observatory, began: float) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11)
    {"stat": _stat, "table": _table, "heatmap": _heatmap}.get(panel.kind, _series)(axes, panel, seen, began)


def _series(axes: Axes, panel: Panel, seen: Observatory, began: float) -> None:
    scale, unit = _SCALES.get(panel.unit, (1.0, ""))
    drawn = 0
    for expression, legend in panel.queries:
        for one in seen.query_range(_filled(expression), began + 60, time.time(), STEP_S):
            times = [(at - began) / 60.0 for at, _ in one["values"]]
            axes.plot(times, [scale * float(value) for _, value in one["values"]], label=_legend(legend, one["metric"]))
            drawn += 1
    if panel.limit is not None and drawn:
        axes.axhline(scale * panel.limit, color="red", linewidth=1, linestyle="--")
    axes.set_ylabel(unit)
    axes.margins(y=0.2)
    axes.set_xlabel("min", fontsize=8, labelpad=0)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if drawn:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(*[part[:_LEGEND_MOST] for part in axes.get_legend_handles_labels()], fontsize=7, loc="best")
    else:
        _nothing(axes)


def _stat(axes: Axes, panel: Panel, seen: Observatory, _: float) -> None:
    scale, unit = _SCALES.get(panel.unit, (1.0, ""))
    told = [
        f"{_legend(legend, one['metric'])}: {scale * float(one['value'][1]):g} {unit}"
        for expression, legend in panel.queries
        for one in seen.query(_filled(expression))
    ]
    axes.axis("off")
    axes.text(0.02, 0.5, "\n".join(told) or "nothing", fontsize=13, va="center")


def _table(axes: Axes, panel: Panel, seen: Observatory, _: float) -> None:
    found = [one["metric"] for expression, _legend_ in panel.queries for one in seen.query(_filled(expression))]
    rows = [", ".join(f"{name}={value}" for name, value in sorted(one.items()) if name != "__name__") for one in found]
    axes.axis("off")
    axes.text(0.0, 0.5, "\n".join(rows) or "nothing", fontsize=9, va="center")


def _heatmap(axes: Axes, panel: Panel, seen: Observatory, began: float) -> None:
    """Scores in each bucket over the time, darker for more."""
    expression, _ = panel.queries[0]
    found = seen.query_range(_filled(expression), began + 60, time.time(), STEP_S)
    bounds = sorted(found, key=lambda one: float(one["metric"]["le"]))
    if len(bounds) < 2:
        _nothing(axes)
        return
    rows = [[float(value) for _, value in one["values"]] for one in bounds]
    each = [
        [max(0.0, upper - lower) for upper, lower in zip(above, below, strict=True)] for below, above in pairwise(rows)
    ]
    axes.imshow(each, aspect="auto", origin="lower", cmap="Blues", interpolation="nearest")
    names = [one["metric"]["le"] for one in bounds[1:]]
    axes.set_yticks(range(0, len(names), 4), names[::4], fontsize=8)
    axes.set_xticks([])


def _nothing(axes: Axes) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, "nothing to show", ha="center", color="grey", transform=axes.transAxes)


def _legend(legend: str, labels: dict[str, Any]) -> str:
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", str(value))
    return legend if "{{" not in legend else legend.partition("{{")[0].strip() or "all"


def _filled(expression: str) -> str:
    for variable in ("job", "instance", "camera"):
        expression = expression.replace(f"${variable}", ".*")
    return expression.replace("$__rate_interval", "1m")


if __name__ == "__main__":
    sys.exit(main())
