"""From a frame's capture to the webhook of what was decided of it, on the product as it is run.

`tessera up` with a rule for unknown people that groups nothing, and one target, told of sightings and alerts. The
clock stops when the receiver has the request: the capture's time is in it. Only first revisions count, and nothing from
the first seconds, in which every part opens its connections.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from benchmarks.alerts.house import SECRET
from benchmarks.figures import ROOT, Figure
from benchmarks.first_light import UP, wait_serving
from benchmarks.instance import running
from benchmarks.parts import Context
from tessera.domain.alerting.rules import Rule, RuleKind

CAMERAS, RATE_HZ = 4, 5
MINUTES, QUICK_MINUTES = 2.0, 0.5
_WARM_UP_S = 20.0
_P99_MS = 700.0
_FEWEST = 100


@dataclass
class Heard:
    """What a receiver was told, and how long after its capture."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {"SIGHTING": [], "ALERT": []})
    counting: bool = False


@contextmanager
def listening(heard: Heard) -> Iterator[str]:
    """A receiver until the end of the block; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            now_s = time.time()
            told = json.loads(body)
            if heard.counting and told["revision"] == 1 and told["kind"] in heard.ms:
                captured = datetime.fromisoformat(told["event_time"]).timestamp()
                heard.ms[told["kind"]].append(1000 * (now_s - captured))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: a line for each would be told on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def measure(minutes: float) -> list[Figure]:
    """Everything started, warm, and watched for so long."""
    heard = Heard()
    with listening(heard) as url, tempfile.TemporaryDirectory() as folder:
        data_dir, targets = Path(folder) / "data", Path(folder) / "targets.json"
        only = {"kinds": ["sighting", "alert"]}
        target = {"name": "door", "type": "webhook", "url": url, "secret": SECRET, "only": only}
        targets.write_text(json.dumps({"targets": [target]}), encoding="utf-8")
        command = [*UP, "--demo", "--data-dir", str(data_dir), "--targets", str(targets), "--rate", str(RATE_HZ)]
        # The demo's own camera is the first.
        command += [word for number in range(1, CAMERAS) for word in ("--camera", f"demo{number}=demo:")]
        environ = {"TESSERA_GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8"}
        with running(command, ROOT, data_dir, environ) as instance:
            wait_serving(instance)
            with instance.connect() as tessera:
                tessera.put_rule(Rule("strangers", RuleKind.UNKNOWN_PERSON, cooldown_s=0.0, messages_per_hour=1000))
            time.sleep(_WARM_UP_S)
            heard.counting = True
            time.sleep(60 * minutes)
            heard.counting = False
    return [one for kind, values in heard.ms.items() for one in _figures(kind.lower(), values)]


def _figures(kind: str, values: list[float]) -> list[Figure]:
    name = f"capture to webhook, first {kind}, {CAMERAS} cameras x {RATE_HZ} frames/s"
    if not values:
        return [Figure(f"{name}: messages", 0, "messages", "", holds=None, command="")]
    p50, p99 = (float(np.percentile(values, share)) for share in (50, 99))
    # Of fewer than a hundred, the 99th is the worst of them: told, and judged all the same.
    few = "" if len(values) >= _FEWEST else f" (of {len(values)})"
    bar = f"under {_P99_MS:.0f}"
    return [
        Figure(f"{name}: messages", len(values), "messages", "", holds=None, command=""),
        Figure(f"{name}: p50", p50, "ms", "", holds=None, command=""),
        Figure(f"{name}: p99{few}", p99, "ms", bar, holds=p99 < _P99_MS, command=""),
    ]


def run(context: Context) -> list[Figure]:
    """Two minutes of it, after a start of everything."""
    figures = measure(QUICK_MINUTES if context.quick else MINUTES)
    return [context.figure(one.figure, one.value, one.unit, one.bar, holds=one.holds) for one in figures]
