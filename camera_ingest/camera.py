"""A camera as somebody set it up, and how it does: values only, with their text for the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from camera_ingest.looking.scene import SceneState
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.stream_clock import ClockReport
from camera_ingest.sources.url import SourceKind, parse_url
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, StoreCorruptError
from tessera.domain.ids import CameraId, CollectionId, checked_id
from tessera.domain.observation import Box
from tessera.domain.reasons import Reason

SCHEMA = 1
DEFAULT_COLLECTION = CollectionId("default")
MAX_SAMPLE_RATE_HZ = 30.0
MAX_EXPIRES_AFTER_S = 60.0
_WATCHED = frozenset({Modality.FACE, Modality.PERSON})
_FIRST_FIELDS = frozenset(
    {
        "camera_id",
        "url",
        "sample_rate_hz",
        "collection_id",
        "modalities",
        "expires_after_s",
        "zones",
        "min_side_px",
        "labels",
        "enabled",
        "loop",
    }
)
"""Of the first version, whose workers ask for each of them."""
_MAX_LABELS = 64
_MAX_LABEL_CHARACTERS = 256
MAX_ZONES = 32
_MAX_CORNERS = 64
_MAX_ZONE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon in the picture: a place with a name, or one that is not looked at."""

    name: str
    """Empty only where it is masked."""
    corners: tuple[tuple[float, float], ...]
    """(x, y) in fractions of width and height."""
    masked: bool

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        named = len(self.name) <= _MAX_ZONE_CHARACTERS and (self.masked or bool(self.name.strip()))
        _require(named, "zones.name", self.name, "1 to 64 characters; may be empty for a mask")
        fits = 3 <= len(self.corners) <= _MAX_CORNERS
        inside = all(0.0 <= side <= 1.0 for corner in self.corners for side in corner)
        _require(fits and inside, "zones.corners", self.corners, "3 to 64 of x, y in [0, 1]")


@dataclass(frozen=True, slots=True)
class Camera:
    """What to watch, and how."""

    camera_id: CameraId
    url: str
    """With its credentials: never log it, show `shown_url`."""
    sample_rate_hz: float = 5.0
    """In (0, 30]."""
    collection_id: CollectionId = DEFAULT_COLLECTION
    """Where its people are looked for."""
    modalities: tuple[Modality, ...] = (Modality.FACE,)
    """What is looked for: FACE, PERSON or both."""
    expires_after_s: float = 1.0
    """A frame older than this is of no use; in (0, 60]."""
    zones: tuple[Zone, ...] = ()
    min_side_px: int = 0
    """Smallest face that is worth an embedding."""
    labels: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    loop: bool = False
    """Files and folders start again at their end."""
    stream: StreamOptions = field(default_factory=StreamOptions)
    """How it is read."""
    motion_gate: bool = True
    """Frames in which nothing moves are not encoded."""
    only_zones: bool = False
    """What lies in no zone is not looked at."""
    watch_scene: bool = True
    """Covered, defocused and moved cameras are told, and things left and taken."""
    person_collection_id: CollectionId = DEFAULT_COLLECTIONS[Modality.PERSON]
    """Where persons are looked for, where they are."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        checked_id("camera_id", self.camera_id)
        checked_id("collection_id", self.collection_id)
        parse_url(self.url)
        if self.stream.sub_stream_url:
            parse_url(self.stream.sub_stream_url, "stream.sub_stream_url")
        is_fast, is_file = self.stream.as_fast_as_possible, parse_url(self.url).kind is SourceKind.FILE
        _require(is_file or not is_fast, "stream.as_fast_as_possible", is_fast, "true only for files")
        _require(0 < self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ, "sample_rate_hz", self.sample_rate_hz, "in (0, 30]")
        expiry_s = self.expires_after_s
        _require(0 < expiry_s <= MAX_EXPIRES_AFTER_S, "expires_after", expiry_s, "more than 0 s, at most 60 s")
        is_watched = set(self.modalities) <= _WATCHED and 0 < len(set(self.modalities)) == len(self.modalities)
        _require(is_watched, "modalities", self.modalities, "FACE, PERSON, or both, each once")
        checked_id("person_collection_id", self.person_collection_id)
        _require(0 <= self.min_side_px <= 10_000, "min_side_px", self.min_side_px, "0 to 10000")
        _require(len(self.zones) <= MAX_ZONES, "zones", len(self.zones), f"at most {MAX_ZONES}")
        has_zone = any(not zone.masked for zone in self.zones)
        _require(
            has_zone or not self.only_zones, "only_zones", self.only_zones, "true only with a zone that is not masked"
        )
        short = all(len(text) <= _MAX_LABEL_CHARACTERS for pair in self.labels.items() for text in pair)
        _require(short and len(self.labels) <= _MAX_LABELS, "labels", len(self.labels), "64 of at most 256 characters")

    def collection_for(self, modality: Modality) -> CollectionId:
        """Where those of a modality are looked for."""
        return self.person_collection_id if modality is Modality.PERSON else self.collection_id

    @property
    def shown_url(self) -> str:
        """The URL without credentials."""
        return parse_url(self.url).shown

    @property
    def shown_sub_stream_url(self) -> str:
        """The smaller stream's URL without credentials; empty: there is none."""
        return parse_url(self.stream.sub_stream_url).shown if self.stream.sub_stream_url else ""


class CameraState(StrEnum):
    """How a camera does."""

    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    LOST = "LOST"
    """No frame; it is being tried again."""
    FROZEN = "FROZEN"
    """Frames come and are all the same."""
    DISABLED = "DISABLED"
    ENDED = "ENDED"
    """A file or a folder that came to its end."""
    WAITING = "WAITING"
    """Enabled, and no worker watches it."""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One look at a camera."""

    camera_id: CameraId
    state: CameraState
    detail: str
    """What the source said last, without credentials; empty while all is well."""
    state_since: datetime | None
    """None: nobody has watched it since this process began."""
    last_frame_time: datetime | None
    frames_sampled: int
    frames_encoded: int
    frames_skipped: int
    frames_expired: int
    frames_failed: int
    frames_in_flight: int
    width_px: int
    height_px: int
    latency_s: float | None
    """From capture to the encoder's answer, newest frame."""
    active_tracklets: int
    reconnects: int
    skip_counts: Mapping[Reason, int]
    sample_rate_hz: float
    """Frames a second that are looked at now; below the camera's own while the encoder has no room."""
    scene: SceneState = SceneState.UNWATCHED
    worker_address: str = ""
    """host:port of the worker that watches it; empty: none does."""
    lease_token: int = 0
    """Of the lease that it is watched under; 0: none."""
    clock: ClockReport | None = None
    """Where its capture times come from; None before the first frame."""
    quarantined_pictures: int = 0
    """Held back since they crashed whoever looked at them."""


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """Something that happened to a camera, to be told to the world once."""

    event_id: str
    """Made once, and the same in each attempt to publish it."""
    camera_id: CameraId
    event_time: datetime
    state: CameraState
    detail: str
    lease_token: int = 0
    """Of the lease that the camera was watched under."""
    kind: CameraEventKind | None = None
    """None: the camera entered its state, and that is all."""
    regions: tuple[Box, ...] = ()
    """Where in the picture, for scene changes; in pixels."""
    probability: float | None = None
    """How clear the evidence was, for scene changes."""
    clip_id: str = ""
    """Of the clip around it; empty: none is kept."""

    @property
    def told_as(self) -> CameraEventKind:
        """What the world hears."""
        return self.kind or CameraEventKind(self.state.value)


def idle_status(camera: Camera, state: CameraState, detail: str) -> CameraStatus:
    """How a camera does that is not watched."""
    return CameraStatus(
        camera_id=camera.camera_id,
        state=state,
        detail=detail,
        state_since=None,
        last_frame_time=None,
        frames_sampled=0,
        frames_encoded=0,
        frames_skipped=0,
        frames_expired=0,
        frames_failed=0,
        frames_in_flight=0,
        width_px=0,
        height_px=0,
        latency_s=None,
        active_tracklets=0,
        reconnects=0,
        skip_counts={},
        sample_rate_hz=0.0,
    )


def dump_camera(camera: Camera) -> str:
    """A camera as JSON that `load_camera` reads. Holds its credentials, if its URL does.

    What came with a later version is written only where it is used, so that an older worker still reads the others.
    """
    values = {name: value for name, value in asdict(camera).items() if name in _FIRST_FIELDS or _is_set(camera, name)}
    return json.dumps({"schema": SCHEMA, **values}, sort_keys=True)


def load_camera(text: str, key: str) -> Camera:
    """Read a camera.

    Args:
        text: what `dump_camera` wrote, in this version or an older one.
        key: where it was kept, for the error.

    Raises:
        StoreCorruptError: it is not a camera, or uses what only a newer version knows: to be left alone.
    """
    try:
        return _parse(json.loads(text))
    except (InvalidInputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreCorruptError(key, f"not a camera of schema {SCHEMA}: {type(error).__name__}") from error


def _parse(raw: Mapping[str, Any]) -> Camera:
    if raw["schema"] != SCHEMA:
        raise ValueError(f"schema {raw['schema']!r}")
    values = {name: value for name, value in raw.items() if name != "schema"}
    if values.keys() - Camera.__dataclass_fields__.keys():
        raise ValueError("fields of a newer version")
    values["modalities"] = tuple(Modality(name) for name in values["modalities"])
    values["zones"] = tuple(
        Zone(zone["name"], tuple((x, y) for x, y in zone["corners"]), zone["masked"]) for zone in values["zones"]
    )
    if "stream" in values:
        values["stream"] = StreamOptions(**{**values["stream"], "transport": Transport(values["stream"]["transport"])})
    return Camera(**values)


def _is_set(camera: Camera, name: str) -> bool:
    return bool(getattr(camera, name) != _default(Camera.__dataclass_fields__[name]))


def _default(of: Field[Any]) -> Any:  # noqa: ANN401 - of whichever type the field has
    return of.default_factory() if of.default_factory is not MISSING else of.default


def _require(condition: bool, field: str, value: object, allowed: str) -> None:
    if not condition:
        raise InvalidInputError(field, value, allowed)
