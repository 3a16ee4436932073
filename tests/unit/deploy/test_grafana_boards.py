"""Dashboards: fresh, of known metrics, and with a line where an alert stands."""

from __future__ import annotations

import json

import pytest

from deploy.grafana.panels import COLUMNS, Dashboard
from deploy.grafana.reading import dashboards
from deploy.grafana.write import FOLDER, file_of, text_of
from tests.unit.deploy.rule_files import known_series, metrics_in

BOARDS = dashboards()
IDS = [board.uid for board in BOARDS]
OF_PROMETHEUS = {"ALERTS", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"}


def test_there_are_six() -> None:
    """Overview, cameras, encoder, gallery, biometrics, alerts; and no file of one that is gone."""
    names = {"overview", "cameras", "encoder", "gallery", "biometrics", "alerts"}
    assert {board.uid.removeprefix("tessera-") for board in BOARDS} == names
    assert {path.name for path in FOLDER.glob("*.json")} == {file_of(board).name for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_files_are_what_the_boards_say(board: Dashboard) -> None:
    """`make metrics` would change nothing."""
    assert file_of(board).read_text(encoding="utf-8") == text_of(board)


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_every_metric_of_a_dashboard_is_in_the_catalogue(board: Dashboard) -> None:
    """A panel over a metric that nobody exports is empty for ever, and looks like peace."""
    for panel in board.panels():
        for expression, _ in panel.queries:
            asked = metrics_in(expression.replace("$__rate_interval", "5m"))
            assert asked
            assert asked <= known_series() | OF_PROMETHEUS, f"{panel.title}: {asked - known_series()}"


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_panels_lie_beside_each_other(board: Dashboard) -> None:
    """None over another, none outside, each with an id of its own."""
    places = json.loads(text_of(board))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in places:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= COLUMNS
        taken |= cells
    assert len({panel["id"] for panel in places}) == len(places)
