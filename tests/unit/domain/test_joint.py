"""Evidence of several modalities together: by hand, against a naive count, and by the laws that a decision needs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.calibration import Calibration, CalibrationData, OperatingPoint
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import RULE_OF_THREE, Interval
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, PreconditionError
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.joint import LEAST_MATED, Piece, ScoreEvidence, evidence_of, joint_threshold

TARGET = st.sampled_from([0.1, 1e-2, 1e-3, 1e-4, 1e-5, 3e-7])


def table(*rows: tuple[float, float, float], mated: int = 10_000) -> Calibration:
    """A calibration of rows (score, FMR, FNMR)."""
    return Calibration(
        calibration_id=CalibrationId("c"),
        model_id=ModelId("face-x@1"),
        modality=Modality.FACE,
        created="2026-11-22",
        data=CalibrationData("d", "0" * 64, 100, 1000, mated, 1_000_000),
        points=tuple(
            OperatingPoint(score, fmr, Interval(fmr / 2, min(1.0, fmr * 2)), fnmr, Interval(0.0, 1.0))
            for score, fmr, fnmr in rows
        ),
    )


PLAIN = table((0.2, 1e-1, 0.01), (0.3, 1e-2, 0.03), (0.4, 1e-3, 0.1), (0.5, 1e-4, 0.25), (0.6, 1e-5, 0.5))


@st.composite
def tables(draw: st.DrawFn) -> Calibration:
    """Any table that a calibration may hold."""
    count = draw(st.integers(1, 8))
    scores = np.cumsum(draw(st.lists(st.floats(0.01, 0.2), min_size=count, max_size=count)))
    rates = np.cumprod(draw(st.lists(st.floats(0.05, 0.9), min_size=count, max_size=count)))
    missed = np.sort(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    return table(*zip(scores.tolist(), rates.tolist(), missed.tolist(), strict=True))


pieces = st.builds(
    lambda calibration, templates: Piece(evidence_of(calibration), templates), tables(), st.integers(1, 8)
)
scores = st.floats(-1, 2)


# ---- evidence of one table


def test_evidence_by_hand() -> None:
    """The share of mated over that of non-mated comparisons in each step, with one of each kind imagined."""
    evidence = evidence_of(PLAIN)
    told = [evidence.llr(score) for score in (0.1, 0.25, 0.35, 0.45, 0.55, 0.65)]
    shares = [(0.01, 0.9), (0.02, 0.09), (0.07, 0.009), (0.15, 9e-4), (0.25, 9e-5), (0.5, 1e-5)]
    assert told == pytest.approx([math.log(mated / other) for mated, other in shares], abs=0.15)
    assert evidence.llr(0.6) == evidence.llr(0.65)
    assert evidence.llr(0.65, templates=4) == pytest.approx(evidence.llr(0.65) - math.log(4), abs=1e-6)


@given(tables(), scores, scores)
def test_a_higher_score_never_says_less(calibration: Calibration, one: float, other: float) -> None:
    """And scores of two steps of the table never say the same, so that none of its thresholds is lost."""
    evidence = evidence_of(calibration)
    assert evidence.llr(min(one, other)) <= evidence.llr(max(one, other))
    assert (np.diff(evidence.llrs) > 0.0).all()


@given(tables())
def test_evidence_is_honest_about_strangers(calibration: Calibration) -> None:
    """The mean of likelihood ratios over non-mated comparisons is 1, or less where few stand behind it."""
    evidence = evidence_of(calibration)
    masses = -np.diff(evidence.fmr, prepend=1.0, append=0.0)
    mean = float(masses @ np.exp(evidence.llrs))
    carried = evidence.fmr[-1] * calibration.data.non_mated >= RULE_OF_THREE
    assert (0.7 if carried else 0.0) < mean < 1.001


def test_a_table_without_mated_comparisons_says_nothing() -> None:
    """It is refused, and the error says which command makes one that does."""
    with pytest.raises(PreconditionError, match="tessera calibrate fit --pictures DIR --model face-x@1") as refused:
        evidence_of(table((0.5, 1e-3, 1.0), mated=LEAST_MATED - 1))
    assert refused.value.reason == "NO_EVIDENCE"


# ---- the threshold of a sum


@given(tables(), TARGET, st.integers(1, 8), scores)
def test_one_piece_is_decided_as_a_comparison_of_its_own(
    calibration: Calibration, target: float, templates: int, score: float
) -> None:
    """The same answer and the same rate as the calibration's threshold, and refused where that is refused."""
    piece = Piece(evidence_of(calibration), templates)
    try:
        alone = calibration.threshold_for_fmr(target, templates=templates)
    except CalibrationTooSmallError:
        strictest = -math.expm1(templates * math.log1p(-calibration.points[-1].fmr))
        if strictest > target * (1 + 1e-9):
            with pytest.raises(CalibrationTooSmallError):
                joint_threshold([piece], target)
        return
    joint = joint_threshold([piece], target)
    assert joint.fmr == pytest.approx(alone.fmr)
    assert joint.fmr_interval.high == pytest.approx(alone.fmr_interval.high)
    assert (joint.pieces, joint.fmr_any_dependence) == (1, joint.fmr)
    assert (piece.evidence.llr(score, templates) >= joint.llr) == (score >= alone.score)


@given(st.lists(pieces, min_size=2, max_size=3), TARGET)
def test_the_rate_of_a_sum_against_a_naive_count(parts: list[Piece], target: float) -> None:
    """Every combination of steps counted one by one: the stated rate is theirs, and a looser sum has too high a one."""
    sums = []
    for steps in itertools.product(*(range(part.evidence.llrs.size) for part in parts)):
        llr, mass = 0.0, 1.0
        for part, step in zip(parts, steps, strict=True):
            llr += part.evidence.llr(float(np.append(-9.0, part.evidence.edges)[step]), part.templates)
            reached = [1.0, *(1.0 - (1.0 - part.evidence.fmr) ** part.templates), 0.0]
            mass *= reached[step] - reached[step + 1]
        sums.append((llr, mass))
    try:
        joint = joint_threshold(parts, target)
    except CalibrationTooSmallError:
        strongest = max(llr for llr, _ in sums)
        assert math.fsum(mass for llr, mass in sums if llr == strongest) > target * (1 - 1e-6)
        return
    counted = math.fsum(mass for llr, mass in sums if llr >= joint.llr)
    assert joint.fmr == pytest.approx(counted, rel=1e-6, abs=1e-12)
    looser = [llr for llr, _ in sums if llr < joint.llr]
    assert joint.fmr <= target * (1 + 1e-9)
    assert not looser or math.fsum(mass for llr, mass in sums if llr >= max(looser)) > target * (1 - 1e-6)


@given(st.permutations(range(3)), TARGET, st.lists(pieces, min_size=3, max_size=3))
def test_the_order_of_pieces_does_not_matter(order: list[int], target: float, parts: list[Piece]) -> None:
    """The same threshold to the last bit, so that no claim on the edge depends on who was asked first."""
    try:
        one = joint_threshold(parts, target)
    except CalibrationTooSmallError:
        return
    other = joint_threshold([parts[at] for at in order], target)
    assert (one.llr, one.pieces) == (other.llr, other.pieces)
    assert one.fmr == pytest.approx(other.fmr)
    assert one.fmr_any_dependence == pytest.approx(other.fmr_any_dependence)


@given(st.lists(pieces, min_size=1, max_size=2), TARGET)
def test_evidence_that_says_nothing_changes_nothing(parts: list[Piece], target: float) -> None:
    """A piece whose every score is worth 0: the same threshold and the same rate."""
    nothing = np.zeros(0)
    empty = Piece(ScoreEvidence(nothing, np.zeros(1), nothing, nothing, nothing))
    try:
        without = joint_threshold(parts, target)
    except CalibrationTooSmallError:
        return
    beside = joint_threshold([*parts, empty], target)
    assert beside.llr == without.llr
    assert beside.fmr == pytest.approx(without.fmr)
    assert empty.evidence.llr(0.5) == 0.0


@given(st.lists(pieces, min_size=1, max_size=3), TARGET, TARGET)
def test_a_stricter_rate_asks_for_more(parts: list[Piece], one: float, other: float) -> None:
    """And its stated rates are no higher: measured, at the ends of its interval, and whatever hangs together."""
    try:
        strict = joint_threshold(parts, min(one, other))
    except CalibrationTooSmallError:
        return
    loose = joint_threshold(parts, max(one, other))
    assert strict.llr >= loose.llr
    assert strict.fmr <= loose.fmr
    assert strict.fmr_interval.high <= loose.fmr_interval.high * (1 + 1e-9)
    assert strict.fmr_any_dependence <= loose.fmr_any_dependence * (1 + 1e-9)
    assert strict.fmr_interval.low <= strict.fmr <= strict.fmr_interval.high


@given(pieces, pieces, TARGET, st.integers(0, 2**32 - 1))
def test_no_dependence_makes_false_matches_more_frequent_than_is_told(
    one: Piece, other: Piece, target: float, seed: int
) -> None:
    """Any way in which the steps of two pieces may hang together, drawn at random, stays below the stated bound."""
    try:
        joint = joint_threshold([one, other], target)
    except CalibrationTooSmallError:
        return
    assert _reached_together(one, other, joint.llr, np.random.default_rng(seed)) <= joint.fmr_any_dependence + 1e-6


def _reached_together(one: Piece, other: Piece, llr: float, rng: np.random.Generator) -> float:
    """The share of non-mated claims above, where blocks of the two pieces' order are matched at random."""
    rows = 20_000
    drawn = []
    for piece in (one, other):
        reached = 1.0 - (1.0 - piece.evidence.fmr) ** piece.templates
        places = (np.arange(rows) + 0.5) / rows
        values = piece.evidence.llrs - round(math.log(piece.templates) * 2**20) / 2**20
        drawn.append(values[(places[:, None] < reached).sum(axis=1)])
    blocks = np.array_split(np.arange(rows), rng.integers(1, 50))
    order = np.concatenate([blocks[at] for at in rng.permutation(len(blocks))])
    # A grid of so many places misses a step by at most one place in each piece.
    return float((drawn[0] + drawn[1][order] >= llr).mean()) - 2.0 / rows


def test_opposed_pieces_reach_the_bound() -> None:
    """The bound is no idle one: where each piece is at its best when the other is not, it is the rate itself."""
    weak = Piece(evidence_of(table((0.5, 0.1, 0.1))))
    joint = joint_threshold([weak, weak], 0.3)
    assert joint.fmr == pytest.approx(1 - 0.9**2)
    assert joint.fmr_any_dependence == pytest.approx(0.2)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, math.nan])
def test_what_is_no_rate_is_refused(target: float) -> None:
    """So is a sum of nothing."""
    with pytest.raises(InvalidInputError, match="target_fmr"):
        joint_threshold([Piece(evidence_of(PLAIN))], target)
    with pytest.raises(InvalidInputError, match="pieces"):
        joint_threshold([], 1e-3)
