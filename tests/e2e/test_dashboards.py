"""Every expression of every dashboard, asked of a real Prometheus that scrapes a real `tessera up --demo`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from benchmarks.operations.observatory import ALERTMANAGER, PROMETHEUS, Observatory, observatory
from deploy.grafana.panels import Dashboard, Panel, to_json
from deploy.grafana.reading import dashboards
from tessera.client import Tessera
from tessera.demo.portraits import fetch_portraits
from tests.e2e.test_up import running, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        PROMETHEUS is None or ALERTMANAGER is None,
        reason="prometheus or prometheus-alertmanager is not installed: that dashboards show anything stays unproved",
    ),
]
JOBS = ("encoder", "gallery", "ingest", "gateway")
LIMIT_S = 200.0
PANELS = [(board, panel) for board in dashboards() for panel in board.panels()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observatory]:
    """A demo that has decided about somebody, and a Prometheus that has seen it do so."""
    folder = tmp_path_factory.mktemp("watched")
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}  # traces have ids, and nobody takes them
    with running(folder / "data", "--demo", environ=nowhere) as instance:
        instance.wait_for_line(r"first (match|unknown) after", LIMIT_S)
        children = instance.children()
        targets = {job: [str(children[job]["metrics_url"]).split("/")[2]] for job in JOBS}
        with observatory(folder, targets, every="1s") as seen, instance.connect() as tessera:
            claim = {path.stem: path.read_bytes() for path in fetch_portraits().values()}
            wait_until(lambda: _has_rates(seen, tessera, claim["obama"]), LIMIT_S, "rates of all that is shown")
            yield seen


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board.uid}-{panel.title}" for board, panel in PANELS])
def test_every_expression_is_answered(watched: Observatory, board: Dashboard, panel: Panel) -> None:
    """Prometheus takes it; and where something must have happened by now, it has an answer that is a number."""
    for expression, _ in panel.queries:
        found = watched.query(filled(expression))
        if not panel.may_be_empty:
            assert found, f"{board.title} / {panel.title}: nothing for {expression}"
            assert any(one["value"][1] != "NaN" for one in found), f"{panel.title}: only NaN for {expression}"


@pytest.mark.parametrize("board", dashboards(), ids=lambda board: board.uid)
def test_every_variable_has_values(watched: Observatory, board: Dashboard) -> None:
    """What a variable offers to choose from is there to be chosen."""
    for variable in to_json(board)["templating"]["list"][1:]:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        assert all(one["metric"].get(label) for one in watched.query(filled(series)))
        assert watched.query(filled(series))


def test_a_slow_call_leads_to_its_trace(watched: Observatory) -> None:
    """Prometheus keeps exemplars of the times of calls, each with the id of a trace."""
    found = watched.exemplars('grpc_server_handling_seconds_bucket{grpc_method="Verify"}')
    told = [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]
    assert told
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in told)


def test_nothing_pages_while_all_is_well(watched: Observatory) -> None:
    """No rule that pages is firing over a demo that works."""
    assert watched.query('ALERTS{alertstate="firing", severity="page"}') == []


def filled(expression: str) -> str:
    """With the variables as Grafana fills them in when everything is chosen."""
    for variable in ("job", "instance", "camera"):
        expression = expression.replace(f"${variable}", ".*")
    return expression.replace("$__rate_interval", "1m")


def _has_rates(seen: Observatory, tessera: Tessera, picture: bytes) -> bool:
    """Ask for somebody, and look whether two scrapes have seen what comes of that and of the camera."""
    subject = next(iter(tessera.subjects())).subject_id
    tessera.verify(subject, picture)
    tessera.identify(picture)
    shown = ("tessera_gallery_matched_template_age_seconds_count", "tessera_gallery_inconclusive_total")
    rates = [f"sum(rate({name}[1m])) > 0" for name in shown]
    return all(seen.query(rate) for rate in (*rates, "method:tessera_unknown:ratio_rate1h >= 0"))
