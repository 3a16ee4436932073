"""The same unknown person on several cameras: sightings that look alike carry one anonymous link id, for some hours.

Two tracklets are linked when the embedding of one is as like any look of the other as a stated error rate asks for: of
newcomers who were not seen before, at most so many are taken for somebody who was, however many there are to compare
with. Two people whom one camera sees at once are two. What is remembered (one embedding a tracklet) is in this
process's memory alone, for as long as the retention says; nothing of it is written. Stands for nobody who is enrolled:
whoever is recognised after all leaves.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.client.stream_values import TrackletUpdate
from tessera.domain.embedding import Embedding, Vector
from tessera.domain.errors import CalibrationTooSmallError, NoCalibrationError
from tessera.domain.ids import CameraId, CollectionId, ModelId, TrackletId

MAX_LOOKS = 4096
"""Tracklets of unknown people that are remembered; the one that was seen longest ago is forgotten for the next."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """When tracklets are linked."""

    target_rate: float = 0.01
    """Of newcomers, so many may be taken for somebody who was seen before; in (0, 1)."""
    retention_s: float = 8 * 3600.0
    """So long after an unknown person was seen last he may be linked with; 0: nobody is linked."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a sighting of an unknown person says of others."""

    link_id: str
    until: datetime
    """It is told no longer after this moment."""


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    link_id: str
    tracklet_id: TrackletId
    collection_id: CollectionId
    camera_id: CameraId
    model_id: ModelId
    first_seen: datetime
    last_seen: datetime
    kept_s: float
    vector: Vector


class Links:
    """Links the tracklets of unknown people.

    Args:
        settings: when.
        thresholds: the error rates.
        clock: for the retention.
        metrics: where it counts.
    """

    def __init__(self, settings: LinkSettings, thresholds: Thresholds, clock: Clock, metrics: GalleryMetrics) -> None:
        self._settings = settings
        self._thresholds = thresholds
        self._clock = clock
        self._metrics = metrics
        self._looks: OrderedDict[TrackletId, _Look] = OrderedDict()

    def link(self, update: TrackletUpdate, probe: Embedding, *, allow_extrapolation: bool) -> Link | None:
        """The link of a tracklet that is UNKNOWN; None where nobody is linked.

        A tracklet keeps the link that it has, unless it is alone in it and now looks like somebody else: so the end of
        a tracklet, when it is known best, may join it to others, and nothing takes it away from them again.

        Args:
            update: of the tracklet.
            probe: its samples, joined.
            allow_extrapolation: as the collection's policy says.
        """
        if self._settings.retention_s <= 0:
            return None
        self._forget_old()
        look = self._look(update, probe)
        before = self._looks.pop(update.tracklet_id, None)
        if before is not None and any(other.link_id == before.link_id for other in self._looks.values()):
            look = replace(look, link_id=before.link_id)
        else:
            link_id, result = self._found(look, allow_extrapolation=allow_extrapolation), "LINKED"
            if link_id is None:
                link_id, result = (before.link_id if before is not None else _new_link_id()), "NEW"
            if before is None or result == "LINKED":
                self._metrics.links.labels(result).inc()
            look = replace(look, link_id=link_id)
        self._looks[update.tracklet_id] = look
        while len(self._looks) > MAX_LOOKS:
            self._looks.popitem(last=False)
        return Link(look.link_id, self._clock.now() + timedelta(seconds=self._settings.retention_s))

    def forget(self, tracklet_id: TrackletId) -> None:
        """A tracklet is not UNKNOWN any more: it stands for nobody."""
        self._looks.pop(tracklet_id, None)

    def _look(self, update: TrackletUpdate, probe: Embedding) -> _Look:
        return _Look(
            "",
            update.tracklet_id,
            update.collection_id,
            update.camera_id,
            probe.model_id,
            update.first_seen,
            update.last_seen,
            self._clock.monotonic_s(),
            probe.vector,
        )

    def _found(self, look: _Look, *, allow_extrapolation: bool) -> str | None:
        """The link of whoever looks most like this, if alike enough for as many as are compared."""
        apart = {other.link_id for other in self._looks.values() if _at_once(look, other)}
        others = [
            other
            for other in reversed(self._looks.values())
            if (other.collection_id, other.model_id) == (look.collection_id, look.model_id)
            and other.link_id not in apart
        ]
        # Fewer, the newest, where the calibration does not carry the rate for all of them.
        while others:
            try:
                threshold = self._thresholds.for_comparison(
                    look.model_id,
                    self._settings.target_rate,
                    templates=len(others),
                    allow_extrapolation=allow_extrapolation,
                )
            except CalibrationTooSmallError:
                others = others[: len(others) // 2]
                continue
            except NoCalibrationError:
                return None
            scores = np.stack([other.vector for other in others]) @ look.vector
            best = int(np.argmax(scores))
            return others[best].link_id if float(scores[best]) >= threshold.score else None
        return None

    def _forget_old(self) -> None:
        latest_s = self._clock.monotonic_s() - self._settings.retention_s
        for key in [key for key, look in self._looks.items() if look.kept_s < latest_s]:
            del self._looks[key]


def _at_once(one: _Look, other: _Look) -> bool:
    """Whether one camera saw both at the same time: then they are two people."""
    same_camera = (one.collection_id, one.camera_id) == (other.collection_id, other.camera_id)
    return same_camera and one.first_seen <= other.last_seen and other.first_seen <= one.last_seen


def _new_link_id() -> str:
    return f"link-{secrets.token_hex(8)}"
