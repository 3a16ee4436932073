"""Change maps on a real square: an object of graded size and contrast, against light, noise, JPEG and a shaken camera.

    TESSERA_DATA=DIR make bench-change-detection

The square is `videos/vtest.avi` of the data folder, at half its size: people walk through it all the time. The
reference is the median of the clip's first half; a look is the median of ten frames over nine seconds of the second
half, so that who walks through is gone from it and who stands stays. Every look, with or without an object, is
disturbed by a light of 0.6 to 1.4 times falling off to one side, noise, JPEG and a shift of 2 to 3 pixels, drawn anew.
The earlier looks calibrate, the later ones judge; those between, which share frames with both, are left out.

Beside the Siamese map stand what it replaces: the same without registration, and plain differences of pixels after
registration and equal light. The figures go to `docs/results/change-detection.json`. Nothing of the clip is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, report
from tessera.domain.change import ChangeCalibration, Distances, calibrate_changes, settled
from tessera.domain.error_rates import equal_error_rate
from tessera.domain.errors import ArtifactError
from tessera.imaging.change_map import (
    TILE_PX,
    Kind,
    Verdict,
    describe,
    distance_map,
    judge,
    scene_of,
    tiles_seen,
)
from tessera.imaging.decode import Image
from tessera.imaging.registration import register, warped

COMMAND = "TESSERA_DATA=DIR make bench-change-detection"
CLIP = "videos/vtest.avi"
SIDES_PX = (12, 24, 36)
CONTRASTS = (10, 25, 60)
FALSE_ALARM_RATE = 0.03
ASKED_AUC = 0.95
_ASKED_SIDE_PX, _ASKED_CONTRAST = 24, 25
_PASSING_RATE = 0.05
SEED = 1

Floats = npt.NDArray[np.float64]
Distance = Callable[[Image, Image], Distances]


@dataclass(frozen=True, slots=True)
class Amount:
    """How many looks of each sort."""

    calibration: int = 100
    undisturbed: int = 80
    of_each_grade: int = 30


# ---- the square


def frames(folder: Path) -> list[Image]:
    """The clip's frames at half their size.

    Raises:
        ArtifactError: there is no such clip.
    """
    clip = cv2.VideoCapture(str(folder / CLIP))
    seen: list[Image] = []
    while True:
        ok, frame = clip.read()
        if not ok:
            break
        half = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        seen.append(half.astype(np.uint8, copy=False))
    if not seen:
        raise ArtifactError(str(folder / CLIP), "not found, or it cannot be read")
    return seen


def windows(clip: list[Image]) -> list[Image]:
    """Looks at the square over nine seconds each, without who walked through."""
    later = clip[len(clip) // 2 :]
    return [scene_of(later[at : at + 91 : 10]) for at in range(0, len(later) - 91, 12)]


# ---- what happens to a look


def disturbed(look: Image, rng: np.random.Generator) -> Image:
    """Another light, a shake, noise and JPEG."""
    angle, length_px = rng.uniform(0, 2 * np.pi), rng.uniform(2.0, 3.0)
    shift = np.array([[1.0, 0.0, length_px * np.cos(angle)], [0.0, 1.0, length_px * np.sin(angle)]])
    size = (look.shape[1], look.shape[0])
    shaken = cv2.warpAffine(look, shift, size, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    left, right = rng.uniform(0.6, 1.4, 2)
    light = np.linspace(left, right, look.shape[1], dtype=np.float32)[None, :, None]
    noisy = shaken * light + rng.normal(0.0, rng.uniform(1.0, 5.0), look.shape)
    quality = int(rng.integers(40, 90))
    _, data = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def with_object(look: Image, side_px: int, contrast: int, rng: np.random.Generator) -> Image:
    """A two-toned box somewhere: `contrast` levels above and below the mean of what it hides."""
    height_px, width_px = look.shape[:2]
    x, y = (int(rng.integers(8, most - side_px - 8)) for most in (width_px, height_px))
    place = look[y : y + side_px, x : x + side_px].astype(np.float32)
    tone = np.where(np.arange(side_px) < side_px // 2, 1.0, -1.0).astype(np.float32) * rng.choice([-1.0, 1.0])
    box = place.mean(axis=(0, 1)) + contrast * (tone[:, None, None] if rng.random() < 0.5 else tone[None, :, None])
    seen = look.copy()
    seen[y : y + side_px, x : x + side_px] = np.clip(np.broadcast_to(box, place.shape), 0, 255).astype(np.uint8)
    return seen


# ---- ways to measure a change


def siamese(reference: Image, look: Image) -> Distances:
    """As the library does it: register, describe, compare."""
    found = register(reference, look)
    if found.refusal is not None:
        return np.ones(tuple(side // TILE_PX for side in reference.shape[:2]))
    back, covered = warped(look, found)
    return distance_map(describe(reference), describe(back), tiles_seen(covered))


def unregistered(reference: Image, look: Image) -> Distances:
    """Without laying the look over the reference."""
    return distance_map(describe(reference), describe(look))


def differences(reference: Image, look: Image) -> Distances:
    """Plain differences of registered pixels, at the same mean light, averaged over each tile."""
    found = register(reference, look)
    back, covered = warped(look, found) if found.refusal is None else (look, np.ones(look.shape[:2], np.bool_))
    one, other = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32) for picture in (reference, back))
    apart = np.abs(one - other * (one.mean() / max(1.0, other.mean()))) / 255.0
    rows, columns = (side // TILE_PX for side in apart.shape)
    tiles = apart[: rows * TILE_PX, : columns * TILE_PX].reshape(rows, TILE_PX, columns, TILE_PX).mean(axis=(1, 3))
    return np.where(tiles_seen(covered), tiles, np.nan).astype(np.float64)


WAYS: dict[str, Distance] = {
    "Siamese map": siamese,
    "Siamese map, not registered": unregistered,
    "differences of pixels, registered": differences,
}


# ---- the figures


def auc(changed: Floats, same: Floats) -> float:
    """The chance that a changed look scores higher than an unchanged one; a tie counts half."""
    ordered = np.sort(same)
    below = np.searchsorted(ordered, changed, side="left") + np.searchsorted(ordered, changed, side="right")
    return float(below.mean() / (2.0 * same.size))


def later_looks(looks: list[Image]) -> list[Image]:
    """Those that share no frame with the ones that calibrate: windows of ninety begin each twelve."""
    return looks[len(looks) // 2 + 4 :]


def calibrated(distance: Distance, reference: Image, looks: list[Image], count: int) -> ChangeCalibration:
    """What the earlier looks teach."""
    learn, rng = looks[: len(looks) // 2 - 4], np.random.default_rng(SEED + 1)
    maps = [distance(reference, disturbed(learn[at % len(learn)], rng)) for at in range(count)]
    return calibrate_changes(maps, FALSE_ALARM_RATE)


def measure(name: str, distance: Distance, reference: Image, looks: list[Image], amount: Amount) -> list[Figure]:
    """AUC and EER of one way, by size and contrast of the object; and what its threshold does."""
    rng = np.random.default_rng(SEED)
    ask = later_looks(looks)
    calibration = calibrated(distance, reference, looks, amount.calibration)
    same = np.array(
        [calibration.score(distance(reference, disturbed(ask[at % len(ask)], rng))) for at in range(amount.undisturbed)]
    )
    rows = [_figure(f"{name}: false alarms at a threshold for {FALSE_ALARM_RATE}", _share(same, calibration), "share")]
    for side_px in SIDES_PX:
        for contrast in CONTRASTS:
            scores = np.array(
                [
                    calibration.score(
                        distance(reference, disturbed(with_object(ask[at % len(ask)], side_px, contrast, rng), rng))
                    )
                    for at in range(amount.of_each_grade)
                ]
            )
            grade = f"{name}: object of {side_px} px, contrast {contrast}"
            asked = name == "Siamese map" and (side_px, contrast) == (_ASKED_SIDE_PX, _ASKED_CONTRAST)
            rows.append(_auc_figure(f"{grade}: AUC", auc(scores, same), asked=asked))
            rows.append(_figure(f"{grade}: EER", equal_error_rate(scores, same)[0], "share"))
            rows.append(_figure(f"{grade}: found at the threshold", _share(scores, calibration), "share"))
    return rows


def _share(scores: Floats, calibration: ChangeCalibration) -> float:
    return float((scores >= calibration.threshold).mean())


def _auc_figure(name: str, value: float, *, asked: bool) -> Figure:
    if not asked:
        return _figure(name, value, "")
    return Figure(name, value, "", f"at least {ASKED_AUC}", value >= ASKED_AUC, COMMAND)


def _figure(name: str, value: float, unit: str) -> Figure:
    return Figure(name, value, unit, "", None, COMMAND)


def passing(clip: list[Image]) -> list[Figure]:
    """People who walk through, looked at frame by frame and settled over nine seconds; nothing is left or taken.

    The reference is the first quarter's median. Each sort of look is calibrated on its own sort: a single frame has
    more noise and more people than what settled.
    """
    reference = scene_of(clip[: len(clip) // 4 : 8])
    singly = [siamese(reference, frame) for frame in clip[len(clip) // 4 :: 3]]
    over_9_s = [settled(singly[at : at + 28 : 3]) for at in range(len(singly) - 28)]
    rows = []
    for name, maps in (("single frames", singly), ("settled over nine seconds", over_9_s)):
        half = len(maps) // 2
        calibration = calibrate_changes(maps[: half - 14], _PASSING_RATE)
        rows.append(_figure(f"people pass, {name}: threshold", calibration.threshold, "deviations"))
        called = _changed(maps[half + 14 :], calibration)
        rows.append(_figure(f"people pass, {name}: false alarms at a threshold for {_PASSING_RATE}", called, "share"))
    return rows


def judgements(reference: Image, clip: list[Image], looks: list[Image], amount: Amount) -> list[Figure]:
    """What is said of people who pass, of objects left and taken, and of a camera that was covered or defocused."""
    rng = np.random.default_rng(SEED)
    ask = later_looks(looks)
    calibration = calibrated(siamese, reference, looks, amount.calibration)
    rows = passing(clip)
    kinds: dict[Kind, list[bool]] = {Kind.APPEARED: [], Kind.VANISHED: []}
    for at in range(amount.of_each_grade):
        empty = ask[at % len(ask)]
        full = with_object(empty, 36, 60, rng)
        for before, after, kind in ((empty, full, Kind.APPEARED), (full, empty, Kind.VANISHED)):
            said = judge(before, after, calibration)
            kinds[kind].append(bool(said.regions) and said.regions[0].kind is kind)
    rows += [
        _figure(f"object of 36 px: said to have {kind.lower()}", float(np.mean(right)), "share")
        for kind, right in kinds.items()
    ]
    wholes: dict[str, Callable[[Image], npt.NDArray[np.generic]]] = {
        "covered": lambda look: cv2.GaussianBlur(look // 8 + 90, (0, 0), 25.0),
        "defocused": lambda look: cv2.GaussianBlur(look, (0, 0), 6.0),
        "moved by a quarter": lambda look: np.roll(look, look.shape[1] // 4, axis=1),
    }
    for name, change in wholes.items():
        said_whole = [
            judge(reference, np.asarray(change(look), dtype=np.uint8), calibration).verdict is Verdict.WHOLE
            for look in ask
        ]
        rows.append(_figure(f"camera {name}: said to be another scene", float(np.mean(said_whole)), "share"))
    return rows


def _changed(maps: list[Distances], calibration: ChangeCalibration) -> float:
    return float(np.mean([calibration.score(found) >= calibration.threshold for found in maps]))


def main() -> int:
    """Measure, print, write docs/results/change-detection.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few looks, the first way only; nothing is kept")
    arguments = parser.parse_args()
    if not os.environ.get("TESSERA_DATA"):
        raise ArtifactError("TESSERA_DATA", f"not set; it must name the folder of {CLIP}")
    cv2.setNumThreads(1)
    amount = Amount(100, 20, 8) if arguments.quick else Amount()
    clip = frames(Path(os.environ["TESSERA_DATA"]))
    reference, looks = scene_of(clip[: len(clip) // 2 : 8]), windows(clip)
    ways = {"Siamese map": siamese} if arguments.quick else WAYS
    rows = [row for name, way in ways.items() for row in measure(name, way, reference, looks, amount)]
    rows += judgements(reference, clip, looks, amount)
    notes = ["Objects are drawn; a real one has shadow and form. The looks of one window share their people."]
    return report("change-detection", rows, notes, keep=not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
