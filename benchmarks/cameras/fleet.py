"""Sixteen cameras of 720p at 5 frames a second on this machine: are all served alike, and is anything lost or late?

Half of the cameras are H.264 files played in their own time, half HTTP/MJPEG streams; a quarter of them shows things
that move and no face. The encoder is far too slow for all of it on two cores, which is the point.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.cameras.arithmetic import chosen, encoded_ratio, max_over_min
from benchmarks.cameras.mjpeg import mjpeg_server
from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.scenes import RATE_HZ, h264_file, jpeg_folder
from benchmarks.cameras.watching import Watch, machine_busy_s, processor_s, statuses
from benchmarks.encoder.arithmetic import slope
from benchmarks.figures import Figure
from benchmarks.first_light import metrics_page, quantile
from benchmarks.instance import Instance
from tessera.cli.demo_people import enrol_demo_people
from tessera.client.answers import CameraState, CameraStatus
from tessera.demo.portraits import fetch_portraits

CAMERAS = 16
FAIR = 1.3
STALE_S = 1.0
FLAT_MB_A_MINUTE = 0.5
"""Half a megabyte a minute is 0.7 GB a day: more would be a leak that somebody is paged for. A leak of one 720p
picture (2.6 MB) in five minutes lies above it."""
SETTLING_S = 60.0
"""Until buffers have their size; what memory does before is not judged."""
_ONLINE_LIMIT_S = 120.0


def run(context: Context) -> Sequence[Figure]:
    """Watch the cameras, and judge fairness, staleness, memory and accounting."""
    cameras = context.count(CAMERAS, 4)
    streams, files = _streams(context, cameras), _files(context, cameras)
    with ExitStack() as stack:
        server = stack.enter_context(mjpeg_server(streams, RATE_HZ))
        instance = stack.enter_context(context.instance())
        with instance.connect() as tessera:
            enrol_demo_people(tessera, fetch_portraits())
            for name, url in sorted({**files, **{name: server.url(name) for name in streams}}.items()):
                tessera.add_camera(name, url, sample_rate_hz=RATE_HZ, loop=True)
        _wait_online(instance, cameras)
        time.sleep(min(SETTLING_S, context.duration_s / 3))
        before = _reading(instance)
        with Watch(instance) as watch:
            time.sleep(context.duration_s)
        after = _reading(instance)
    _note_cameras(context, before, after)
    return [
        *_served(before, after),
        *_staleness(before, after),
        *_memory(watch),
        *_accounting(watch, after),
        *_machine(before, after),
    ]


# ---- the cameras


def _id(number: int) -> str:
    return f"camera-{number:02d}"


def _with_faces(number: int) -> bool:
    return number % 4 != 3


def _is_stream(number: int) -> bool:
    return number % 2 == 1


def _streams(context: Context, cameras: int) -> dict[str, Path]:
    return {
        _id(number): jpeg_folder(context.scratch, number, with_faces=_with_faces(number))
        for number in range(cameras)
        if _is_stream(number)
    }


def _files(context: Context, cameras: int) -> dict[str, str]:
    return {
        _id(number): str(h264_file(context.scratch, number, with_faces=_with_faces(number)))
        for number in range(cameras)
        if not _is_stream(number)
    }


def _wait_online(instance: Instance, cameras: int) -> None:
    until_s = time.monotonic() + _ONLINE_LIMIT_S
    while time.monotonic() < until_s:
        told = statuses(instance)
        if len(told) == cameras and all(s.state is CameraState.ONLINE and s.frames_encoded for s in told.values()):
            return
        time.sleep(0.5)
    away = [f"{s.camera_id}: {s.state} {s.detail}, {s.frames_encoded} encoded" for s in statuses(instance).values()]
    raise TimeoutError("not every camera came online:\n" + "\n".join(away))


# ---- what is read, and what follows


@dataclass(frozen=True, slots=True)
class _Reading:
    """Everything at one moment."""

    at_s: float
    cameras: dict[str, CameraStatus]
    page: str
    ours_s: float
    """Processor time of the instance, of the camera server and of this process."""
    machine_s: float


def _reading(instance: Instance) -> _Reading:
    ours_s = processor_s(os.getpid())
    page = metrics_page(instance, "ingest")
    return _Reading(time.monotonic(), statuses(instance), page, ours_s, machine_busy_s())


def _served(before: _Reading, after: _Reading) -> list[Figure]:
    seconds, pairs = after.at_s - before.at_s, [(before.cameras[key], after.cameras[key]) for key in after.cameras]
    ratios = [encoded_ratio(*pair) for pair in pairs]
    sampled = [(b.frames_sampled - a.frames_sampled) / seconds for a, b in pairs]
    encoded = [(b.frames_encoded - a.frames_encoded) / seconds for a, b in pairs]
    left_out = sum(chosen(*pair) for pair in pairs)
    unfair = max_over_min(ratios)
    return [
        figure("fleet: cameras of 720p", len(pairs), "cameras"),
        figure("fleet: watched for", seconds / 60, "min"),
        figure("fleet: frames sampled a second, slowest camera", min(sampled), "1/s", "5", min(sampled) > 4.75),
        figure("fleet: frames encoded a second, all cameras", sum(encoded), "1/s"),
        figure("fleet: frames encoded a second, least served camera", min(encoded), "1/s"),
        figure("fleet: frames that cameras left out by their own choice", left_out, "frames"),
        figure("fleet: share of the others that was encoded, mean", 100 * float(np.nanmean(ratios)), "%"),
        figure("fleet: share encoded, best served over least served", unfair, "ratio", f"under {FAIR}", unfair < FAIR),
    ]


def _note_cameras(context: Context, before: _Reading, after: _Reading) -> None:
    """Each camera's share, and what became of its other frames: where to look when it was not fair."""
    for number, (name, now) in enumerate(sorted(after.cameras.items())):
        was = before.cameras[name]
        others = {why.value: count - was.skip_counts.get(why, 0) for why, count in sorted(now.skip_counts.items())}
        others |= {"EXPIRED": now.frames_expired - was.frames_expired, "FAILED": now.frames_failed - was.frames_failed}
        told = ", ".join(f"{count} {why}" for why, count in others.items() if count)
        kind = f"{'stream' if _is_stream(number) else 'file'}, {'faces' if _with_faces(number) else 'things'}"
        encoded = now.frames_encoded - was.frames_encoded
        context.note(f"fleet: {name} ({kind}): {100 * encoded_ratio(was, now):.1f} %, {encoded} encoded, {told}")


def _staleness(before: _Reading, after: _Reading) -> list[Figure]:
    figures = []
    for stage, words in (("sent", "sent"), ("answer", "answered by the encoder"), ("decision", "decided")):
        counts = _between(before.page, after.page, stage)
        if not counts or not counts[float("inf")]:
            continue
        p50, p99 = quantile(counts, 0.5), quantile(counts, 0.99)
        bar, holds = (f"under {STALE_S:g}", p99 < STALE_S) if stage == "answer" else ("", None)
        figures += [
            figure(f"fleet: age of a frame when {words}, median", p50, "s"),
            figure(f"fleet: age of a frame when {words}, p99", p99, "s", bar, holds),
        ]
    return figures


def _between(before: str, after: str, stage: str) -> dict[float, float]:
    """Cumulative counts by upper bound in seconds of what was observed between two pages."""
    old, new = _stage_counts(before, stage), _stage_counts(after, stage)
    return {bound: count - old.get(bound, 0.0) for bound, count in new.items()}


def _stage_counts(page: str, stage: str) -> dict[float, float]:
    counts: dict[float, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "tessera_ingest_stage_seconds_bucket" and sample.labels["stage"] == stage:
                bound = float(sample.labels["le"])
                counts[bound] = counts.get(bound, 0.0) + sample.value
    return counts


def _memory(watch: Watch) -> list[Figure]:
    grows = slope(watch.minutes, watch.ingest_mb)
    bar = f"under {FLAT_MB_A_MINUTE}"
    return [
        figure("fleet: memory of camera_ingest and its readers (PSS), median", float(np.median(watch.ingest_mb)), "MB"),
        figure("fleet: memory of camera_ingest and its readers, largest", max(watch.ingest_mb), "MB"),
        figure("fleet: their slope (least squares)", grows, "MB/min", bar, grows < FLAT_MB_A_MINUTE),
        figure("fleet: slope of the encoder's memory", slope(watch.minutes, watch.encoder_mb), "MB/min"),
    ]


def _accounting(watch: Watch, after: _Reading) -> list[Figure]:
    frames = sum(status.frames_sampled for status in after.cameras.values())
    exact = watch.readings > 0 and not watch.wrong
    return [
        figure("fleet: frames accounted for", frames, "frames"),
        figure(
            "fleet: readings of a camera whose frames do not add up",
            len(watch.wrong),
            f"of {watch.readings}",
            "0",
            exact,
        ),
    ]


def _machine(before: _Reading, after: _Reading) -> list[Figure]:
    seconds = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    ours, whole = after.ours_s - before.ours_s, after.machine_s - before.machine_s
    return [
        figure("fleet: processors used by Tessera and the cameras", 100 * ours / seconds, "% of the machine"),
        figure("fleet: processors used by others", 100 * max(0.0, whole - ours) / seconds, "% of the machine"),
    ]
