"""Thresholds in words: what was asked for, what it rests on, and whether any data carries it."""

from __future__ import annotations

import pytest

from tessera.cli.as_json import plain
from tessera.cli.words import reason_text, threshold_text
from tessera.domain.calibration import RateKind, Threshold
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.reasons import Reason


def threshold(kind: RateKind, *, fpir: float | None = None, extrapolated: bool = False) -> Threshold:
    """One at FMR 1e-6, or FPIR 0.01 among 5,000."""
    return Threshold(
        score=0.5,
        kind=kind,
        target_rate=1e-6 if kind is RateKind.FMR else 1e-2,
        fmr=9e-7,
        fmr_interval=Interval(5e-7, 2e-6),
        gallery_size=1 if kind is RateKind.FMR else 5000,
        model_id=ModelId("m@1"),
        calibration_id=CalibrationId("c"),
        fpir=fpir,
        fpir_interval=Interval(0.006, 0.013) if fpir is not None else None,
        extrapolated=extrapolated,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (threshold(RateKind.FMR), "FMR <= 1e-6 (measured 9e-7, 95 % 5e-7..2e-6)"),
        (threshold(RateKind.FMR, extrapolated=True), "FMR <= 1e-6 (extrapolated 9e-7, 95 % 5e-7..2e-6)"),
        (
            threshold(RateKind.FPIR),
            "FPIR <= 0.01 among 5000 subjects (FMR of one comparison: measured 9e-7, 95 % 5e-7..2e-6)",
        ),
        (
            threshold(RateKind.FPIR, fpir=0.009),
            "FPIR <= 0.01 among 5000 subjects (estimated 0.009, 95 % 0.006..0.013)",
        ),
        (
            threshold(RateKind.FPIR, fpir=0.009, extrapolated=True),
            "FPIR <= 0.01 among 5000 subjects (extrapolated 0.009, 95 % 0.006..0.013)",
        ),
    ],
)
def test_a_threshold_says_what_it_rests_on(given: Threshold, words: str) -> None:
    """A search's own FPIR where it is told, else the FMR behind it; and never measured where it is not."""
    assert threshold_text(given) == words


def test_json_has_the_rate_of_a_search_and_whether_it_is_extrapolated() -> None:
    """Beside the FMR, with its interval."""
    told = plain(threshold(RateKind.FPIR, fpir=0.009, extrapolated=True))
    assert (told["fpir"], told["fpir_interval"]) == (0.009, {"low": 0.006, "high": 0.013})
    assert told["extrapolated"] is True


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason) -> None:
    """A new one cannot be forgotten: a command that meets it would end with a defect."""
    assert reason_text(reason)
