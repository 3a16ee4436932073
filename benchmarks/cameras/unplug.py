"""Something is taken away, and given back: how long until every camera is served again, by itself?

Four cameras (two H.264 files, two HTTP/MJPEG streams through a proxy) are watched by a whole Tessera. The network is
cut and silenced, each process is killed, and the wall clock of every process jumps an hour ahead and back. *Recovered*
is when all services serve, every camera is online and gets frames encoded, and the gallery decides. Then fifty cameras
lose one server, and when they come back is compared with what independent chance gives.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.cameras.arithmetic import busiest_share, unaccounted
from benchmarks.cameras.cutting_proxy import CuttingProxy, Line, cutting_proxy
from benchmarks.cameras.jumping_clock import JumpingClock
from benchmarks.cameras.mjpeg import MjpegServer, mjpeg_server
from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.scenes import RATE_HZ, h264_file, jpeg_folder
from benchmarks.cameras.watching import statuses
from benchmarks.encoder.process_facts import read_page
from benchmarks.figures import Figure
from benchmarks.instance import Instance
from camera_ingest.worker_parts import WorkerSettings
from tessera.cli.demo_people import enrol_demo_people
from tessera.client.answers import CameraState
from tessera.client.errors import TesseraCallError
from tessera.demo.portraits import fetch_portraits

CAMERAS = 4
RECOVERY_S = 15.0
GIVE_UP_S = 90.0
AWAY_S = {Line.CUT: 5.0, Line.SILENT: 10.0}
"""Silence is longer than a camera may be silent (5 s), so that it is lost."""
LONG_AWAY_S = 45.0
"""By then a camera waits up to the longest pause between two attempts."""
KILLED = ("ingest", "encoder", "gallery", "valkey")
HOUR_S = 3600

FLEET = 50
FLEET_AWAY_S = 40.0
WINDOW_S = 0.25
SIMULATED = 2000
_LATE_S = 3.0
_DECISIONS = "tessera_ingest_stage_seconds_count"


def run(context: Context) -> Sequence[Figure]:
    """Take each thing away in turn."""
    figures = _with_cameras(context)
    figures += _clock(context)
    return [*figures, *_fifty(context)]


# ---- what is watched


@contextmanager
def _watched(context: Context, environ: dict[str, str]) -> Iterator[tuple[Instance, CuttingProxy]]:
    names = [f"camera-{number}" for number in range(CAMERAS)]
    streams = {
        name: jpeg_folder(context.scratch, number, with_faces=True)
        for number, name in enumerate(names)
        if _is_stream(name)
    }
    files = {
        name: str(h264_file(context.scratch, number, with_faces=True))
        for number, name in enumerate(names)
        if name not in streams
    }
    with ExitStack() as stack:
        server = stack.enter_context(mjpeg_server(streams, RATE_HZ))
        proxy = stack.enter_context(cutting_proxy(server.port))
        instance = stack.enter_context(context.instance(environ=environ))
        with instance.connect() as tessera:
            enrol_demo_people(tessera, fetch_portraits())
            for name, url in {**files, **{name: server.url(name, proxy.port) for name in streams}}.items():
                tessera.add_camera(name, url, sample_rate_hz=RATE_HZ, loop=True, motion_gate=False)
        recovered_in_s(instance, GIVE_UP_S)
        yield instance, proxy


def _is_stream(name: str) -> bool:
    return int(name.rpartition("-")[2]) % 2 == 1


def recovered_in_s(instance: Instance, limit_s: float = GIVE_UP_S, since_s: float | None = None) -> float:
    """Seconds until every camera is served again; infinite past the limit.

    Args:
        instance: whose cameras.
        limit_s: how long to wait.
        since_s: monotonic; from when on it counts. None: from now.
    """
    since_s = time.monotonic() if since_s is None else since_s
    before = _signs_of_life(instance)
    while time.monotonic() - since_s < limit_s:
        time.sleep(0.1)
        now = _signs_of_life(instance)
        if now is None or before is None or now.encoded.keys() != before.encoded.keys():
            before = now
            continue
        # A process that came back counts from 0: whatever fell is where it began anew.
        before = before.at_most(now)
        if now.is_well and now.is_beyond(before):
            return time.monotonic() - since_s
    return float("inf")


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of life at one moment."""

    is_well: bool
    """All services serve, all cameras are online."""
    encoded: dict[str, int]
    """Frames by camera."""
    decided: float
    """Decisions of the gallery that the ingest has seen."""

    def at_most(self, other: Signs) -> Signs:
        """The lower of each count."""
        lower = {name: min(count, other.encoded[name]) for name, count in self.encoded.items()}
        return Signs(self.is_well, lower, min(self.decided, other.decided))

    def is_beyond(self, before: Signs) -> bool:
        """Every camera has more encoded frames than before, and there are more decisions."""
        return self.decided > before.decided and all(self.encoded[n] > count for n, count in before.encoded.items())


def _signs_of_life(instance: Instance) -> Signs | None:
    """None where nobody answers."""
    with suppress(TesseraCallError, OSError, ValueError, KeyError):
        port = int(str(instance.children()["ingest"]["metrics_url"]).split(":")[2].split("/")[0])
        with instance.connect() as tessera:
            serving = all(service.state == "SERVING" for service in tessera.status())
        told = statuses(instance)
        online = all(status.state is CameraState.ONLINE for status in told.values())
        encoded = {name: status.frames_encoded for name, status in told.items()}
        return Signs(serving and online, encoded, read_page(port).total(_DECISIONS, stage="decision"))
    return None


def _told(name: str, seconds: float, *, barred: bool = True) -> Figure:
    shown: float | str = seconds if np.isfinite(seconds) else f"over {GIVE_UP_S:.0f}"
    bar, holds = (f"within {RECOVERY_S:g}", seconds <= RECOVERY_S) if barred else ("", None)
    return figure(f"unplug: {name}", shown, "s", bar, holds)


def _accounted(instance: Instance, what: str) -> Figure:
    wrong = sum(unaccounted(status) != 0 for status in statuses(instance).values())
    return figure(f"unplug: {what}, cameras whose frames do not add up", wrong, f"of {CAMERAS}", "0", wrong == 0)


# ---- the network, and each process


def _with_cameras(context: Context) -> list[Figure]:
    figures: list[Figure] = []
    with _watched(context, {}) as (instance, proxy):
        for line, away_s in AWAY_S.items():
            name = f"network {line.name.lower()} for {away_s:g} s, served again after"
            figures.append(_told(name, _away(instance, proxy, line, away_s)))
        if not context.quick:
            long_s = _away(instance, proxy, Line.CUT, LONG_AWAY_S)
            figures.append(_told(f"network cut for {LONG_AWAY_S:g} s, served again after", long_s, barred=False))
        figures.append(_accounted(instance, "network"))
        figures += [_told(f"kill -9 of {name}, served again after", _kill(instance, name)) for name in KILLED]
        figures.append(_accounted(instance, "kills"))
    return figures


def _away(instance: Instance, proxy: CuttingProxy, line: Line, seconds: float) -> float:
    proxy.set(line)
    time.sleep(seconds)
    proxy.set(Line.WHOLE)
    return recovered_in_s(instance)


def _kill(instance: Instance, name: str) -> float:
    child = instance.children()[name]
    began_s = time.monotonic()
    os.kill(int(child["pid"]), signal.SIGKILL)
    _wait_until(lambda: int(instance.children()[name]["restarts"]) > int(child["restarts"]), GIVE_UP_S)
    return recovered_in_s(instance, since_s=began_s)


def _wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        with suppress(TesseraCallError, OSError, ValueError, KeyError):
            if condition():
                return True
        time.sleep(0.05)
    return False


# ---- the clock


def _clock(context: Context) -> list[Figure]:
    if not JumpingClock.can_be_had():
        context.note("unplug: there is no C compiler (cc); the clock's jumps are left out.")
        return []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        clock = JumpingClock(Path(folder))
        clock.build()
        with _watched(context, clock.environ) as (instance, _):
            for offset_s, words in ((HOUR_S, "an hour ahead"), (0, "an hour back")):
                began_s = time.monotonic()
                clock.set_s(offset_s)
                figures.append(_told(f"clock jumps {words}, served after", recovered_in_s(instance, since_s=began_s)))
                for live, kind in ((True, "streams"), (False, "files")):
                    name = f"clock jumps {words}, capture times of {kind} follow after"
                    figures.append(_told(name, _follows_in_s(instance, offset_s, began_s, live=live)))
            figures.append(_accounted(instance, "clock"))
    return figures


def _follows_in_s(instance: Instance, offset_s: int, since_s: float, *, live: bool) -> float:
    """Seconds until the newest frames of all streams, or of all files, have capture times of a clock."""

    def follow() -> bool:
        told = [status for name, status in statuses(instance).items() if _is_stream(name) == live]
        moments = [status.last_frame_time.timestamp() for status in told if status.last_frame_time is not None]
        return bool(moments) and all(abs(time.time() + offset_s - at) < _LATE_S for at in moments)

    return time.monotonic() - since_s if _wait_until(follow, GIVE_UP_S) else float("inf")


# ---- fifty cameras


def _fifty(context: Context) -> list[Figure]:
    count, away_s = context.count(FLEET, 20), FLEET_AWAY_S if not context.quick else 10.0
    names = [f"small-{number:02d}" for number in range(count)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(mjpeg_server(dict.fromkeys(names, _small_pictures(folder)), 2))
        proxy = stack.enter_context(cutting_proxy(server.port))
        instance = stack.enter_context(context.instance())
        _add_small(instance, names, server, proxy)
        cut_s = time.monotonic()
        proxy.set(Line.CUT)
        time.sleep(away_s)
        arrivals = [at - cut_s for at in proxy.arrivals_s if at > cut_s]
        proxy.set(Line.WHOLE)
        mended_s = time.monotonic()
        _wait_until(lambda: _online(instance) >= count / 2, GIVE_UP_S)
        half_s = time.monotonic() - mended_s
        whole = _wait_until(lambda: _online(instance) == count, GIVE_UP_S)
        whole_s = time.monotonic() - mended_s if whole else float("inf")
    by_chance = independent_shares(count, away_s, SIMULATED)
    measured, bound = busiest_share(arrivals, WINDOW_S), float(np.quantile(by_chance, 0.99))
    after_first = [at for at in arrivals if at > away_s / 4]
    name = f"unplug: {count} cameras lose one server for {away_s:g} s"
    return [
        figure(f"{name}, attempts", len(arrivals), "attempts"),
        figure(f"{name}, attempts that independent jitter makes, mean", _mean_attempts(count, away_s), "attempts"),
        figure(
            f"{name}, largest share of attempts in {1000 * WINDOW_S:g} ms",
            measured,
            "share",
            f"at most {bound:.3f}: 99 % of draws of independent jitter",
            measured <= bound,
        ),
        figure(f"{name}, the same of independent jitter, median", float(np.median(by_chance)), "share"),
        figure(f"{name}, the same after the first quarter", busiest_share(after_first, WINDOW_S), "share"),
        figure(f"{name}, half of them online again after", half_s, "s"),
        _told(f"{count} cameras lose one server for {away_s:g} s, all online again after", whole_s, barred=False),
    ]


def _small_pictures(folder: Path) -> Path:
    """Ten tiny pictures that differ."""
    path = folder / "small"
    path.mkdir()
    for number in range(10):
        picture = np.full((90, 160, 3), 20 + 20 * number, np.uint8)
        cv2.imwrite(str(path / f"{number}.jpg"), picture)
    return path


def _add_small(instance: Instance, names: Sequence[str], server: MjpegServer, proxy: CuttingProxy) -> None:
    with instance.connect() as tessera:
        for name in names:
            tessera.add_camera(name, server.url(name, proxy.port), sample_rate_hz=1.0, watch_scene=False)
    if not _wait_until(lambda: _online(instance) == len(names), 3 * GIVE_UP_S):
        raise TimeoutError(f"{_online(instance)} of {len(names)} cameras came online")


def _online(instance: Instance) -> int:
    return sum(status.state is CameraState.ONLINE for status in statuses(instance).values())


def independent_shares(cameras: int, seconds: float, draws: int, seed: int = 5) -> list[float]:
    """The largest share of attempts in a window, were each camera's pauses its own and attempts took no time."""
    chance = np.random.default_rng(seed)
    return [busiest_share(_attempts(cameras, seconds, chance), WINDOW_S) for _ in range(draws)]


def _mean_attempts(cameras: int, seconds: float) -> float:
    chance = np.random.default_rng(6)
    return float(np.mean([len(_attempts(cameras, seconds, chance)) for _ in range(200)]))


def _attempts(cameras: int, seconds: float, chance: np.random.Generator) -> list[float]:
    """Moments of the attempts of cameras that were all lost at 0."""
    return [at for _ in range(cameras) for at in _of_one(seconds, chance)]


def _of_one(seconds: float, chance: np.random.Generator) -> Iterator[float]:
    settings, at_s, range_s = WorkerSettings(), 0.0, 0.0
    range_s = settings.reconnect_first_s
    while True:
        least_s = min(settings.reconnect_least_s, range_s)
        at_s += chance.uniform(least_s, min(range_s, settings.reconnect_longest_s))
        if at_s > seconds:
            return
        yield at_s
        range_s = min(2 * range_s, settings.reconnect_longest_s)
