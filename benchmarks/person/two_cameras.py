"""Two cameras, six people, the running services: does each person end with one anonymous id, and with one of their own?

    TESSERA_DATA=DIR make bench-person ARGS="two-cameras"

`one-by-one-person-detection.mp4` is camera A. Camera B is the same clip as another camera would have taken it, and
begins later: seen from another place (a projective turn and another scale), in other light (illuminant, exposure, haze)
and with fewer pixels. What changes, and how far, was written before it was run, at the strengths that the camera-shift
benchmark calls the middle. Encoder, gallery and camera worker run as processes; cameras are added and sightings listed
over their own interfaces. Who is who is told by the hand-made truth of the clip (`truth/`), in which one person at a
time is in the picture: a sighting is of the person who is there in the middle of its time.

One setting was chosen after a look at this very clip: frames are shrunk to 512 pixels for detection, since NanoDet is
half as sure of people of the height that they have at 640, on A as on B (0.2 to 0.4 against 0.7 to 0.8).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.cameras.face_truth import ClipTruth
from benchmarks.figures import Figure
from benchmarks.person.detected import frames_of
from benchmarks.person.plan import Context, figure
from benchmarks.person.shifts import MIDDLE, STRENGTHS, illuminant_gains
from benchmarks.person.truth import person_truths
from benchmarks.services import service
from tessera.client import Tessera
from tessera.client.answers import CameraStatus, Sighting, StreamOptions
from tessera.client.events import FROM_OLDEST, EventKind
from tessera.domain.embedding import Modality
from tessera.imaging.decode import Image

CLIP = "one-by-one-person-detection.mp4"
ENCODER = "person-mobilenet-1"
LATER_S = 30.0
"""So long after A camera B begins."""
RATE_HZ = 5.0
_EXPIRES_AFTER_S = 60.0
_DETECT_SIDE_PX = 512
BAR = 0.9
_B_SIZE_PX = (640, 360)
_CORNERS_MOVED = ((0.05, 0.03), (-0.02, 0.06), (-0.05, -0.04), (0.03, -0.02))
"""Where B sees A's corners, in shares of the picture's sides: a camera that hangs higher and looks from the side."""
_COMPILED_WITHIN_S, _ENDED_WITHIN_S, _SLOWEST = 90.0, 60.0, 4.0
_CAMERAS = ("a", "b")


@dataclass(frozen=True, slots=True)
class Seen:
    """One tracklet, and whose it was."""

    camera: str
    person: str
    """As the truth has it; empty: nobody was there."""
    person_id: str
    """As the gallery has it; empty: it could not tell."""
    frames: int


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the people."""

    seen: tuple[Seen, ...]
    statuses: tuple[CameraStatus, ...] = ()

    def people(self) -> list[str]:
        """Who was before both cameras."""
        return sorted({one.person for one in self.seen if one.person})

    def ids_of(self, person: str) -> set[str]:
        """The anonymous ids of somebody."""
        return {one.person_id for one in self.seen if one.person == person and one.person_id}

    def is_one(self, person: str) -> bool:
        """One id on both cameras, and nobody else under it."""
        ids = self.ids_of(person)
        cameras = {one.camera for one in self.seen if one.person == person and one.person_id}
        others = {one.person_id for one in self.seen if one.person not in ("", person)}
        return len(ids) == 1 and cameras == set(_CAMERAS) and not ids & others


def run(context: Context) -> Sequence[Figure]:
    """The figures."""
    truth = next(one for one in person_truths() if one.clip == CLIP)
    frames = context.count(truth.frames, 470)
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder) / "a.mp4", Path(folder) / "b.mp4"
        write_clips(context.videos() / CLIP, a, b, frames, truth.rate_hz)
        told = watch(a, b, truth, frames)
    return _figures(context, told, expected(truth, frames))


def expected(truth: ClipTruth, frames: int) -> list[str]:
    """Who is in the first frames of a clip."""
    return sorted({track.person for track in truth.tracks if track.spans[0][0][0] < frames})


# ---- camera B


def write_clips(clip: Path, a: Path, b: Path, frames: int, rate_hz: float) -> None:
    """Camera A's clip and camera B's, of so many frames."""
    pictures = []
    for at, picture in enumerate(frames_of(clip)):
        if at == frames:
            break
        pictures.append(picture)
    _write(a, pictures, rate_hz)
    _write(b, [as_camera_b(picture) for picture in pictures], rate_hz)


def as_camera_b(picture: Image) -> Image:
    """A frame as camera B has it: uint8 (360, 640, 3)."""
    strength = STRENGTHS[MIDDLE]
    height, width = picture.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    moved = corners + np.array(_CORNERS_MOVED, np.float32) * (width, height)
    turn = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    turned = cv2.warpPerspective(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    light = (cv2.resize(turned, _B_SIZE_PX, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0) ** 2.2
    light = light * illuminant_gains(strength.mired) * 2.0**-strength.stops
    light = light * (1 - strength.haze) + strength.haze
    return np.asarray(np.clip(light, 0, 1) ** (1 / 2.2) * 255.0 + 0.5, np.uint8)


def _write(path: Path, pictures: Sequence[Image], rate_hz: float) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=round(rate_hz))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.bit_rate = 4_000_000
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


# ---- the services


def watch(a: Path, b: Path, truth: ClipTruth, frames: int) -> Told:
    """Both cameras through running services, to the end of both."""
    with ExitStack() as stack:
        encoder = stack.enter_context(
            service(
                "encoder_svc", "TESSERA_ENCODER_", {"PERSON_ENCODER": ENCODER, "DETECT_SIDE_PX": str(_DETECT_SIDE_PX)}
            )
        )
        gallery = stack.enter_context(
            service("gallery_svc", "TESSERA_GALLERY_", {"STORE": "memory", "ENCODER": encoder.address})
        )
        addresses = {"ENCODER_ADDRESS": encoder.address, "GALLERY_ADDRESS": gallery.address}
        ingest = stack.enter_context(service("camera_ingest", "TESSERA_INGEST_", {"STORE_URL": "memory", **addresses}))
        with Tessera(gallery.address, ingest=ingest.address, encoder=encoder.address) as tessera:
            _wait_until_compiled(tessera)
            _add(tessera, "a", a)
            time.sleep(LATER_S)
            _add(tessera, "b", b)
            statuses = _ended(tessera, _SLOWEST * frames / truth.rate_hz + _ENDED_WITHIN_S)
            return Told(tuple(_seen(tessera, truth)), statuses)


def _wait_until_compiled(tessera: Tessera) -> None:
    """Until the networks run as they will: what an encoder does in its first minute is not measured here."""
    until_s = time.monotonic() + _COMPILED_WITHIN_S
    while time.monotonic() < until_s:
        if all(encoder.runtime != "eager" for encoder in tessera.encoders()):
            return
        time.sleep(1.0)


def _add(tessera: Tessera, camera_id: str, clip: Path) -> None:
    # Every frame, however busy the machine is: people are judged here, and not the machine.
    whole = StreamOptions(as_fast_as_possible=True)
    persons = [Modality.PERSON]
    tessera.add_camera(
        camera_id, str(clip), sample_rate_hz=RATE_HZ, modalities=persons, stream=whole, watch_scene=False
    )
    tessera.update_camera(camera_id, expires_after_s=_EXPIRES_AFTER_S)


def _ended(tessera: Tessera, limit_s: float) -> tuple[CameraStatus, ...]:
    """How the cameras did, once both have ended."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        statuses = tuple(camera.status for camera in tessera.cameras() if camera.status is not None)
        if all(status.state == "ENDED" and not status.active_tracklets for status in statuses):
            time.sleep(2.0)  # for the last answers
            return statuses
        time.sleep(1.0)
    raise TimeoutError(f"the cameras did not end within {limit_s:.0f} s")


def _seen(tessera: Tessera, truth: ClipTruth) -> Iterator[Seen]:
    """Every tracklet that ended, with whoever was there in the middle of its time."""
    events = list(tessera.sightings(collection_id="persons"))
    began = _began(tessera)
    for event in events:
        sighting = event.sighting
        if sighting is None:
            continue
        person_id = sighting.person.person_id if sighting.person is not None else ""
        yield Seen(
            event.camera_id, _person_at(sighting, began[event.camera_id], truth), person_id, sighting.frame_count
        )


def _began(tessera: Tessera) -> dict[str, datetime]:
    """When each camera had its first frame."""
    began: dict[str, datetime] = {}
    watch = tessera.watch(after_cursor=FROM_OLDEST, kinds=[EventKind.CAMERA])
    for event in watch:
        if event.camera_change is not None and event.camera_change.kind == "ONLINE":
            began.setdefault(event.camera_id, event.event_time)
        if len(began) == len(_CAMERAS):
            break
    watch.close()
    return began


def _person_at(sighting: Sighting, began: datetime, truth: ClipTruth) -> str:
    middle = sighting.first_seen + (sighting.last_seen - sighting.first_seen) / 2
    frame = round((middle - began).total_seconds() * truth.rate_hz)
    there = truth.boxes_at(frame)
    return next((track.person for track in truth.tracks if track.name in there), "")


# ---- the figures


def _figures(context: Context, told: Told, people: Sequence[str]) -> list[Figure]:
    one = [person for person in people if told.is_one(person)]
    share = len(one) / len(people)
    tracklets: defaultdict[str, int] = defaultdict(int)
    for seen in told.seen:
        tracklets["told" if seen.person_id else "undecided"] += 1
    ids = {seen.person_id for seen in told.seen if seen.person_id}
    frames = [f"{one.frames_encoded} of {one.frames_sampled}" for one in told.statuses]
    context.note(f"two-cameras: frames encoded {', '.join(frames)}; the others showed no motion or were skipped.")
    context.note(
        f"two-cameras: {json.dumps({person: sorted(told.ids_of(person)) for person in people})}; "
        f"{tracklets['told']} tracklets with an id, {tracklets['undecided']} without"
    )
    return [
        figure("two cameras: people with one id on both, their own", round(share, 3), "share", ">= 0.9", share >= BAR),
        figure("two cameras: people", len(people), "people"),
        figure("two cameras: anonymous ids", len(ids), "ids"),
        figure("two cameras: tracklets", len(told.seen), "tracklets"),
    ]
