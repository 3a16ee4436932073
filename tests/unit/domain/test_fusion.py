"""Joining frames, templates and modalities: by hand, against naive loops, and by the laws that a decision needs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain import fusion as fu
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId
from tessera.domain.observation import Quality

MODEL = ModelId("m")
FACE, PERSON, SIGNATURE = Modality.FACE, Modality.PERSON, Modality.SIGNATURE

numbers = st.floats(-20, 20)
maybe = st.none() | numbers


def _frames(*rows: list[float]) -> list[Embedding]:
    return [Embedding.from_raw(row, MODEL) for row in rows]


def _quality(overall: float = 0.5, **measures: float | None) -> Quality:
    """As good as can be, but for what is named."""
    best = Quality(1.0, 0.5, 1.0, 1.0, 1.0, overall, occlusion=1.0, fidelity=1.0)
    return dataclasses.replace(best, **measures)  # type: ignore[arg-type] # a test names the fields that it changes


measured = st.floats(0, 1)
qualities_of_frames = st.builds(Quality, *[measured] * 6, fidelity=st.none() | measured)

# ---- frames


def test_frames_by_hand() -> None:
    """Two along x, one along y: at half the weight each they meet half way, plainly it is two to one, the best is y."""
    half = _quality(0.25, size=0.5 ** (1 / fu.FRAME_EXPONENTS["size"]))
    frames, qualities = _frames([1, 0], [1, 0], [0, 1]), [half, half, _quality()]
    joined = {how: fu.join_frames(frames, qualities, how).vector for how in fu.FrameFusion}
    assert joined[fu.FrameFusion.QUALITY_WEIGHTED_MEAN] == pytest.approx([math.sqrt(0.5)] * 2)
    assert joined[fu.FrameFusion.MEAN] == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5)])
    assert joined[fu.FrameFusion.MEDIAN] == pytest.approx([1, 0])
    assert joined[fu.FrameFusion.BEST_FRAME] == pytest.approx([0, 1])


@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from(list(fu.FrameFusion)))
def test_joined_frames_are_a_probe_whatever_their_order(seed: int, count: int, how: fu.FrameFusion) -> None:
    """The probe has length 1, and the order of frames does not change it."""
    rng = np.random.default_rng(seed)
    frames = [Embedding.from_raw(row + 3, MODEL) for row in rng.normal(size=(count, 6))]
    qualities = [_quality(level, size=level) for level in rng.permutation(np.linspace(0.1, 0.9, count))]
    probe = fu.join_frames(frames, qualities, how).vector
    order = rng.permutation(count)
    other = fu.join_frames([frames[at] for at in order], [qualities[at] for at in order], how).vector
    assert np.linalg.norm(probe) == pytest.approx(1, abs=1e-5)
    assert other == pytest.approx(probe, abs=1e-5)


@pytest.mark.parametrize("how", list(fu.FrameFusion))
def test_frames_that_are_no_tracklet_are_refused(how: fu.FrameFusion) -> None:
    """No frame, a frame without quality, a measure that is none, and frames of two models."""
    one, wrong = _frames([1, 0]), [[_quality(contrast=1.5)], [_quality(pose=math.nan)], [_quality(brightness=math.nan)]]
    for frames, qualities in (([], []), (one, []), *((one, none) for none in wrong)):
        with pytest.raises(InvalidInputError):
            fu.join_frames(frames, qualities, how)
    with pytest.raises(ModelMismatchError):
        fu.join_frames([*one, Embedding.from_raw([1, 0], ModelId("other"))], [_quality()] * 2, how)


def test_frames_of_no_quality_still_have_a_mean() -> None:
    """A tracklet whose every frame has quality 0 weighs them alike."""
    nothing = Quality(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, fidelity=0.0)
    probe = fu.join_frames(_frames([1, 0], [0, 1]), [nothing] * 2, fu.FrameFusion.QUALITY_WEIGHTED_MEAN)
    assert probe.vector == pytest.approx([math.sqrt(0.5)] * 2)


def test_a_weight_is_the_product_of_measures_to_their_exponents() -> None:
    """By hand, against a frame on which every measure is 1; overall quality and occlusion have no say."""
    frame = Quality(0.5, 0.15, 0.4, 0.3, 0.8, 0.01, occlusion=0.1, fidelity=0.6)
    by_hand = 0.5**1.62 * 0.5**2.63 * 0.4**2.61 * 0.3**2.24 * 0.8**0.34 * 0.6**0.03
    assert fu.frame_weights([frame, _quality()]) == pytest.approx([by_hand, 1.0])


@given(st.lists(qualities_of_frames, min_size=1, max_size=6))
def test_weights_are_above_nothing_and_the_heaviest_is_one(qualities: list[Quality]) -> None:
    """Whatever the measures, so that no tracklet is without a mean."""
    weights = fu.frame_weights(qualities)
    assert max(weights) == 1.0
    assert all(np.float32(weight) > 0.0 for weight in weights)


@given(qualities_of_frames, st.sampled_from(["sharpness", "contrast", "size", "pose", "fidelity"]), measured)
def test_a_better_measure_never_makes_a_frame_lighter(quality: Quality, which: str, level: float) -> None:
    """Against any other frame; what was not measured counts as the best."""
    before = getattr(quality, which)
    better = _changed(quality, which, max(level, 1.0 if before is None else before))
    weight, raised = (fu.frame_weights([frame, _quality()])[0] for frame in (quality, better))
    assert raised >= weight * (1 - 1e-9)


def _changed(quality: Quality, which: str, level: float) -> Quality:
    return dataclasses.replace(quality, **{which: level})  # type: ignore[arg-type] # only measures are named


# ---- templates


def test_scores_by_hand() -> None:
    """The highest, the mean and the middle of three."""
    scores = [[0.1, 0.6, 0.2], [0.0, 0.0, 0.3]]
    assert fu.join_scores(scores, fu.ScoreFusion.MAX) == pytest.approx([0.6, 0.3])
    assert fu.join_scores(scores, fu.ScoreFusion.MEAN) == pytest.approx([0.3, 0.1])
    assert fu.join_scores(scores, fu.ScoreFusion.MEDIAN) == pytest.approx([0.2, 0.0])


@given(st.lists(numbers, min_size=1, max_size=8), st.data(), st.sampled_from(list(fu.ScoreFusion)))
def test_a_higher_score_never_speaks_against(scores: list[float], data: st.DataObject, how: fu.ScoreFusion) -> None:
    """Raising one score never lowers the joined one."""
    at, by = data.draw(st.integers(0, len(scores) - 1)), data.draw(st.floats(0, 5))
    raised = [score + by * (i == at) for i, score in enumerate(scores)]
    assert fu.join_scores(raised, how) >= fu.join_scores(scores, how)


@given(st.integers(0, 40), st.integers(1, 5), st.data())
def test_trained_weights_never_speak_against_a_higher_score(seed: int, count: int, data: st.DataObject) -> None:
    """Whatever the weights were fitted on, raising one score never lowers the evidence, and order does not matter."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(260, 1))
    rows = rng.normal(size=(260, count)) + shared
    trained = fu.fit_score_fusion(rows[:60] + 1.5, rows[60:])
    assert bool((trained.weighing.weights >= 0).all())
    scores = rows[:1]
    raised = scores + np.eye(count)[data.draw(st.integers(0, count - 1))] * data.draw(st.floats(0, 3))
    assert trained.llr(raised)[0] >= trained.llr(scores)[0] - 1e-9
    assert trained.llr(scores[:, ::-1])[0] == pytest.approx(trained.llr(scores)[0])


def test_training_finds_which_score_tells() -> None:
    """Where only the highest of three scores differs between the kinds, it gets nearly all of the weight."""
    rng = np.random.default_rng(6)
    others = np.sort(rng.normal(size=(4000, 3)))
    mates = np.sort(rng.normal(size=(4000, 3)))
    mates[:, 2] += 3.0
    weights = fu.fit_score_fusion(mates, others).weighing.weights
    assert weights[0] > 5 * weights[1:].max()


def test_trained_fusion_refuses_what_it_was_not_fitted_for() -> None:
    """Another number of templates, no templates, and scores that tell nothing the right way round."""
    trained = fu.fit_score_fusion([[1.0, 0.9], [1.1, 0.8]], [[0.0, 0.1], [0.2, 0.1]])
    for wrong in ([[1.0]], [1.0, 2.0]):
        with pytest.raises(InvalidInputError):
            trained.llr(wrong)
    with pytest.raises(InvalidInputError):
        fu.fit_score_fusion([[0.0]], [[1.0]])
    with pytest.raises(InvalidInputError):
        fu.join_scores([], fu.ScoreFusion.MAX)


# ---- modalities


def test_evidence_by_hand() -> None:
    """ln 8 from the face and ln 1/2 from the body are ln 4 together; half of the body's weight leaves ln 8 / sqrt 2."""
    seen = {FACE: math.log(8), PERSON: math.log(0.5)}
    assert fu.sum_of([FACE, PERSON]).llr(seen) == pytest.approx(math.log(4))
    assert fu.EvidenceFusion({FACE: 1.0, PERSON: 0.5}).llr(seen) == pytest.approx(math.log(8 / math.sqrt(2)))


@given(maybe, maybe, maybe)
def test_what_was_not_seen_says_nothing(face: float | None, person: float | None, signature: float | None) -> None:
    """A modality that is missing, None or left out counts as 0; many claims at once give what each gives."""
    fusion = fu.EvidenceFusion({FACE: 1.0, PERSON: 0.5, SIGNATURE: 2.0})
    told = {FACE: face, PERSON: person, SIGNATURE: signature}
    there = {modality: value for modality, value in told.items() if value is not None}
    naive = sum(fusion.weights[modality] * value for modality, value in there.items())
    assert fusion.llr(told) == fusion.llr(there) == pytest.approx(naive)
    many = {modality: [math.nan if value is None else value] * 2 for modality, value in told.items()}
    assert fusion.llrs(many) == pytest.approx([naive] * 2)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_calibrated_evidence_bounds_the_fmr(face: list[int], person: list[int]) -> None:
    """Where two modalities err independently, at most exp(-t) of non-mated claims reach evidence of t together."""
    ratios = []
    for counts in (face, person):
        others = np.array(counts) / sum(counts)
        mates = others[::-1] * np.arange(1, len(counts) + 1)
        ratios.append((np.log(mates / mates.sum() / others), others))
    together = ratios[0][0][:, None] + ratios[1][0][None, :]
    chance = ratios[0][1][:, None] * ratios[1][1][None, :]
    for threshold in np.unique(together):
        assert chance[together >= threshold].sum() <= math.exp(-threshold) + 1e-9


def test_training_takes_back_what_is_said_twice() -> None:
    """Two modalities that always say the same get half the weight each; an independent one keeps its own."""
    rng = np.random.default_rng(7)

    def evidence(sign: float) -> dict[Modality, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        first, second = rng.normal(sign * 1.0, math.sqrt(2), (2, 20_000))
        return {FACE: first, PERSON: first, SIGNATURE: second}

    weights = fu.fit_evidence_fusion(evidence(1.0), evidence(-1.0)).weights
    assert weights[FACE] + weights[PERSON] == pytest.approx(1.0, abs=0.05)
    assert weights[SIGNATURE] == pytest.approx(1.0, abs=0.05)


def test_the_threshold_is_that_of_what_was_seen() -> None:
    """Claims with a face alone get the face's threshold, those with both that of the sum."""
    fusion = fu.sum_of([FACE, PERSON])
    non_mated = {FACE: np.arange(100) / 100, PERSON: np.where(np.arange(100) % 2, np.nan, 1.0)}
    alone = fu.fused_threshold(non_mated, fusion, 0.05, [FACE])
    both = fu.fused_threshold(non_mated, fusion, 0.1, [FACE, PERSON])
    assert (non_mated[FACE] >= alone).sum() == 5
    complete = fusion.llrs(non_mated)[~np.isnan(non_mated[PERSON])]
    assert (complete >= both).sum() == 5
    with pytest.raises(CalibrationTooSmallError):
        fu.fused_threshold(non_mated, fusion, 0.05, [FACE, PERSON])


def test_evidence_that_does_not_fit_is_refused() -> None:
    """A modality without a weight, a ratio that is no number, nothing at all, other modalities on the other side."""
    fusion = fu.sum_of([FACE])
    for evidence in ({PERSON: 1.0}, {FACE: math.nan}, {FACE: math.inf}):
        with pytest.raises(InvalidInputError):
            fusion.llr(evidence)
    for many in ({}, {PERSON: [1.0]}):
        with pytest.raises(InvalidInputError):
            fusion.llrs(many)
    with pytest.raises(InvalidInputError):
        fu.fit_evidence_fusion({FACE: [1.0]}, {PERSON: [0.0]})
    for seen in ([], [PERSON]):
        with pytest.raises(InvalidInputError):
            fu.fused_threshold({FACE: [0.0] * 99}, fusion, 0.1, seen)
