"""Counts what decisions rest on, after they are made: it judges nothing, and keeps scores only to see them drift.

Drift is told of mated scores alone that a calibration knows: a claim that matched, with one template. Searches, fused
tracklets and the best of several templates score higher than what was measured, and would drift for ever.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime

from gallery_svc.camera_groups import CameraGroups
from gallery_svc.ids import made_at
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.domain.calibration import Calibration, Threshold
from tessera.domain.decision import Decision, Outcome
from tessera.domain.drift import LEAST_SCORES, mated_bins
from tessera.domain.errors import InvalidInputError, NoCalibrationError
from tessera.domain.ids import ModelId, TemplateId
from tessera.domain.observation import Quality

NEWEST_SCORES = 1000
LOOK_EVERY = 25
"""Scores between two looks at the drift."""
NEAR = 10.0
"""A score is near the threshold while its FMR is within so many times of the threshold's."""
QUESTIONS = {"Verify": "claim", "Compare": "claim", "Identify": "search", "tracklet": "tracklet"}
UNKNOWN_MODEL = "unknown"


class ScoreWindow:
    """The newest mated scores of one calibration."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._scores: deque[tuple[float, float]] = deque(maxlen=NEWEST_SCORES)
        self._since_look = 0

    def __len__(self) -> int:
        return len(self._scores)

    def add(self, score: float, threshold: float) -> bool:
        """Keep a score and what it had to reach; True when it is time to look."""
        self._scores.append((score, threshold))
        self._since_look = (self._since_look + 1) % LOOK_EVERY
        return self._since_look == 0

    def psi(self) -> float:
        """How far the scores are from the calibration's; NaN: too few."""
        if len(self._scores) < LEAST_SCORES:
            return math.nan
        bins = mated_bins(self.calibration, max(threshold for _, threshold in self._scores))
        return bins.psi([score for score, _ in self._scores]) if bins is not None else math.nan


class Biometrics:
    """Counts decisions, scores and qualities.

    Args:
        metrics: where.
        thresholds: know the calibrations that decide.
        groups: of cameras.
        clock: for the age of templates.
    """

    def __init__(self, metrics: GalleryMetrics, thresholds: Thresholds, groups: CameraGroups, clock: Clock) -> None:
        self._metrics = metrics
        self._thresholds = thresholds
        self._groups = groups
        self._clock = clock
        self._windows: dict[tuple[str, str], ScoreWindow] = {}
        self._shown: tuple[Calibration, ...] = ()

    def decided(
        self, method: str, decision: Decision, camera_id: str = "", template_id: TemplateId | None = None
    ) -> None:
        """Count one answer.

        Args:
            method: such as `Verify`, or `tracklet`.
            decision: the answer.
            camera_id: that asked; empty: none did.
            template_id: that a match rests on; None: not known, or the best of several.
        """
        self._metrics.decided.of(method.lower(), decision.outcome.value).inc()
        if decision.outcome is Outcome.INCONCLUSIVE:
            self._metrics.inconclusive.labels(method.lower(), decision.reasons[0].value).inc()
        if decision.score is not None and decision.threshold is not None:
            self._scored(method, decision.score, decision.threshold, self._groups.of(camera_id))
            if decision.outcome is Outcome.MATCH:
                self._matched(method, decision.score, decision.threshold, camera_id)
                self._aged(decision.threshold.model_id, template_id)

    def acquired(self, model_id: ModelId, purpose: str, qualities: list[Quality]) -> None:
        """Count one picture that was to be decided or enrolled, with the quality of each sample in it."""
        modality = self._modality(model_id)
        for word, counts in (("yes", bool(qualities)), ("no", not qualities)):
            self._metrics.probes.labels(modality, purpose, word).inc(int(counts))
        for quality in qualities:
            self._metrics.quality.labels(modality, self._groups.of(""), purpose).observe(quality.overall)

    def seen(self, model_id: ModelId, camera_id: str, quality: Quality) -> None:
        """Count the quality of one sample of a tracklet."""
        labels = self._modality(model_id), self._groups.of(camera_id), "tracklet"
        self._metrics.quality.labels(*labels).observe(quality.overall)

    def show_calibrations(self) -> None:
        """Tell when the calibrations that decide were measured."""
        deciding = self._thresholds.deciding()
        if deciding == self._shown:
            return
        self._shown = deciding
        self._metrics.calibration_created.clear()
        for one in deciding:
            labels = one.modality.value, one.model_id, one.impostors.value
            self._metrics.calibration_created.labels(*labels).set(_created_s(one))

    # ---- inside

    def _scored(self, method: str, score: float, threshold: Threshold, group: str) -> None:
        modality = self._modality(threshold.model_id)
        self._metrics.scores.labels(modality, group, QUESTIONS.get(method, method.lower())).observe(score)
        calibration = self._calibration(threshold)
        if calibration is not None:
            times = calibration.fmr_at(score) / calibration.fmr_at(threshold.score)
            is_near = 1.0 / NEAR <= times <= NEAR
            for word, counts in (("yes", is_near), ("no", not is_near)):  # both are there: a share is 0 and not nothing
                self._metrics.near_threshold.labels(modality, group, word).inc(int(counts))

    def _matched(self, method: str, score: float, threshold: Threshold, camera_id: str) -> None:
        """Keep a score that the calibration knows the like of: of one probe with one template."""
        if QUESTIONS.get(method) != "claim" or threshold.templates != 1:
            return
        where = self._modality(threshold.model_id), self._groups.of(camera_id)
        window = self._window(where, threshold)
        if window is None:
            return
        if window.add(score, threshold.score):
            self._metrics.score_drift.labels(*where).set(window.psi())
        self._metrics.score_drift_scores.labels(*where).set(len(window))

    def _aged(self, model_id: ModelId, template_id: TemplateId | None) -> None:
        made = made_at(template_id) if template_id is not None else None
        if made is not None:
            age_s = (self._clock.now() - made).total_seconds()
            self._metrics.template_age.labels(self._modality(model_id)).observe(max(0.0, age_s))

    def _window(self, where: tuple[str, str], threshold: Threshold) -> ScoreWindow | None:
        calibration = self._calibration(threshold)
        window = self._windows.get(where)
        if calibration is not None and (window is None or window.calibration is not calibration):
            window = self._windows[where] = ScoreWindow(calibration)
            self._metrics.score_drift.labels(*where).set(math.nan)
        return window

    def _calibration(self, threshold: Threshold) -> Calibration | None:
        try:
            return self._thresholds.calibration(threshold.model_id, threshold.impostors)
        except NoCalibrationError:
            return None

    def _modality(self, model_id: ModelId) -> str:
        try:
            return self._thresholds.modality(model_id).value
        except InvalidInputError:
            return UNKNOWN_MODEL


def _created_s(calibration: Calibration) -> float:
    return datetime.fromisoformat(calibration.created).replace(tzinfo=UTC).timestamp()
