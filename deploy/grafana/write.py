"""`python -m deploy.grafana.write` writes deploy/grafana/dashboards; `make metrics` runs it."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard, to_json
from deploy.grafana.reading import dashboards

FOLDER = Path(__file__).parent / "dashboards"


def file_of(dashboard: Dashboard) -> Path:
    """Where it is written."""
    return FOLDER / f"{dashboard.uid}.json"


def text_of(dashboard: Dashboard) -> str:
    """What is written."""
    return json.dumps(to_json(dashboard), indent=1) + "\n"


if __name__ == "__main__":
    for one in dashboards():
        file_of(one).write_text(text_of(one), encoding="utf-8")
