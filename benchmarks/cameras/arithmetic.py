"""The mathematics of the parts: whether frames are accounted for, how fair, how steep, how much in step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tessera.client.answers import CameraStatus
from tessera.domain.reasons import Reason

OWN_CHOICE = frozenset({Reason.NO_MOTION})
"""Why a camera leaves a frame out that nobody wants. Every other reason is a frame that should have been looked at."""


def unaccounted(status: CameraStatus) -> int:
    """Sampled frames that are neither encoded nor skipped, expired, failed or in flight; below 0: counted twice."""
    return status.frames_sampled - _ended(status) - status.frames_in_flight


def _ended(status: CameraStatus) -> int:
    return status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed


def chosen(before: CameraStatus, after: CameraStatus) -> int:
    """Frames that a camera left out by its own choice between two readings: nothing moved."""
    return sum(after.skip_counts.get(why, 0) - before.skip_counts.get(why, 0) for why in OWN_CHOICE)


def wanted(before: CameraStatus, after: CameraStatus) -> int:
    """Frames of a camera that should have been encoded and whose outcome fell between two readings.

    A frame that the camera itself leaves out is none of them; one that went for want of a credit is, and so is one
    that was left out because the rate was lowered for want of credits.
    """
    return _ended(after) - _ended(before) - chosen(before, after)


def encoded_ratio(before: CameraStatus, after: CameraStatus) -> float:
    """Which share of the frames that should have been encoded was; NaN where there was none."""
    count = wanted(before, after)
    return (after.frames_encoded - before.frames_encoded) / count if count else float("nan")


def max_over_min(values: Iterable[float]) -> float:
    """The largest over the smallest; NaN is left out, and infinite where the smallest is 0."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return float("nan")
    return max(known) / min(known) if min(known) > 0 else float("inf")


def busiest_share(moments_s: Sequence[float], window_s: float) -> float:
    """The largest share of the moments that lie in any one window; 0 without moments.

    Args:
        moments_s: in any order.
        window_s: its length; a moment on its border is in it.
    """
    ordered = np.sort(np.asarray(moments_s, dtype=np.float64))
    if not ordered.size:
        return 0.0
    ends = np.searchsorted(ordered, ordered + window_s, side="right")
    return float((ends - np.arange(ordered.size)).max() / ordered.size)
