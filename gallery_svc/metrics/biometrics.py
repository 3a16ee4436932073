"""What the decisions rest on: scores, quality, and whether both are still what the error rates were measured on."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge, histogram

_SCORES = tuple(round(-0.2 + 0.05 * step, 2) for step in range(25))
_QUALITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))
_DAY_S = 86_400.0
_AGES_S = tuple(_DAY_S * days for days in (1, 7, 30, 90, 182, 365, 730, 1825, 3650))
_ONE = ("modality", "camera_group")


class BiometricMetrics(Theme):
    """Scores, samples and calibrations, by modality and group of cameras (TESSERA_GALLERY_CAMERA_GROUPS)."""

    scores = histogram(
        "tessera_gallery_scores",
        "Scores that were held against a threshold, by modality, group of cameras and kind of question (claim, search, "
        "tracklet).",
        "A hump that moves towards the threshold: look at that group's light and lenses, then at the age of templates.",
        labels=(*_ONE, "question"),
        buckets=_SCORES,
    )
    near_threshold = counter(
        "tessera_gallery_near_threshold_total",
        "Scores that were held against a threshold, by modality, group of cameras and near: yes where the FMR of the "
        "score is within ten times of the threshold's, either way.",
        "A rising share of yes: decisions hang on little; enrol better pictures, or mend that group's views.",
        labels=(*_ONE, "near"),
    )
    score_drift = gauge(
        "tessera_gallery_score_drift_psi",
        "Population stability index of the newest 1,000 mated scores, each of one probe with one template, against the "
        "distribution that the deciding calibration measured; NaN with fewer than 500.",
        "Above 0.05 it is no chance: something changed since the calibration; see the runbook ScoreDrift.",
        labels=_ONE,
    )
    score_drift_scores = gauge(
        "tessera_gallery_score_drift_scores",
        "Scores that score_drift_psi is of.",
        "It never reaches 500: too few claims with one template; drift cannot be told there.",
        labels=_ONE,
    )
    probes = counter(
        "tessera_gallery_probes_total",
        "Pictures that were to be decided or enrolled, by modality, purpose (claim, enrolment) and acquired: no where "
        "nothing that can be compared was found. The share of no is the failure to acquire (FTA).",
        "A rising share of no: look at the view, and at what people are told to do in front of it.",
        labels=("modality", "purpose", "acquired"),
    )
    quality = histogram(
        "tessera_gallery_quality",
        "Quality (0 to 1, its weakest measure) of samples, by modality, group of cameras and purpose (claim, "
        "enrolment, tracklet).",
        "It falls in one group: clean and focus those cameras, look at their light. It falls at enrolment: tell those "
        "who take the pictures.",
        labels=(*_ONE, "purpose"),
        buckets=_QUALITIES,
    )
    template_age = histogram(
        "tessera_gallery_matched_template_age_seconds",
        "Age of the template that a MATCH rests on, by modality.",
        "Years: faces change; enrol those people again before they are missed.",
        labels=("modality",),
        buckets=_AGES_S,
    )
    calibration_created = gauge(
        "tessera_gallery_calibration_created_timestamp_seconds",
        "When the calibration that decides was measured, by modality, model and impostors.",
        "More than a year ago: measure your own again (`tessera calibrate`).",
        labels=("modality", "model_id", "impostors"),
    )
