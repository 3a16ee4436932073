"""How well unknown people are linked across cameras: at the rate that is stated, and on the clips.

    TESSERA_DATA=DIR make bench-cameras ARGS="linking"

People of LFW pass one camera in one picture and another in a second, in an order drawn at random; the gallery's own
links decide, at their default rate, through the shipped calibration. That calibration was fitted on pictures of the
same collection, so that the rate that is found says that the arithmetic holds, not that every place is like LFW. A
tracklet of real frames is better than one picture: whom a single picture does not link, several may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.cameras.face_truth import load_all
from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.tracking import OPTIONS, RATE_HZ, plain_pipeline, sampled
from benchmarks.figures import Figure
from benchmarks.services import data_folder
from encoder_svc.faces.pipeline import FacePipeline
from gallery_svc.linking import Links, LinkSettings
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import shipped_thresholds
from siamese_lab.lfw import FOLDS_TAR, read_pictures
from tessera.chassis.clock import ManualClock
from tessera.client.stream_values import TrackletUpdate
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ImageRejectedError
from tessera.domain.fusion import FrameFusion, join_frames
from tessera.domain.ids import CameraId, CollectionId, TrackletId
from tessera.domain.observation import Box, Observation

SEED, PEOPLE = 8, 300
_START = datetime(2026, 1, 1, tzinfo=UTC)
_CLIPS = ("face-demographics", "head-pose")
"""Those whose faces are good enough for an UNKNOWN."""


@dataclass(slots=True)
class Tally:
    """What became of sightings."""

    newcomers: int = 0
    newcomers_linked: int = 0
    returned: int = 0
    linked_right: int = 0
    linked_wrong: int = 0


class Passing:
    """People who pass cameras, one after the other, before one gallery's links."""

    def __init__(self) -> None:
        self._clock = ManualClock(_START)
        metrics = GalleryMetrics(CollectorRegistry())
        self._links = Links(LinkSettings(), shipped_thresholds(), self._clock, metrics)
        self._link_of: dict[str, str] = {}
        self._passed = 0
        self._camera = ""
        self.tally = Tally()

    def take(self, person: str, probe: Embedding, camera: str) -> None:
        """Somebody passes; people of one clip pass its camera together."""
        self._passed += 1
        if camera != self._camera:
            self._clock.advance(60.0)
        self._camera = camera
        now = self._clock.now()
        update = TrackletUpdate(
            camera_id=CameraId(camera),
            collection_id=CollectionId("default"),
            tracklet_id=TrackletId(f"t{self._passed}"),
            sequence=1,
            samples=(),
            first_seen=now - timedelta(seconds=5),
            last_seen=now,
            box=Box(0, 0, 1, 1),
            frame_count=5,
            ended=True,
        )
        link = self._links.link(update, probe, allow_extrapolation=False)
        self._count(person, link.link_id if link is not None else "")

    def _count(self, person: str, link_id: str) -> None:
        known, tally = set(self._link_of.values()), self.tally
        if person not in self._link_of:
            tally.newcomers += 1
            tally.newcomers_linked += link_id in known
            self._link_of[person] = link_id
            return
        tally.returned += 1
        tally.linked_right += link_id == self._link_of[person]
        tally.linked_wrong += link_id != self._link_of[person] and link_id in known


def run(context: Context) -> Sequence[Figure]:
    """Link people of LFW, and those of the clips."""
    pipeline = plain_pipeline()
    crowd, clips = Passing(), Passing()
    for person, probe, camera in _lfw(pipeline, context.count(PEOPLE, 30)):
        crowd.take(person, probe, camera)
    for person, probe, camera in _people_of_clips(pipeline):
        clips.take(person, probe, camera)
    return [*_crowd_figures(crowd.tally), *_clip_figures(clips.tally)]


def _crowd_figures(tally: Tally) -> Iterator[Figure]:
    rate = LinkSettings().target_rate
    share = tally.newcomers_linked / max(tally.newcomers, 1)
    told = f"{tally.newcomers_linked} of {tally.newcomers}"
    yield figure("newcomers of LFW who are linked with somebody", told, "people", f"at most {rate:g}", share <= rate)
    yield figure("people of LFW who come back and are linked", f"{tally.linked_right} of {tally.returned}", "people")
    yield figure("people of LFW who come back and are linked with another", tally.linked_wrong, "people")


def _clip_figures(tally: Tally) -> Iterator[Figure]:
    told = f"{tally.linked_right} of {tally.returned}"
    yield figure(
        "people of the clips who come back and are linked", told, "people", "all", tally.linked_right == tally.returned
    )
    wrong = tally.linked_wrong + tally.newcomers_linked
    yield figure("people of the clips who are linked with another", wrong, "people", "none", wrong == 0)


def _lfw(pipeline: FacePipeline, people: int) -> Iterator[tuple[str, Embedding, str]]:
    """(person, embedding, camera) of pictures that are good enough for an UNKNOWN, in an order drawn at random; each
    picture has a camera of its own, so that nothing but the embedding speaks."""
    by_person: dict[str, list[bytes]] = {}
    for picture in sorted(read_pictures(data_folder() / FOLDS_TAR), key=lambda picture: picture.name):
        by_person.setdefault(picture.person, []).append(picture.data)
    rng = np.random.default_rng(SEED)
    twice = [person for person in sorted(by_person) if len(by_person[person]) > 1]
    chosen = [twice[at] for at in rng.permutation(len(twice))[:people]]
    looks = [(person, by_person[person][look], look) for look in (0, 1) for person in chosen]
    moments = np.concatenate([rng.uniform(0, 1, len(chosen)), rng.uniform(0.5, 1.5, len(chosen))])
    # The second picture of somebody never passes before the first.
    moments[len(chosen) :] = np.maximum(moments[len(chosen) :], moments[: len(chosen)] + 1e-6)
    for at in np.argsort(moments):
        person, data, look = looks[at]
        seen = _good(pipeline, data)
        if seen is not None and seen.embedding is not None:
            yield person, seen.embedding, f"camera-{look}-{at}"


def _good(pipeline: FacePipeline, data: bytes) -> Observation | None:
    try:
        observations = pipeline.run(data).observations
    except ImageRejectedError:
        return None
    return next((seen for seen in observations if not seen.quality.reasons), None)


def _people_of_clips(pipeline: FacePipeline) -> Iterator[tuple[str, Embedding, str]]:
    """(person, embedding, camera) of each track: its samples joined as the gallery joins them."""
    for truth in load_all():
        if not truth.clip.startswith(_CLIPS):
            continue
        seen: dict[str, list[Observation]] = {track.name: [] for track in truth.tracks}
        for number, _, jpeg in sampled(data_folder() / "videos" / truth.clip, RATE_HZ):
            observations = pipeline.run(jpeg, replace(OPTIONS, min_embedded_probability=0.0)).observations
            for name, box in truth.boxes_at(number).items():
                nearest = max(observations, key=lambda one: one.box.iou(box), default=None)
                if nearest is not None and nearest.box.iou(box) > 0.3 and nearest.embedding is not None:
                    seen[name].append(nearest)
        for track in truth.tracks:
            looks = sorted(seen[track.name], key=lambda one: -one.quality.overall)[:16]
            embeddings = [one.embedding for one in looks if one.embedding is not None]
            probe = join_frames(embeddings, [one.quality for one in looks], FrameFusion.QUALITY_WEIGHTED_MEAN)
            yield track.person, probe, truth.clip
