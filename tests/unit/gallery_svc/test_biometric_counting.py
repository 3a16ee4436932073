"""What is counted of decisions: by group of cameras, near a threshold or not, and drifting or not."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.biometrics import LOOK_EVERY, Biometrics
from gallery_svc.camera_groups import CameraGroups
from gallery_svc.ids import made_at, time_ordered_id
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import shipped_thresholds
from tessera.chassis.clock import SystemClock
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Candidate, decide_identification, decide_verification
from tessera.domain.drift import LEAST_SCORES
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import SubjectId, TemplateId

THRESHOLDS = shipped_thresholds()
MODEL = THRESHOLDS.default_model(Modality.FACE)
TOO_MANY = ",".join(f"g{number}=c{number}" for number in range(33))
GROUPS = CameraGroups.parse("entrance=door-*, yard=yard-?")
ONE = {"modality": "FACE", "camera_group": "entrance"}


class _World:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.biometrics = Biometrics(GalleryMetrics(self.registry), THRESHOLDS, GROUPS, SystemClock())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def claims(self, scores: np.ndarray[tuple[int], np.dtype[np.float64]], templates: int = 1) -> None:
        threshold = claimed(templates)
        for score in scores:
            self.biometrics.decided("Verify", decide_verification(float(score), threshold), "door-1")


def claimed(templates: int = 1) -> Threshold:
    return THRESHOLDS.for_comparison(MODEL, 1e-4, templates=templates)


def mated(count: int, shift: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Scores at or above the threshold, spread as the calibration has them, moved by so much."""
    points = THRESHOLDS.calibration(MODEL).points
    below = np.array([0.0, *(point.fnmr for point in points), 1.0])
    scores = np.array([-0.1, *(point.threshold for point in points), 1.0])
    drawn = np.interp(np.random.default_rng(7).random(3 * count), below, scores) + shift
    return drawn[drawn >= claimed().score][:count]


def test_drift_is_told_from_five_hundred_scores_on() -> None:
    """Below that it is NaN; without drift it is small; after 0.3 sigma it is over the alarm's 0.05."""
    world = _World()
    world.claims(mated(LEAST_SCORES - LOOK_EVERY))
    assert math.isnan(world.value("tessera_gallery_score_drift_psi", **ONE) or 0.0)
    world.claims(mated(2 * LOOK_EVERY))
    quiet = world.value("tessera_gallery_score_drift_psi", **ONE)
    assert quiet is not None
    assert quiet < 0.045
    world.claims(mated(1000, shift=-0.3 * 0.12))
    drifted = world.value("tessera_gallery_score_drift_psi", **ONE)
    assert drifted is not None
    assert drifted > 0.05
    assert world.value("tessera_gallery_score_drift_scores", **ONE) == 1000


def test_only_scores_that_a_calibration_knows_are_looked_at() -> None:
    """The best of several templates, a search and a claim that failed say nothing of drift."""
    world = _World()
    world.claims(np.full(40, 0.9), templates=3)
    world.claims(np.full(40, 0.1))
    searched = decide_identification(Candidate(SubjectId("ada"), 0.9), THRESHOLDS.for_search(MODEL, 1e-2, 10))
    world.biometrics.decided("Identify", searched, "door-1")
    assert world.value("tessera_gallery_score_drift_scores", **ONE) is None
    world.claims(np.full(1, 0.9))
    assert world.value("tessera_gallery_score_drift_scores", **ONE) == 1


def test_near_is_within_ten_times_the_rate() -> None:
    """Just above and just below the threshold are near; a clear match and a clear stranger are not."""
    world, threshold = _World(), claimed()
    world.claims(np.array([threshold.score + 0.01, threshold.score - 0.01, 0.8, 0.0]))
    assert world.value("tessera_gallery_near_threshold_total", **ONE, near="yes") == 2
    assert world.value("tessera_gallery_near_threshold_total", **ONE, near="no") == 2
    assert world.value("tessera_gallery_scores_count", **ONE, question="claim") == 4


def test_the_age_of_the_template_of_a_match_is_told() -> None:
    """From the id of the template; an id from elsewhere has no age, and a claim that failed rests on no template."""
    world, threshold = _World(), claimed()
    old = TemplateId(time_ordered_id("template", datetime(2020, 1, 1, tzinfo=UTC)))
    for score, template in ((0.9, old), (0.9, TemplateId("brought-along")), (0.0, old)):
        world.biometrics.decided("Verify", decide_verification(score, threshold), "", template)
    assert world.value("tessera_gallery_matched_template_age_seconds_count", modality="FACE") == 1
    years = (world.value("tessera_gallery_matched_template_age_seconds_sum", modality="FACE") or 0.0) / (365 * 86400)
    assert years > 5


def test_when_a_calibration_was_measured_is_told() -> None:
    """Of each that decides, by its model and impostors."""
    world = _World()
    world.biometrics.show_calibrations()
    told = world.value(
        "tessera_gallery_calibration_created_timestamp_seconds", modality="FACE", model_id=MODEL, impostors="RANDOM"
    )
    assert told == datetime(2026, 11, 22, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("camera", "group"), [("door-7", "entrance"), ("yard-1", "yard"), ("yard-12", "other"), ("", "none")]
)
def test_the_first_pattern_that_fits_names_the_group(camera: str, group: str) -> None:
    """A camera that no pattern fits is in `other`; a question of no camera in `none`."""
    assert GROUPS.of(camera) == group


@pytest.mark.parametrize(
    "text",
    ["entrance", "=door-*", "entrance=", "a b=x", TOO_MANY],
    ids=["no pattern", "no group", "empty pattern", "a space", "too many"],
)
def test_groups_that_cannot_be_read_are_refused(text: str) -> None:
    """The error names the field and what is allowed."""
    with pytest.raises(InvalidInputError, match="camera_groups"):
        CameraGroups.parse(text)


def test_a_made_id_knows_when_it_was_made() -> None:
    """To the millisecond; other ids do not."""
    at = datetime(2026, 11, 23, 8, 0, 0, 123000, tzinfo=UTC)
    assert made_at(time_ordered_id("template", at)) == at
    assert made_at("template-of-mine") is None
