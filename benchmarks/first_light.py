"""First light, measured as a user would: a clean clone, five minutes of one camera, verify calls, kill -9.

    make bench-first-light                                     # everything, about 15 minutes
    make bench-first-light ARGS="--only camera --minutes 1"    # one scenario; writes no result file

The clean clone gets empty caches (pip's too), its own data folder and free ports.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.figures import ROOT, Figure, report
from benchmarks.instance import Instance, running
from tessera.client import Tessera
from tessera.client.answers import CameraState
from tessera.client.errors import TesseraCallError
from tessera.demo.portraits import fetch_portraits
from tessera.imaging.decode import decode

COMMAND = "make bench-first-light"
UP = [sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0"]
CAMERA_MINUTES = 5.0
VERIFY_CALLS = 300
WARM_UP_CALLS = 20
RECOVERY_LIMIT_S = 60.0
FIRST_LIMIT_S, SECOND_START_LIMIT_S = 300.0, 15.0


def figure(name: str, value: float | int | str, unit: str, bar: str = "", holds: bool | None = None) -> Figure:
    """A figure of this benchmark."""
    return Figure(name, value, unit, bar, holds, COMMAND)


# ---- a clean clone


def clean_clone(folder: Path) -> list[Figure]:
    """`git clone`, empty caches, `make run`: the first match and the first unknown; then the second start."""
    clone, data_dir = folder / "clone", folder / "data"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environ = {"TESSERA_CACHE_DIR": str(folder / "cache"), "PIP_NO_CACHE_DIR": "1", "VIRTUAL_ENV": ""}
    command = ["make", "run", f"ARGS=--no-view --base-port 0 --data-dir {data_dir}"]
    firsts: list[float] = []
    for limit_s in (2 * FIRST_LIMIT_S, 4 * SECOND_START_LIMIT_S):
        with running(command, clone, data_dir, environ) as instance:
            instance.wait_for("match", "unknown", limit_s=limit_s)
            firsts += [instance.first_s["match"], instance.first_s["unknown"]]
    first, second = max(firsts[:2]), firsts[2]
    return [
        figure(
            "clean clone, empty caches: make run to first match", firsts[0], "s", "under 300", firsts[0] < FIRST_LIMIT_S
        ),
        figure(
            "clean clone, empty caches: make run to first unknown", firsts[1], "s", "under 300", first < FIRST_LIMIT_S
        ),
        figure("second start: make run to first match", second, "s", "under 15", second < SECOND_START_LIMIT_S),
        figure("second start: make run to first unknown", firsts[3], "s"),
    ]


# ---- one camera


def one_camera(folder: Path, minutes: float) -> list[Figure]:
    """The 720p demo camera at 5 sampled frames a second: every frame accounted for, and how long a decision takes."""
    data_dir = folder / "camera"
    with running([*UP, "--demo", "--data-dir", str(data_dir)], ROOT, data_dir, {}) as instance:
        instance.wait_for("match", limit_s=120)
        with instance.connect() as tessera:
            before = tessera.camera_status("demo").frames_sampled
            time.sleep(minutes * 60)
            status = tessera.camera_status("demo")
        latencies = histogram(instance, "ingest", "tessera_ingest_stage_seconds", {"stage": "decision"})
        accounted = (
            status.frames_encoded
            + status.frames_skipped
            + status.frames_expired
            + status.frames_failed
            + status.frames_in_flight
        )
        rate = (status.frames_sampled - before) / (minutes * 60)
    p95 = quantile(latencies, 0.95) * 1000
    unaccounted = status.frames_sampled - accounted
    return [
        figure("one camera: picture", f"{status.width_px}x{status.height_px}", "pixels"),
        figure("one camera: frames sampled a second", rate, "1/s", "5", abs(rate - 5) < 0.25),
        figure("one camera: frames sampled", status.frames_sampled, "frames"),
        figure("one camera: frames encoded", status.frames_encoded, "frames"),
        figure("one camera: frames skipped, expired, failed", accounted - status.frames_encoded, "frames"),
        figure("one camera: frames unaccounted for", unaccounted, "frames", "0", unaccounted == 0),
        figure("one camera: capture to decision, decisions", int(latencies[float("inf")]), "decisions"),
        figure("one camera: capture to decision, median", quantile(latencies, 0.5) * 1000, "ms"),
        figure("one camera: capture to decision, p95", p95, "ms", "under 500", p95 < 500),
    ]


def histogram(instance: Instance, child: str, name: str, labels: dict[str, str]) -> dict[float, float]:
    """Cumulative counts by upper bound in seconds, over all series of a histogram that have these labels."""
    counts: dict[float, float] = {}
    for family in text_string_to_metric_families(metrics_page(instance, child)):
        for sample in family.samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0.0) + sample.value
    if not counts:
        raise RuntimeError(f"{child} has no histogram {name} with {labels}")
    return counts


def metrics_page(instance: Instance, child: str) -> str:
    """What a child's /metrics says."""
    with urllib.request.urlopen(str(instance.children()[child]["metrics_url"]), timeout=5) as answer:  # noqa: S310 - our own page
        return str(answer.read().decode())


def quantile(counts: dict[float, float], share: float) -> float:
    """A quantile of a cumulative histogram, linear within its bucket: Prometheus' histogram_quantile."""
    bounds = sorted(counts)
    rank = share * counts[bounds[-1]]
    below_bound, below = 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= rank:
            if bound == float("inf"):
                return below_bound
            within = counts[bound] - below
            return below_bound + (bound - below_bound) * ((rank - below) / within if within else 1.0)
        below_bound, below = bound, counts[bound]
    return below_bound


# ---- verify


def verify_calls(folder: Path) -> list[Figure]:
    """One client verifies 720p JPEGs against an enrolled subject; its stages are those that the answers carry."""
    data_dir = folder / "verify"
    portraits = demo_portraits()
    probe = as_720p(portraits["obama3.jpg"])
    with running([*UP, "--data-dir", str(data_dir)], ROOT, data_dir, {}) as instance:
        wait_serving(instance)
        with instance.connect() as tessera:
            tessera.enroll("one", [portraits["obama.jpg"], portraits["obama2.jpg"]])
            for _ in range(WARM_UP_CALLS):
                tessera.verify("one", probe)
            walls_ms, sums_ms, matches = [], [], 0
            for _ in range(VERIFY_CALLS):
                started_s = time.perf_counter()
                answer = tessera.verify("one", probe)
                walls_ms.append((time.perf_counter() - started_s) * 1000)
                assert answer.times is not None
                stages = dict(answer.times.encoder_stages_ms)
                stages.pop("total")
                sums_ms.append(sum(stages.values()) + answer.times.compare_ms + answer.times.store_ms)
                matches += answer.is_match
    p50, p99, ratio = (float(np.quantile(walls_ms, q)) for q in (0.5, 0.99, 0.5))
    ratio = p50 / float(np.median(sums_ms))
    return [
        figure("verify, 720p JPEG, one client: p50", p50, "ms", "under 150", p50 < 150),
        figure("verify, 720p JPEG, one client: p99", p99, "ms"),
        figure("verify: p50 over the sum of its own stages", ratio, "ratio", "at most 1.25", ratio <= 1.25),
        figure("verify: matches", matches, f"of {VERIFY_CALLS}", "all", matches == VERIFY_CALLS),
    ]


def demo_portraits() -> dict[str, bytes]:
    """The demo's photographs by name."""
    return {name: path.read_bytes() for name, path in fetch_portraits().items()}


def as_720p(portrait: bytes) -> bytes:
    """A portrait in the middle of a 1280x720 JPEG, as a door camera would send it."""
    image = decode(portrait)
    scale = 720 / image.shape[0]
    wide = cv2.resize(image, (round(image.shape[1] * scale), 720), interpolation=cv2.INTER_AREA)
    canvas = np.full((720, 1280, 3), 96, np.uint8)
    left = (1280 - wide.shape[1]) // 2
    canvas[:, max(left, 0) : left + wide.shape[1]] = wide[:, : 1280 - max(left, 0)]
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def wait_serving(instance: Instance, limit_s: float = 120.0) -> None:
    """Wait until every service takes work.

    Raises:
        TimeoutError: one does not.
    """
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        try:
            with instance.connect() as tessera:
                if all(service.state == "SERVING" for service in tessera.status()):
                    return
        except (OSError, KeyError, ValueError):
            pass  # instance.json is not there yet
        time.sleep(0.1)
    raise TimeoutError("the services did not get ready:\n" + "\n".join(instance.lines[-30:]))


# ---- kill -9


def kill_each(folder: Path) -> list[Figure]:
    """kill -9 of each process under enrolment and a running camera: back, stream resumed, every enrolment there."""
    data_dir = folder / "kill"
    rows: list[Figure] = []
    with running([*UP, "--demo", "--data-dir", str(data_dir)], ROOT, data_dir, {}) as instance:
        instance.wait_for("match", limit_s=120)
        with Enroller(instance) as enroller:
            for name in instance.children():
                recovered_s = kill_and_wait(instance, name)
                rows.append(
                    figure(
                        f"kill -9 of {name}: serving again and frames encoded after",
                        recovered_s,
                        "s",
                        f"within {RECOVERY_LIMIT_S:.0f}",
                        recovered_s < RECOVERY_LIMIT_S,
                    )
                )
        with instance.connect() as tessera:
            there = {subject.subject_id for subject in tessera.subjects()}
        lost = enroller.acknowledged - there
        acknowledged = len(enroller.acknowledged)
        rows.append(
            figure("kill -9: enrolments acknowledged", acknowledged, "subjects", "over 100", acknowledged > 100)
        )
        rows.append(figure("kill -9: acknowledged enrolments lost", len(lost), "subjects", "0", not lost))
    return rows


class Enroller:
    """Enrols one made-up embedding after the other, on a thread, and remembers which were acknowledged."""

    def __init__(self, instance: Instance) -> None:
        self.acknowledged: set[str] = set()
        self._instance = instance
        self._model_id = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Enroller:
        with self._instance.connect() as tessera:
            self._model_id = next(iter(tessera.collections())).model_id
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        rng = np.random.default_rng(9)
        with self._instance.connect() as tessera:
            number = 0
            while not self._stop.is_set():
                number += 1
                subject_id = f"made-up-{number:05d}"
                vector = rng.normal(size=128).astype(np.float32)
                try:
                    tessera.enroll(subject_id, vector, model_id=self._model_id)
                except TesseraCallError:
                    continue  # not acknowledged: nothing is promised of it
                self.acknowledged.add(subject_id)
                self._stop.wait(0.02)


def kill_and_wait(instance: Instance, name: str) -> float:
    """kill -9 one child; seconds until it is back, all serve, the camera is online and its frames are encoded."""
    child = instance.children()[name]
    pid, restarts = int(child["pid"]), int(child["restarts"])
    started_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    until_s = started_s + RECOVERY_LIMIT_S
    while time.monotonic() < until_s:
        if int(instance.children()[name]["restarts"]) > restarts and alive(instance):
            return time.monotonic() - started_s
        time.sleep(0.1)
    return float("inf")


def alive(instance: Instance) -> bool:
    """All serve, and the camera's frames are being encoded."""
    try:
        with instance.connect() as tessera:
            if any(service.state != "SERVING" for service in tessera.status()):
                return False
            return encodes(tessera)
    except (TesseraCallError, OSError, ValueError):
        return False


def encodes(tessera: Tessera) -> bool:
    """Whether another frame of the demo camera is encoded within a second."""
    before = tessera.camera_status("demo")
    if before.state is not CameraState.ONLINE:
        return False
    until_s = time.monotonic() + 1.0
    while time.monotonic() < until_s:
        if tessera.camera_status("demo").frames_encoded > before.frames_encoded:
            return True
        time.sleep(0.1)
    return False


def main() -> int:
    """Measure, print, write docs/results/first-light.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("clone", "camera", "verify", "kill"), help="one scenario")
    parser.add_argument("--minutes", type=float, default=CAMERA_MINUTES, help="of the camera scenario")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenarios: dict[str, Callable[[], list[Figure]]] = {
            "verify": lambda: verify_calls(folder),
            "kill": lambda: kill_each(folder),
            "camera": lambda: one_camera(folder, arguments.minutes),
            "clone": lambda: clean_clone(folder),
        }
        chosen = [arguments.only] if arguments.only else list(scenarios)
        figures = [row for name in chosen for row in scenarios[name]()]
    return report("first-light", figures, [], keep=arguments.only is None)


if __name__ == "__main__":
    sys.exit(main())
