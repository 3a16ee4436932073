"""Reads the dashboards out of `boards/`: a file for each, with its questions, expressions and limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.panels import Dashboard, Panel

BOARDS = Path(__file__).parent / "boards"


def dashboards() -> list[Dashboard]:
    """All of them, by name.

    Raises:
        TypeError: a panel says something that a panel does not have.
    """
    return [_dashboard(path) for path in sorted(BOARDS.glob("*.yml"))]


def _dashboard(path: Path) -> Dashboard:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = tuple((row["title"], tuple(_panel(panel) for panel in row["panels"])) for row in raw["rows"])
    return Dashboard(path.stem, raw["title"], tuple(raw["variables"]), rows)


def _panel(raw: Mapping[str, Any]) -> Panel:
    queries = tuple((expression, legend) for legend, expression in raw["queries"].items())
    return Panel(**{**raw, "queries": queries})
