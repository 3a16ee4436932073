"""What a dashboard is made of, and its JSON as Grafana 10 and 11 read it. It knows no metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${source}"}
SCHEMA = 39
COLUMNS = 24
HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a dashboard."""

    title: str
    says: str
    """What it answers, and when to worry."""
    queries: tuple[tuple[str, str], ...]
    """(expression, legend)."""
    unit: str = "short"
    kind: str = "timeseries"
    """timeseries, stat, heatmap or table."""
    width: int = 8
    may_be_empty: bool = False
    """Nothing may have happened yet that it shows."""
    limit: float | None = None
    """A line in it: where an alert stands."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    variables: tuple[str, ...]
    """Of job, instance, camera."""
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    """(title, panels)."""

    def panels(self) -> list[Panel]:
        """All of them, in order."""
        return [panel for _, panels in self.rows for panel in panels]


_VARIABLES = {
    "job": "label_values(tessera_ready, job)",
    "instance": 'label_values(tessera_ready{job=~"$job"}, instance)',
    "camera": "label_values(tessera_ingest_camera_up, camera)",
}


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["tessera"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["tessera"], "asDropdown": True, "title": "Tessera"}],
        "templating": {"list": [_source(), *(_variable(name) for name in dashboard.variables)]},
        "annotations": {"list": [_alerts()]},
        "panels": _placed(dashboard),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": _VARIABLES[name], "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts that page",
        "datasource": SOURCE,
        "enable": True,
        "expr": 'ALERTS{alertstate="firing", severity="page"}',
        "titleFormat": "{{alertname}}",
        "iconColor": "red",
    }


def _placed(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Rows and panels with their places, from left to right and down."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, panels in dashboard.rows:
        made.append(
            {"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": _at(0, top, 24, 1)}
        )
        top, left = top + 1, 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                top, left = top + HEIGHT, 0
            made.append({"id": len(made) + 1, **_panel(panel), "gridPos": _at(left, top, panel.width, HEIGHT)})
            left += panel.width
        top += HEIGHT
    return made


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "custom": {}}
    if panel.limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        if panel.kind == "timeseries":
            defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS.get(panel.kind, {}),
        "targets": [_target(at, panel, query) for at, query in enumerate(panel.queries)],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}},
}


def _target(at: int, panel: Panel, query: tuple[str, str]) -> dict[str, Any]:
    expression, legend = query
    instant = panel.kind in {"stat", "table"}
    return {
        "refId": chr(ord("A") + at),
        "datasource": SOURCE,
        "expr": expression,
        "legendFormat": legend,
        "instant": instant,
        "range": not instant,
        "exemplar": not instant and "histogram_quantile" in expression,
        "format": "heatmap" if panel.kind == "heatmap" else "table" if panel.kind == "table" else "time_series",
    }
