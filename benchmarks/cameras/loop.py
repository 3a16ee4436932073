"""The product beside the loop that everybody writes first, on the same clips, with the same people enrolled.

*Processed* is, on both sides, a frame that went through detection: the loop's own count, and frames that the encoder
answered. Frames that a camera's motion gate leaves out are counted apart. Both read the clip over and over, as fast as
it goes: the loop by itself, the product as one camera whose frames come as fast as they are taken. Then more and more
cameras show it in its own time, as cameras do: the most that is processed so, and what happens when there are too many,
is told too. Both have the whole machine, one after the other, the loop before and after: its better rate counts.
Decisions are compared on one pass of the clip in its own time: which labels are told, and how often they change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from benchmarks.cameras.arithmetic import chosen
from benchmarks.cameras.clip_people import FACE_CLIPS, Person, people_of
from benchmarks.cameras.plain_loop import NOBODY, Looped, Seen
from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.watching import statuses
from benchmarks.figures import ROOT, Figure
from benchmarks.instance import Instance
from tessera.client.answers import CameraState, Event, Sighting, StreamOptions
from tessera.client.collection_values import DecisionPolicy, QualityGate
from tessera.client.events import FROM_OLDEST, EventKind
from tessera.domain.artifact import load_calibration_for
from tessera.domain.calibration import DEFAULT_TARGET_FPIR
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality

RATIO = 2.0
CAMERAS = (2, 4, 6, 8, 12, 16)
"""Tried in turn, of clips with 12.5 frames a second, until fewer frames are processed than before."""
PLANNED_PEOPLE = 100
"""Thresholds on both sides are those of a watch list of so many, at the default false-positive rate."""
COLLECTION = "clips"
PLAIN_ENCODER = "face-sface-1"
"""What the loop's weights are called here: its calibration gives the loop a threshold for the same rate as ours."""
NOT_ENROLLED = frozenset({"face-demographics-walking-and-pause-3", "head-pose-face-detection-male-1"})
"""Must stay unknown."""
_WARM_S, _END_LIMIT_S, _SIGHTINGS_LIMIT_S = 6.0, 60.0, 20.0
_LONGEST_LOOP_S = 300.0


def run(context: Context) -> Sequence[Figure]:
    """Both on every clip with faces."""
    folder = context.videos()
    clips = [folder / name for name in FACE_CLIPS[: context.count(len(FACE_CLIPS), 1)]]
    enrolled = [one for clip in clips for one in people_of(clip) if one.name not in NOT_ENROLLED]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as pictures, context.instance() as instance:
        for at, person in enumerate(enrolled):
            (Path(pictures) / f"{person.name}@{at}.png").write_bytes(person.picture)
        _enrol(instance, enrolled)
        loop = _Loop(Path(pictures), 10.0 if not context.quick else 3.0)
        for clip in clips:
            figures += _one_clip(context, instance, loop, clip)
    names = {one.name for one in enrolled}
    context.note(f"loop: {len(names)} people enrolled by {len(enrolled)} pictures of their clips, alike on both sides.")
    return figures


def _enrol(instance: Instance, people: Sequence[Person]) -> None:
    # The clips are small previews of little contrast: the gate would refuse some of what the plain loop takes.
    gate = QualityGate(min_sharpness=0.0, min_brightness=0.0, min_contrast=0.0, min_size=0.0, min_pose=0.0)
    policy = replace(DecisionPolicy.usual(Modality.FACE), planned_gallery_size=PLANNED_PEOPLE)
    with instance.connect() as tessera:
        tessera.create_collection(COLLECTION, quality_gate=gate, policy=policy)
        for person in people:
            consent = "evaluation clips, CC-BY-4.0"
            tessera.enroll(person.name, [person.picture], collection_id=COLLECTION, consent_reference=consent)


def _one_clip(context: Context, instance: Instance, loop: _Loop, clip: Path) -> list[Figure]:
    name = f"loop: {clip.stem}"
    told = _one_pass(instance, clip)
    before = loop.run(clip)
    seconds = 10.0 if not context.quick else 5.0
    ours = _processed(instance, clip, 1, seconds, as_fast_as_possible=True)
    tried = _more_and_more(context, instance, clip, seconds)
    after = loop.run(clip)
    alone = loop.run_two(clip)
    plain_hz = max(before.frames / before.seconds, after.frames / after.seconds)
    shown = max(tried, key=lambda rates: rates.encoded_hz)
    ratio, whole = ours.encoded_hz / plain_hz, (ours.encoded_hz + ours.left_out_hz) / plain_hz
    by_cameras, bar = shown.encoded_hz / plain_hz, f"at least {RATIO:g}"
    plain_labels = steady_labels(before.first_pass)
    agree = {one.label for one in told} == set(plain_labels)
    context.note(f"{name}: the loop says {dict(plain_labels)}; we say {dict(Counter(one.label for one in told))}.")
    steps = ", ".join(f"{rates.cameras}: {rates.encoded_hz:.1f} of {rates.offered_hz:.1f}" for rates in tried)
    context.note(f"{name}: frames a second through detection, of those offered, by cameras: {steps}.")
    return [
        figure(f"{name}: plain loop, frames a second on {before.threads} threads", plain_hz, "1/s"),
        figure(f"{name}: two plain loops of one thread each, together", alone, "1/s"),
        figure(f"{name}: Tessera, frames through detection a second", ours.encoded_hz, "1/s"),
        figure(f"{name}: Tessera, frames in which nothing moved", ours.left_out_hz, "1/s"),
        figure(f"{name}: Tessera, shown by cameras in its own time, most that is processed", shown.encoded_hz, "1/s"),
        figure(f"{name}: Tessera, number of cameras for that", shown.cameras, "cameras"),
        figure(f"{name}: Tessera, processed with {tried[-1].cameras} cameras", tried[-1].encoded_hz, "1/s"),
        figure(f"{name}: Tessera by cameras / plain loop", by_cameras, "times", bar, by_cameras >= RATIO),
        figure(
            f"{name}: Tessera / plain loop, through detection", ratio, "times", f"at least {RATIO:g}", ratio >= RATIO
        ),
        figure(f"{name}: Tessera / plain loop, with frames in which nothing moved", whole, "times"),
        figure(f"{name}: Tessera / two plain loops, through detection", ours.encoded_hz / alone, "times"),
        figure(f"{name}: people told alike", "yes" if agree else "no", "", "yes", agree),
        figure(f"{name}: plain loop, faces with another label than their person's", flips(before.first_pass), "faces"),
        figure(f"{name}: Tessera, tracklets", len(told), "tracklets"),
        figure(f"{name}: Tessera, tracklets whose decision was revised", sum(t.changes > 0 for t in told), "tracklets"),
    ]


# ---- the loop


@dataclass(frozen=True, slots=True)
class _Loop:
    """The plain loop as a process."""

    pictures: Path
    seconds: float

    def run(self, clip: Path) -> Looped:
        """Alone, with the threads that OpenCV chooses."""
        return self._read(self._start(clip, {}))

    def run_two(self, clip: Path) -> float:
        """Two at a time, one thread each: frames a second of both."""
        both = [self._start(clip, {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}) for _ in range(2)]
        return sum(one.frames / one.seconds for one in map(self._read, both))

    def _start(self, clip: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
        calibration = load_calibration_for(PLAIN_ENCODER)
        assert calibration is not None
        threshold = calibration.threshold_for_fpir(DEFAULT_TARGET_FPIR, PLANNED_PEOPLE).score
        command = [sys.executable, "-m", "benchmarks.cameras.plain_loop"]
        arguments = [str(clip), str(self.seconds), str(threshold), str(self.pictures)]
        return subprocess.Popen([*command, *arguments], cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE)

    def _read(self, process: subprocess.Popen[bytes]) -> Looped:
        told = json.loads(process.communicate(timeout=_LONGEST_LOOP_S)[0])
        seen = [Seen(**{**face, "box": tuple(face["box"])}) for face in told.pop("first_pass")]
        return Looped(**told, first_pass=seen)


def people_followed(seen: Sequence[Seen], least_iou: float = 0.3) -> list[list[Seen]]:
    """The faces of one pass by person, by overlap with where each was last; whoever was seen twice only is left out."""
    people: list[list[Seen]] = []
    for face in seen:
        near = [
            person for person in people if _iou(person[-1].box, face.box) > least_iou and person[-1].frame < face.frame
        ]
        if near:
            max(near, key=lambda person: _iou(person[-1].box, face.box)).append(face)
        else:
            people.append([face])
    return [person for person in people if len(person) >= 3]


def steady_labels(seen: Sequence[Seen]) -> Counter[str]:
    """How many people have which label, each by what is said of most of their faces."""
    return Counter(Counter(face.label for face in person).most_common(1)[0][0] for person in people_followed(seen))


def flips(seen: Sequence[Seen]) -> int:
    """Faces that were given another label than most of their person's."""
    return sum(len(p) - Counter(face.label for face in p).most_common(1)[0][1] for p in people_followed(seen))


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


# ---- ours


@dataclass(frozen=True, slots=True)
class Rates:
    """Of all cameras together, frames a second."""

    cameras: int
    offered_hz: float
    encoded_hz: float
    left_out_hz: float


def _more_and_more(context: Context, instance: Instance, clip: Path, seconds: float) -> list[Rates]:
    """More and more cameras, until less is processed than before."""
    tried: list[Rates] = []
    for cameras in CAMERAS[: context.count(len(CAMERAS), 3)]:
        tried.append(_processed(instance, clip, cameras, seconds, as_fast_as_possible=False))
        if tried[-1].encoded_hz < 0.9 * max(rates.encoded_hz for rates in tried):
            break
    return tried


def _processed(instance: Instance, clip: Path, cameras: int, seconds: float, *, as_fast_as_possible: bool) -> Rates:
    kind = "fast" if as_fast_as_possible else "shown"
    names = [f"{clip.stem}-{kind}-{cameras}-{number:02d}" for number in range(cameras)]
    stream = StreamOptions(as_fast_as_possible=as_fast_as_possible)
    with instance.connect() as tessera:
        for name in names:
            tessera.add_camera(name, str(clip), sample_rate_hz=30.0, collection_id=COLLECTION, loop=True, stream=stream)
        time.sleep(_WARM_S)
        began_s, before = time.monotonic(), statuses(instance)
        time.sleep(seconds)
        after, took_s = statuses(instance), time.monotonic() - began_s
        for name in names:
            tessera.remove_camera(name)
    pairs = [(before[name], after[name]) for name in names]
    return Rates(
        cameras,
        sum(b.frames_sampled - a.frames_sampled for a, b in pairs) / took_s,
        sum(b.frames_encoded - a.frames_encoded for a, b in pairs) / took_s,
        sum(chosen(a, b) for a, b in pairs) / took_s,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of one tracklet."""

    label: str
    """The subject, `NOBODY`, or INCONCLUSIVE."""
    changes: int
    """From one person to another, or to nobody, or back."""


def _one_pass(instance: Instance, clip: Path) -> list[Told]:
    """The tracklets of a clip that is shown once."""
    name = f"once-{clip.stem}"
    with instance.connect() as tessera, _sightings(instance, name) as heard:
        tessera.add_camera(name, str(clip), sample_rate_hz=30.0, collection_id=COLLECTION)
        until_s = time.monotonic() + _END_LIMIT_S
        while tessera.camera_status(name).state is not CameraState.ENDED and time.monotonic() < until_s:
            time.sleep(0.1)
        until_s = time.monotonic() + _SIGHTINGS_LIMIT_S
        while not (heard and all(t[-1].ended for t in by_tracklet(heard).values())) and time.monotonic() < until_s:
            time.sleep(0.1)
        tessera.remove_camera(name)
    return [told_of(revisions) for revisions in by_tracklet(heard).values()]


@contextmanager
def _sightings(instance: Instance, camera_id: str) -> Iterator[list[Event]]:
    heard: list[Event] = []
    with instance.connect() as tessera:
        watch = tessera.watch(after_cursor=FROM_OLDEST, camera_ids=[camera_id], kinds=[EventKind.SIGHTING])
        thread = threading.Thread(target=_hear, args=(watch, heard))
        thread.start()
        try:
            yield heard
        finally:
            watch.close()
            thread.join(timeout=10)


def _hear(watch: Iterator[Event], heard: list[Event]) -> None:
    for event in watch:
        heard.append(event)  # noqa: PERF402 - one by one, as they come


def by_tracklet(events: Sequence[Event]) -> dict[str, list[Sighting]]:
    """The revisions of each tracklet in their order."""
    told: dict[str, list[Sighting]] = {}
    for event in list(events):
        if event.sighting is not None:
            told.setdefault(event.sighting.tracklet_id, []).append(event.sighting)
    return told


def told_of(revisions: Sequence[Sighting]) -> Told:
    """The last label of a tracklet, and how often it went from one to another; a first label is no change."""
    labels = [label_of(sighting) for sighting in revisions]
    decided = [label for label in labels if label != Outcome.INCONCLUSIVE.value]
    return Told(labels[-1], sum(one != other for one, other in pairwise(decided)))


def label_of(sighting: Sighting) -> str:
    """Who it is, as the plain loop would say it."""
    match sighting.answer.outcome:
        case Outcome.MATCH:
            return sighting.subject_id
        case Outcome.UNKNOWN:
            return NOBODY
        case other:
            return other.value
