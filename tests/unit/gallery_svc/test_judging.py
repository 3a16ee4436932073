"""From scores to answers, and from rates to thresholds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gallery_svc.gallery_size import GallerySize
from gallery_svc.gate import judge_sample
from gallery_svc.index.protocol import Hit
from gallery_svc.judging import comparison_threshold, judge_comparison, judge_search, search_threshold
from gallery_svc.probes import Sample, Seen
from gallery_svc.store.collection_records import CollectionRecord, GateRecord, PolicyRecord
from gallery_svc.thresholds import Thresholds, shipped_thresholds
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, NoCalibrationError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason
from tests.gallery_world import CALIBRATION, MODEL, THRESHOLDS

RECORD = CollectionRecord(CollectionId("c"), Modality.FACE, MODEL, datetime(2026, 11, 22, tzinfo=UTC))
AT_1E_4 = CALIBRATION.threshold_for_fmr(1e-4)
WEAK = (Reason.EXTREME_POSE,)


def of(subjects: int, each: int = 1) -> GallerySize:
    """A gallery of so many subjects with so many templates each."""
    return GallerySize(subjects, subjects * each)


def _hit(score: float) -> Hit:
    return Hit(SubjectId("ada"), TemplateId("t"), score)


@pytest.mark.parametrize(
    ("score", "reasons", "outcome"),
    [
        (0.5, (), Outcome.MATCH),
        (0.4999, (), Outcome.NO_MATCH),
        (0.5, WEAK, Outcome.MATCH),
        (0.4999, WEAK, Outcome.INCONCLUSIVE),
    ],
)
def test_a_weak_probe_matches_or_proves_nothing(score: float, reasons: tuple[Reason, ...], outcome: Outcome) -> None:
    """The score decides; only a non-match turns inconclusive for weakness, and the reasons are told either way."""
    decision = judge_comparison(score, AT_1E_4, reasons)
    assert (decision.outcome, decision.reasons, decision.threshold) == (outcome, reasons, AT_1E_4)


@pytest.mark.parametrize(
    ("hits", "reasons", "outcome"),
    [
        ([_hit(0.9)], (), Outcome.MATCH),
        ([_hit(0.9)], WEAK, Outcome.MATCH),
        ([_hit(0.1)], (), Outcome.UNKNOWN),
        ([], (), Outcome.UNKNOWN),
        ([_hit(0.1)], WEAK, Outcome.INCONCLUSIVE),
    ],
)
def test_a_search_says_who_or_nobody_or_why_not(hits: list[Hit], reasons: tuple[Reason, ...], outcome: Outcome) -> None:
    """The same rule over an open set."""
    assert judge_search(hits, AT_1E_4, reasons).outcome is outcome


def test_a_search_threshold_follows_the_larger_of_planned_and_present() -> None:
    """Planned for 100, it stands still up to 100 subjects and then grows stricter."""
    record = replace(RECORD, policy=PolicyRecord(planned_gallery_size=100))
    found = [search_threshold(THRESHOLDS, record, of(subjects)) for subjects in (1, 100, 101, 1000)]
    assert [(t.gallery_size, t.score) for t in found if isinstance(t, Threshold)] == [
        (100, 0.5),
        (100, 0.5),
        (101, 0.6),
        (1000, 0.6),
    ]
    small = search_threshold(THRESHOLDS, RECORD, of(9))
    assert isinstance(small, Threshold)
    assert small.score == 0.4


def test_each_template_of_a_gallery_counts() -> None:
    """Fifty subjects with four templates each are as many comparisons as two hundred; planned ones get as many each."""
    four_each, planned = search_threshold(THRESHOLDS, RECORD, of(50, each=4)), PolicyRecord(planned_gallery_size=200)
    assert isinstance(four_each, Threshold)
    assert (four_each.gallery_size, four_each.score) == (200, 0.6)
    one_each = search_threshold(THRESHOLDS, RECORD, of(50))
    assert isinstance(one_each, Threshold)
    assert one_each.score == 0.5
    later = search_threshold(THRESHOLDS, replace(RECORD, policy=planned), of(50, each=4))
    assert isinstance(later, Threshold)
    assert later.gallery_size == 800


@pytest.mark.parametrize(("templates", "score"), [(1, 0.4), (2, 0.5), (10, 0.5), (16, 0.6)])
def test_a_claim_that_meets_several_templates_is_held_to_the_rate_of_the_best(templates: int, score: float) -> None:
    """At a claim's FMR of 1e-3 each of ten comparisons has 1e-4, which is at 0.5."""
    threshold = comparison_threshold(THRESHOLDS, RECORD, 1e-3, templates=templates)
    assert isinstance(threshold, Threshold)
    assert (threshold.score, threshold.templates, threshold.target_rate) == (score, templates, 1e-3)
    assert threshold.fmr <= 1e-3 * (1 + 1e-9)


def test_an_outgrown_calibration_is_an_answer_by_policy_and_an_error_on_request() -> None:
    """10,000 subjects at FPIR 1e-2 need an FMR of 1e-6, which a million comparisons cannot show."""
    grown = search_threshold(THRESHOLDS, RECORD, of(10_000))
    assert isinstance(grown, Decision)
    assert (grown.outcome, grown.reasons) == (Outcome.INCONCLUSIVE, (Reason.CALIBRATION_TOO_SMALL,))
    with pytest.raises(CalibrationTooSmallError):
        search_threshold(THRESHOLDS, RECORD, of(10_000), asked=0.01)
    strict = replace(RECORD, policy=PolicyRecord(verify_target_fmr=1e-7))
    assert isinstance(comparison_threshold(THRESHOLDS, strict, None), Decision)
    with pytest.raises(CalibrationTooSmallError):
        comparison_threshold(THRESHOLDS, strict, 1e-7)


def test_nobody_enrolled_is_told_as_such() -> None:
    """A search in an empty collection answers EMPTY_COLLECTION: it is more often a wrong name than a stranger."""
    empty = search_threshold(THRESHOLDS, RECORD, of(0))
    assert isinstance(empty, Decision)
    assert empty.reasons == (Reason.EMPTY_COLLECTION,)


def test_a_model_without_a_calibration_decides_nothing() -> None:
    """Neither 1:1 nor 1:N."""
    other = replace(RECORD, model_id=ModelId("other@1"))
    with pytest.raises(NoCalibrationError):
        comparison_threshold(THRESHOLDS, other, None)
    with pytest.raises(NoCalibrationError):
        search_threshold(THRESHOLDS, other, of(5))


def test_default_models_and_lengths_are_known() -> None:
    """A modality without an encoder is refused, and so is a vector that its model cannot have made."""
    with pytest.raises(InvalidInputError, match="FACE"):
        THRESHOLDS.default_model(Modality.SIGNATURE)
    with pytest.raises(InvalidInputError, match="32 numbers"):
        THRESHOLDS.require_dimensions(Embedding.from_raw([1.0], MODEL), "probe")
    Thresholds([], {}, {}).require_dimensions(Embedding.from_raw([1.0], MODEL), "probe")


def test_the_shipped_encoder_is_the_default_for_faces() -> None:
    """With the length of its embeddings: 128 numbers pass, 127 are refused by name."""
    shipped = shipped_thresholds()
    model_id = shipped.default_model(Modality.FACE)
    assert model_id.startswith("face-sface-2@")
    shipped.require_dimensions(Embedding.from_raw(range(1, 129), model_id), "probe")
    with pytest.raises(InvalidInputError, match="probe"):
        shipped.require_dimensions(Embedding.from_raw(range(1, 128), model_id), "probe")


def _seen(reasons: tuple[Reason, ...] = (), pose: float = 0.9) -> Seen:
    quality = Quality(0.9, 0.5, 0.5, 1.0, pose, 0.5, reasons)
    return Seen((Sample(Embedding.from_raw([1.0], MODEL), quality),))


@pytest.mark.parametrize(
    ("seen", "gate", "reasons"),
    [
        (_seen(), GateRecord(), ()),
        (_seen(WEAK), GateRecord(), WEAK),
        (_seen(WEAK), GateRecord(min_pose=0.8), ()),
        (_seen(), GateRecord(min_pose=0.95), WEAK),
        (_seen(), GateRecord(max_brightness=0.4), (Reason.HIGH_BRIGHTNESS,)),
        (_seen((Reason.LOW_CONTRAST,)), GateRecord(min_pose=0.95), (Reason.LOW_CONTRAST, *WEAK)),
        (Seen(()), GateRecord(), (Reason.NO_FACE,)),
        (Seen(_seen().samples * 2), GateRecord(), (Reason.EXCEEDS_MAX_FACES,)),
    ],
)
def test_a_gates_own_limit_replaces_the_encoders(seen: Seen, gate: GateRecord, reasons: tuple[Reason, ...]) -> None:
    """For its measure alone; each rejection says what would be better."""
    _, judgement = judge_sample(seen, gate)
    assert judgement.reasons == reasons
    assert bool(judgement.detail) == bool(reasons)


def test_an_embedding_passes_the_gate() -> None:
    """There is no picture to judge."""
    sample, judgement = judge_sample(Seen((Sample(Embedding.from_raw([1.0], MODEL)),)), GateRecord(min_pose=0.99))
    assert sample is not None
    assert judgement.reasons == ()
