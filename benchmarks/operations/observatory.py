"""A real Prometheus and a real Alertmanager over running services, with the deployed rules and routing, and a webhook
that notes when each page came. For scenarios and for tests; everything on loopback, ended with the block."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml

from benchmarks.figures import ROOT
from benchmarks.process_group import server_group
from tessera.chassis.ports import free_port

PROMETHEUS = shutil.which("prometheus")
ALERTMANAGER = shutil.which("prometheus-alertmanager")
_DEPLOYED = ROOT / "deploy"
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Page:
    """One alert as the webhook was told of it."""

    at_s: float
    """`time.monotonic()`."""
    receiver: str
    """on-call or tickets."""
    alert: str
    labels: Mapping[str, str]
    firing: bool
    """False: it is over."""


@dataclass(slots=True)
class Observatory:
    """What watches."""

    prometheus_port: int
    alertmanager_port: int
    pages: list[Page] = field(default_factory=list)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query.

        Raises:
            ValueError: Prometheus refuses it; with its words.
        """
        return self._asked("query", query=expression)

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """The series of a query over a time.

        Args:
            expression: what is asked.
            start: seconds since 1970.
            end: seconds since 1970.
            step_s: between two points.
        """
        return self._asked("query_range", query=expression, start=str(start), end=str(end), step=str(step_s))

    def exemplars(self, series: str) -> list[dict[str, Any]]:
        """Exemplars of a series in the last ten minutes."""
        now = time.time()
        return self._asked("query_exemplars", query=series, start=str(now - 600), end=str(now))

    def paged(self, alert: str, limit_s: float, **labels: str) -> Page:
        """Wait for the first page of an alert.

        Raises:
            TimeoutError: none came; with those that did.
        """
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            for page in list(self.pages):
                if page.alert == alert and page.firing and labels.items() <= page.labels.items():
                    return page
            time.sleep(0.05)
        raise TimeoutError(
            f"{alert} did not page within {limit_s:g} s; told were {[page.alert for page in self.pages]}"
        )

    def _asked(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                told = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None
        found: list[dict[str, Any]] = told["result"] if isinstance(told, dict) else told
        return found


@contextmanager
def observatory(
    folder: Path, targets: Mapping[str, Sequence[str]], *, every: str = "5s", group_wait: str | None = None
) -> Iterator[Observatory]:
    """Watch services until the block ends.

    Args:
        folder: for files.
        targets: `host:port` of metrics pages, by job.
        every: between two scrapes and two evaluations; 5s is what is deployed.
        group_wait: instead of the routing's own.
    """
    with ExitStack() as stack:
        webhook = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        seen = Observatory(free_port(), free_port())
        webhook.RequestHandlerClass = partial(_Webhook, seen)
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        stack.callback(webhook.server_close)
        stack.callback(webhook.shutdown)
        routing = _routing(folder, webhook.server_port, group_wait)
        stack.enter_context(
            server_group(
                "alertmanager",
                [
                    str(ALERTMANAGER),
                    f"--config.file={routing}",
                    f"--storage.path={folder}/alertmanager",
                    f"--web.listen-address=127.0.0.1:{seen.alertmanager_port}",
                    "--cluster.listen-address=",
                ],
                {},
                partial(_is_ready, seen.alertmanager_port),
            )
        )
        stack.enter_context(
            server_group(
                "prometheus",
                [
                    str(PROMETHEUS),
                    f"--config.file={_configuration(folder, targets, every, seen.alertmanager_port)}",
                    f"--storage.tsdb.path={folder}/prometheus",
                    f"--web.listen-address=127.0.0.1:{seen.prometheus_port}",
                    "--enable-feature=exemplar-storage",
                ],
                {},
                partial(_is_ready, seen.prometheus_port),
            )
        )
        yield seen


def _configuration(folder: Path, targets: Mapping[str, Sequence[str]], every: str, alertmanager_port: int) -> Path:
    """The deployed one, with these targets."""
    told = yaml.safe_load((_DEPLOYED / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    told["global"] = {"scrape_interval": every, "evaluation_interval": every}
    told["rule_files"] = [str(_DEPLOYED / "prometheus" / "rules" / "*.yml")]
    told["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    told["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
    ]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


def _routing(folder: Path, webhook_port: int, group_wait: str | None) -> Path:
    """The deployed one, with its webhooks turned here."""
    told = (_DEPLOYED / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    routing = yaml.safe_load(told.replace("127.0.0.1:9095", f"127.0.0.1:{webhook_port}"))
    if group_wait is not None:
        for route in (routing["route"], *routing["route"]["routes"]):
            route["group_wait"] = group_wait
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(routing), encoding="utf-8")
    return path


def _is_ready(port: int, process: Popen[bytes]) -> bool:
    until_s = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            time.sleep(0.05)
    return False


class _Webhook(BaseHTTPRequestHandler):
    """Notes what it is told."""

    def __init__(self, seen: Observatory, *request: Any) -> None:  # noqa: ANN401 - the base class's own
        self._seen = seen
        super().__init__(*request)

    def do_POST(self) -> None:
        """One notification."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        now_s = time.monotonic()
        for alert in told["alerts"]:
            labels, is_firing = alert["labels"], alert["status"] == "firing"
            self._seen.pages.append(Page(now_s, told["receiver"], labels["alertname"], labels, is_firing))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""
