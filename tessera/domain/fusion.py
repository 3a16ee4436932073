"""Several looks into one answer: over the frames of a tracklet, the templates of a subject, and the modalities.

Between comparison and threshold. Every way of joining makes scores of its own kind, and a threshold holds for the kind
that it was measured on: nothing here reuses the threshold of one comparison for many. Which ways are worth their time
is measured (`docs/fusion.md`, ADR 0015). Quality weighs frames and is never added to a score.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tessera.domain.embedding import Embedding, Modality, fuse
from tessera.domain.error_rates import comparisons_needed, threshold_at_fmr
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.logistic import Floats, Weighing, fit_logistic
from tessera.domain.observation import Quality, exposure

FRAME_EXPONENTS = {
    "sharpness": 1.62,
    "exposure": 2.63,
    "contrast": 2.61,
    "size": 2.24,
    "pose": 0.34,
    "fidelity": 0.03,
}
"""How steeply a frame's weight rises with each of its measures. Fitted on degraded sequences of 111 people of LFW, who
are none of those that it is judged on (`benchmarks/decisions/frame_weights.py`, docs/fusion.md).
"""
LEAST_MEASURE = 0.01
"""What a measure of 0 counts as, so that a tracklet of such frames has a mean."""


# ---- frames of one tracklet


class FrameFusion(StrEnum):
    """How the frames of a tracklet become probes."""

    QUALITY_WEIGHTED_MEAN = "QUALITY_WEIGHTED_MEAN"
    """One probe: the mean embedding, each frame by `frame_weights`."""
    MEAN = "MEAN"
    """One probe: the plain mean embedding."""
    MEDIAN = "MEDIAN"
    """One probe: the median of each dimension."""
    BEST_FRAME = "BEST_FRAME"
    """One probe: the frame of the highest overall quality."""


def weighed_measures(quality: Quality) -> tuple[float, ...]:
    """What a frame is weighed by, in the order of `FRAME_EXPONENTS`: each in [`LEAST_MEASURE`, 1], higher = better.

    Raises:
        InvalidInputError: a measure is outside [0, 1].
    """
    light = exposure(quality.brightness)
    # A face too small for it has no fidelity: size says enough.
    fidelity = quality.fidelity if quality.fidelity is not None else 1.0
    measures = (quality.sharpness, light, quality.contrast, quality.size, quality.pose, fidelity)
    if not all(0.0 <= measure <= 1.0 for measure in measures):
        raise InvalidInputError("quality", measures, "measures in [0, 1]")
    return tuple(max(LEAST_MEASURE, measure) for measure in measures)


def frame_weights(qualities: Iterable[Quality]) -> list[float]:
    """What each frame of a tracklet weighs: the product of its measures, each to its exponent.

    Args:
        qualities: of one modality, one a frame.

    Returns:
        One weight a frame, in (0, 1]; the heaviest has 1. No measure that rises makes its frame lighter against others.

    Raises:
        InvalidInputError: a measure is outside [0, 1].
    """
    measures = np.array([weighed_measures(quality) for quality in qualities]).reshape(-1, len(FRAME_EXPONENTS))
    logs = np.log(measures) @ np.array(list(FRAME_EXPONENTS.values()))
    # Against the heaviest: alone, the product may be smaller than what a mean of float32 carries.
    return [float(weight) for weight in np.exp(logs - logs.max(initial=-np.inf))]


def join_frames(frames: Sequence[Embedding], qualities: Sequence[Quality], how: FrameFusion) -> Embedding:
    """The probe that stands for a tracklet.

    Args:
        frames: one or more, of one model and one person.
        qualities: one each.
        how: see `FrameFusion`.

    Raises:
        ModelMismatchError: the frames come from different models.
        InvalidInputError: there are none, they cancel each other, a quality is missing, or a measure is outside [0, 1].
    """
    if len(qualities) != len(frames):
        raise InvalidInputError("qualities", len(qualities), f"{len(frames)}, one a frame")
    weights = frame_weights(qualities)
    if how is FrameFusion.QUALITY_WEIGHTED_MEAN:
        return fuse(frames, weights)
    mean = fuse(frames, np.ones(len(frames)).tolist())
    if how is FrameFusion.MEAN:
        return mean
    if how is FrameFusion.BEST_FRAME:
        return frames[int(np.argmax([quality.overall for quality in qualities]))]
    return Embedding.from_raw(np.median([frame.vector for frame in frames], axis=0), mean.model_id, "frames")


# ---- scores of one subject


class ScoreFusion(StrEnum):
    """How several scores of one claim become one: over its frames, or over the subject's templates."""

    MAX = "MAX"
    MEAN = "MEAN"
    MEDIAN = "MEDIAN"


def join_scores(scores: npt.ArrayLike, how: ScoreFusion) -> Floats:
    """One score a claim.

    Args:
        scores: shape (..., k), k at least 1: the k scores of each claim.
        how: see `ScoreFusion`.

    Returns:
        Shape (...): no score that rises lowers it.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim < 1 or table.shape[-1] == 0:
        raise InvalidInputError("scores", table.shape, "one or more scores for each claim")
    if how is ScoreFusion.MAX:
        return np.asarray(table.max(axis=-1), dtype=np.float64)
    if how is ScoreFusion.MEAN:
        return np.asarray(table.mean(axis=-1), dtype=np.float64)
    return np.asarray(np.median(table, axis=-1), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedScoreFusion:
    """Weights of the highest, second, ... score of a claim; for claims of exactly so many scores."""

    weighing: Weighing
    """Weights of shape (k,), none below 0, highest score first."""

    def llr(self, scores: npt.ArrayLike) -> Floats:
        """The evidence of each claim: shape (n, k), in any order, gives (n,).

        Raises:
            InvalidInputError: another number of scores than the weights were fitted for.
        """
        table = np.asarray(scores, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.weighing.weights.size:
            raise InvalidInputError("scores", table.shape, f"{self.weighing.weights.size} scores for each claim")
        return self.weighing.llr(_highest_first(table))


def fit_score_fusion(mated: npt.ArrayLike, non_mated: npt.ArrayLike, prior: float = 0.5) -> TrainedScoreFusion:
    """Weights over sorted scores, by logistic regression.

    Args:
        mated: shape (m, k): the k scores of each mated claim, in any order.
        non_mated: shape (n, k). The subjects must not be those that the fusion is then judged on.
        prior: each kind's share of the cost, in (0, 1).

    Returns:
        Weights of which none is below 0: a template that fits better must not speak against its subject. Those that
        the regression wants below 0 are taken out one by one, the lowest first, and the rest fitted anew.

    Raises:
        InvalidInputError: shapes do not fit, or no score is higher for mated claims.
    """
    mates, others = (_highest_first(np.asarray(rows, dtype=np.float64)) for rows in (mated, non_mated))
    return TrainedScoreFusion(_fit_without_negative_weights(mates, others, prior, with_offset=True))


def _highest_first(table: Floats) -> Floats:
    return -np.sort(-table, axis=-1)


def _fit_without_negative_weights(mated: Floats, non_mated: Floats, prior: float, *, with_offset: bool) -> Weighing:
    kept = np.arange(mated.shape[-1])
    while kept.size:
        fitted = fit_logistic(mated[..., kept], non_mated[..., kept], prior, with_offset=with_offset)
        if bool((fitted.weights >= 0.0).all()):
            weights = np.zeros(mated.shape[-1])
            weights[kept] = fitted.weights
            return Weighing(weights, fitted.offset)
        kept = np.delete(kept, int(np.argmin(fitted.weights)))
    raise InvalidInputError("mated", mated.shape, "scores of which some are higher than the non-mated ones")


# ---- modalities


@dataclass(frozen=True, slots=True)
class EvidenceFusion:
    """The log-likelihood ratios of several modalities as one; what was not seen says nothing.

    Adding is right where the modalities err independently; weights below 1 take back what they say twice.
    """

    weights: Mapping[Modality, float]
    """One for each modality that may speak, none below 0. All 1: the plain sum."""

    def llr(self, evidence: Mapping[Modality, float | None]) -> float:
        """The evidence together.

        Args:
            evidence: calibrated log-likelihood ratios; None, or left out: that modality was not seen.

        Returns:
            The weighted sum; 0 when nothing was seen.

        Raises:
            InvalidInputError: a modality has no weight, or a ratio is no number.
        """
        seen = {modality: value for modality, value in evidence.items() if value is not None}
        for modality, value in seen.items():
            if modality not in self.weights or not np.isfinite(value):
                raise InvalidInputError(f"evidence[{modality}]", value, f"numbers, of {sorted(self.weights)}")
        return float(sum(self.weights[modality] * value for modality, value in seen.items()))

    def llrs(self, evidence: Mapping[Modality, npt.ArrayLike]) -> Floats:
        """The evidence of many claims together: shape (n,) each, NaN where a modality was not seen."""
        if not evidence or not set(evidence) <= set(self.weights):
            raise InvalidInputError("evidence", sorted(evidence), f"one or more of {sorted(self.weights)}")
        return np.asarray(
            sum(self.weights[modality] * _zero_where_unseen(values) for modality, values in evidence.items()),
            dtype=np.float64,
        )


def _zero_where_unseen(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(array), 0.0, array)


def sum_of(modalities: Collection[Modality]) -> EvidenceFusion:
    """The plain sum: every modality counts in full."""
    return EvidenceFusion(dict.fromkeys(modalities, 1.0))


def fit_evidence_fusion(
    mated: Mapping[Modality, npt.ArrayLike], non_mated: Mapping[Modality, npt.ArrayLike], prior: float = 0.5
) -> EvidenceFusion:
    """Weights of calibrated evidence, by logistic regression without an offset: what nobody saw stays at 0.

    Args:
        mated: log-likelihood ratios of mated claims, shape (m,) each, NaN where a modality was not seen.
        non_mated: of non-mated ones, shape (n,) each, the same modalities.
        prior: each kind's share of the cost, in (0, 1).

    Raises:
        InvalidInputError: the modalities or the shapes differ, or none of them tells mated from non-mated.
    """
    modalities = sorted(mated)
    if modalities != sorted(non_mated):
        raise InvalidInputError("non_mated", sorted(non_mated), f"the modalities of the mated ones, {modalities}")
    mates, others = (
        np.column_stack([_zero_where_unseen(rows[modality]) for modality in modalities]) for rows in (mated, non_mated)
    )
    fitted = _fit_without_negative_weights(mates, others, prior, with_offset=False)
    return EvidenceFusion(dict(zip(modalities, fitted.weights.tolist(), strict=True)))


def fused_threshold(
    non_mated: Mapping[Modality, npt.ArrayLike], fusion: EvidenceFusion, fmr: float, seen: Collection[Modality]
) -> float:
    """The fused log-likelihood ratio that keeps the FMR of claims in which exactly these modalities were seen.

    Args:
        non_mated: log-likelihood ratios of non-mated claims, shape (n,) each; those that miss one of `seen` are left
            out, and what they have of other modalities does not count.
        fusion: how the evidence is joined.
        fmr: the target, in (0, 1).
        seen: the modalities that a claim has; a claim with fewer needs the threshold of those.

    Raises:
        InvalidInputError: `seen` is empty or names what is not there, or the target is no rate.
        CalibrationTooSmallError: too few such claims to carry the rate (rule of 3).
    """
    if not seen or not set(seen) <= set(non_mated):
        raise InvalidInputError("seen", sorted(seen), f"one or more of {sorted(non_mated)}")
    parts = {modality: np.asarray(non_mated[modality], dtype=np.float64) for modality in seen}
    complete = ~np.isnan(np.stack(list(parts.values()))).any(axis=0)
    needed, have = comparisons_needed(fmr), int(complete.sum())
    if needed > have:
        raise CalibrationTooSmallError(fmr, needed, have)
    return threshold_at_fmr(fusion.llrs({modality: values[complete] for modality, values in parts.items()}), fmr)
