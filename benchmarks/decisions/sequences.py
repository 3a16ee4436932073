"""Degraded sequences of faces, embedded by the service's own pipeline and kept under build/decisions.

A sequence is 5 to 8 frames of one person, each a picture of LFW (never the enrolled one) that was degraded by a seed.
Two kinds: frames of several pictures, as when somebody is seen in passing, and frames of one picture, as when somebody
stands still and only the camera's noise changes. A real tracklet lies between the two. The clips are a third kind: real
frames of two or three people, too few for a rate.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.decisions.data import ENCODER, KEPT, LabelledFaces
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodedFrame
from encoder_svc.loading import load_face_pipeline
from encoder_svc.settings import DeviceChoice, EncoderSettings
from siamese_lab.degradation import Severity, degraded_jpeg, draw_degradation
from siamese_lab.lfw import FOLDS_TAR, read_pictures
from tessera.domain.embedding import Vector, Vectors
from tessera.domain.errors import ImageRejectedError
from tessera.domain.observation import Box, Observation, Quality
from tessera.imaging.decode import Image, decode

SEED = 20261122
LEAST_PICTURES = 4
"""One is enrolled, and three or more are shown: 222 people of LFW's folds have so many."""
FRAMES = (5, 8)
VERSION = 3
"""Of what is kept: raise it when sequences are made in another way."""
CHUNK = 48
"""Sequences that are kept together: a run that was broken off goes on behind the last."""
WORKERS = 2

MEASURES = ("sharpness", "brightness", "contrast", "size", "pose", "overall", "occlusion", "fidelity")

_KEPT_FIELDS = ("sequence", "vectors", "measures", "detection", "found")

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Kind(StrEnum):
    """What the frames of a sequence share."""

    SEVERAL_PICTURES = "several pictures"
    ONE_PICTURE = "one picture"


@dataclass(frozen=True, slots=True)
class DegradedSequence:
    """One sequence, as it is made."""

    person: str
    enrolled: str
    """File name of the picture that it is compared with."""
    frames: tuple[str, ...]
    """File names, one a frame; never the enrolled one."""
    severity: Severity
    kind: Kind
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFrames:
    """What the pipeline gave for every frame of every sequence."""

    sequence: Indices
    """Shape (n,): which sequence each row belongs to."""
    vectors: Vectors
    """float32 (n, d), unit rows; 0 where no face was found."""
    measures: Floats
    """Shape (n, len(MEASURES)): fields of `Quality`; NaN for one that was not measured, 0 where no face was found."""
    detection: Floats
    """Shape (n,): detection probability."""
    found: Bools
    """Shape (n,): whether a face was found."""

    def qualities(self, rows: Indices) -> list[Quality]:
        """The quality of some frames; which measures the gate would refuse is not kept."""
        return [_quality(row) for row in self.measures[rows].tolist()]

    def overall(self) -> Floats:
        """Shape (n,): `Quality.overall`."""
        return self.measures[:, MEASURES.index("overall")]


def _quality(measures: Sequence[float]) -> Quality:
    sharpness, brightness, contrast, size, pose, overall, *may_lack = measures
    occlusion, fidelity = (None if np.isnan(level) else level for level in may_lack)
    return Quality(sharpness, brightness, contrast, size, pose, overall, occlusion=occlusion, fidelity=fidelity)


def plan_sequences(faces: LabelledFaces) -> tuple[DegradedSequence, ...]:
    """For every person with four pictures or more: one sequence of each severity, and one of a single picture."""
    rng = np.random.default_rng(SEED)
    pictures: dict[str, list[str]] = {}
    for name, person in zip(faces.names, faces.people, strict=True):
        pictures.setdefault(person, []).append(name)
    planned = []
    for person, names in sorted(pictures.items()):
        if len(names) < LEAST_PICTURES:
            continue
        order = [names[at] for at in rng.permutation(len(names))]
        for turn, (severity, kind) in enumerate(_TURNS):
            enrolled, others = order[turn % len(order)], [name for name in order if name != order[turn % len(order)]]
            others = [others[at] for at in rng.permutation(len(others))]
            shown = others[:1] if kind is Kind.ONE_PICTURE else others
            count = int(rng.integers(*FRAMES, endpoint=True))
            frames = tuple(shown[at % len(shown)] for at in range(count))
            planned.append(DegradedSequence(person, enrolled, frames, severity, kind, int(rng.integers(2**31))))
    return tuple(planned)


_TURNS = (
    (Severity.MODERATE, Kind.SEVERAL_PICTURES),
    (Severity.MILD, Kind.SEVERAL_PICTURES),
    (Severity.SEVERE, Kind.SEVERAL_PICTURES),
    (Severity.MODERATE, Kind.ONE_PICTURE),
)


def embedded_sequences(faces: LabelledFaces, planned: Sequence[DegradedSequence], kept: Path = KEPT) -> EmbeddedFrames:
    """Every frame through the pipeline; about five minutes of one core the first time."""
    folder = kept / f"sequences-{VERSION}-{faces.model_id}-{faces.data_digest[:12]}"
    files = {start: folder / f"{start:05d}-of-{len(planned)}.npz" for start in range(0, len(planned), CHUNK)}
    missing = [start for start, file in files.items() if not file.is_file()]
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        work = [pool.submit(_embed_chunk, planned[at : at + CHUNK], at, files[at]) for at in missing]
        for done in work:
            done.result()
    parts = [_read(file) for file in files.values()]
    return EmbeddedFrames(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _KEPT_FIELDS})


def _read(file: Path) -> EmbeddedFrames:
    with np.load(file, allow_pickle=False) as kept:
        return EmbeddedFrames(**{name: kept[name] for name in _KEPT_FIELDS})


def _embed_chunk(planned: Sequence[DegradedSequence], first: int, file: Path) -> None:
    wanted = {name for one in planned for name in one.frames}
    archive = read_pictures(Path(os.environ["TESSERA_DATA"]) / FOLDS_TAR)
    pictures = {picture.name: picture for picture in archive if picture.name in wanted}
    pipeline, rows = _pipeline(), []
    for at, one in enumerate(planned):
        rng = np.random.default_rng(one.seed)
        for name in one.frames:
            ills = draw_degradation(one.severity, rng)
            rows.append((first + at, _middle(pipeline, degraded_jpeg(decode(pictures[name].data), ills, rng))))
    _keep(file, _gathered(rows))


@functools.cache
def _pipeline() -> FacePipeline:
    """As the service has it: on compiled networks where this machine has compiled them before."""
    torch.set_num_threads(1)
    return load_face_pipeline(EncoderSettings(encoder=ENCODER, device=DeviceChoice.CPU, threads=1))


def _middle(pipeline: FacePipeline, data: bytes) -> Observation | None:
    try:
        seen = pipeline.run(data)
    except ImageRejectedError:
        return None
    return min(seen.observations, key=lambda observation: _off_centre(observation, seen), default=None)


def _off_centre(observation: Observation, seen: EncodedFrame) -> float:
    box = observation.box
    x_px, y_px = box.x_px + box.width_px / 2, box.y_px + box.height_px / 2
    return (x_px - seen.width_px / 2) ** 2 + (y_px - seen.height_px / 2) ** 2


def _gathered(rows: Sequence[tuple[int, Observation | None]]) -> EmbeddedFrames:
    width = next(o.embedding.vector.size for _, o in rows if o is not None and o.embedding is not None)
    nothing = np.zeros(width, np.float32)
    return EmbeddedFrames(
        sequence=np.array([at for at, _ in rows], np.intp),
        vectors=np.stack([o.embedding.vector if o and o.embedding else nothing for _, o in rows]),
        measures=np.array([_measures(o) for _, o in rows]),
        detection=np.array([o.detection_probability if o else 0.0 for _, o in rows]),
        found=np.array([o is not None and o.embedding is not None for _, o in rows]),
    )


def _measures(seen: Observation | None) -> list[float]:
    if seen is None:
        return [0.0] * len(MEASURES)
    told = [getattr(seen.quality, name) for name in MEASURES]
    return [np.nan if level is None else level for level in told]


def _keep(file: Path, frames: EmbeddedFrames) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as out:
        np.savez(out, **{name: getattr(frames, name) for name in _KEPT_FIELDS})
    part.rename(file)


# ---- the clips

CLIPS = (
    "face-demographics-walking-and-pause.gif",
    "head-pose-face-detection-female.gif",
    "head-pose-face-detection-male.gif",
)


CLIP_FRAMES = 6
CLIP_SEQUENCES = 8
"""Of each person, each of another stretch of the clip."""
CLIP_SEVERITY = Severity.MODERATE
"""Faces of 43 to 75 px become 15 to 45 px."""

_SAME_FACE_IOU = 0.3
_FACE_SHARE = 0.45
"""Of the height that is cut out around a face; as in LFW's pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipFace:
    """One person's face in one frame of a clip."""

    frame: int
    observation: Observation
    around: Image
    """The face and what is around it."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipPerson:
    """One person of a clip, with sequences of degraded frames of the same tracklet."""

    name: str
    enrolled: Vector
    """Of the frame of the best quality in the tracklet's first quarter, as it is."""
    frames: EmbeddedFrames
    """Of the later three quarters, degraded."""


def clip_people() -> Iterator[ClipPerson]:
    """Everybody in the clips who is followed through at least half of one."""
    pipeline = _pipeline()
    for clip in CLIPS:
        images = list(_clip_frames(clip))
        tracklets = [track for track in _follow(pipeline, images) if len(track) >= len(images) / 2]
        for at, track in enumerate(tracklets):
            yield _clip_person(pipeline, f"{clip.removesuffix('.gif')} {at + 1}", track)


def _clip_frames(clip: str) -> Iterator[Image]:
    with av.open(str(Path(os.environ["TESSERA_DATA"]) / "videos" / clip)) as file:
        for frame in file.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def _follow(pipeline: FacePipeline, images: Sequence[Image]) -> list[list[ClipFace]]:
    tracks: list[list[ClipFace]] = []
    for at, image in enumerate(images):
        _, data = cv2.imencode(".png", image)
        for observation in pipeline.run(bytes(data)).observations:
            face = ClipFace(at, observation, _around(image, observation.box))
            near = [t for t in tracks if t[-1].observation.box.iou(observation.box) > _SAME_FACE_IOU]
            if near:
                near[0].append(face)
            else:
                tracks.append([face])
    return tracks


def _around(image: Image, box: Box) -> Image:
    half_px = box.height_px / _FACE_SHARE / 2
    x_px, y_px = box.x_px + box.width_px / 2, box.y_px + box.height_px / 2
    left, right = max(0, round(x_px - half_px)), min(image.shape[1], round(x_px + half_px))
    top, bottom = max(0, round(y_px - half_px)), min(image.shape[0], round(y_px + half_px))
    return np.ascontiguousarray(image[top:bottom, left:right])


def _clip_person(pipeline: FacePipeline, name: str, track: Sequence[ClipFace]) -> ClipPerson:
    rng = np.random.default_rng(SEED)
    quarter = len(track) // 4
    best = max(track[:quarter], key=lambda face: face.observation.quality.overall)
    rows = []
    for at, start in enumerate(np.linspace(quarter, len(track) - CLIP_FRAMES, CLIP_SEQUENCES).astype(int)):
        for face in track[start : start + CLIP_FRAMES]:
            ills = draw_degradation(CLIP_SEVERITY, rng)
            rows.append((at, _middle(pipeline, degraded_jpeg(face.around, ills, rng))))
    embedding = best.observation.embedding
    assert embedding is not None
    return ClipPerson(name, embedding.vector, _gathered(rows))
