"""What the SDK says of persons across cameras: frozen values without any message in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tessera.domain.calibration import Threshold
from tessera.domain.observation import Box


class BodyNameBasis(StrEnum):
    """Where a body has its name from."""

    OWN_FACE = "OWN_FACE"
    """From a face that matched and was seen on this very body."""
    BODY_LINK = "BODY_LINK"
    """From a face that matched and was seen on a body that this one looks like: no face match."""


@dataclass(frozen=True, slots=True)
class BodyName:
    """The name that a body has from a face. Nothing to open a door by."""

    collection_id: str
    """Of the face."""
    subject_id: str
    display_name: str
    basis: BodyNameBasis | None
    """None: of a kind that a later version knows."""
    face_camera_id: str
    face_seen_at: datetime | None
    face_event_id: str
    face_fpir: float
    """How often a face of somebody who is not enrolled gets such a match."""
    until: datetime | None
    """Nobody says it any longer after this moment."""
    target_fmr: float | None = None
    """Of a BODY_LINK: how often two different people may be taken for one by it."""


@dataclass(frozen=True, slots=True)
class AnonymousPerson:
    """Who a body is taken for, across cameras and for some hours; stands for nobody who is enrolled."""

    person_id: str
    until: datetime | None
    """It is told no longer after this moment, and what was kept of the sighting is erased then."""
    name: BodyName | None = None
    """None: nobody's face says who it is."""


class AppearanceBasis(StrEnum):
    """Why an appearance is shown."""

    ASKED = "ASKED"
    """It is what was asked by."""
    SAME_PERSON = "SAME_PERSON"
    """It was taken for the same person when it was seen."""
    LOOKS_ALIKE = "LOOKS_ALIKE"
    """It looks like this person, at the threshold of the answer."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """One time that a person was seen."""

    tracklet_id: str
    event_id: str
    camera_id: str
    first_seen: datetime
    last_seen: datetime
    person: AnonymousPerson | None
    basis: AppearanceBasis | None
    """None: of a kind that a later version knows."""
    box: Box | None
    zones: tuple[str, ...]
    best_shot_id: str
    """Names the picture that `Tessera.shot` fetches; empty: none is kept."""
    score: float | None
    """None unless it was asked for."""


@dataclass(frozen=True, slots=True)
class AppearancePage:
    """Where a person was, newest first."""

    appearances: tuple[Appearance, ...]
    next_page_token: str
    """Empty: this was the last page."""
    threshold: Threshold | None
    """Of one comparison by appearance."""
    looks_compared: int
    expected_false: float
    """Looks at other people that are to be expected among those shown by appearance."""
    kept_since: datetime | None
    """Nothing from before this moment is kept."""
    evidence_id: str
    """In the audit log."""


@dataclass(frozen=True, slots=True)
class ErasedPerson:
    """What went with an anonymous person."""

    looks_erased: int
    events_erased: int
    """Revisions of sightings."""
