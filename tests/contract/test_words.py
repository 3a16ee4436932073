"""The words of the domain and of the wire are the same."""

from __future__ import annotations

import pytest

from tessera.client import wire
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb


@pytest.mark.parametrize(
    ("words", "enum", "prefix"),
    [(Reason, pb.Reason, "REASON_"), (Modality, pb.Modality, "MODALITY_"), (Outcome, pb.Outcome, "OUTCOME_")],
)
def test_both_sides_know_the_same_words(words: type, enum: object, prefix: str) -> None:
    """Every name on one side stands on the other, but for the wire's UNSPECIFIED."""
    wire_names = {name.removeprefix(prefix) for name in dict(enum.items())} - {"UNSPECIFIED"}  # type: ignore[attr-defined]
    assert {word.value for word in words} == wire_names  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", Reason)
def test_reasons_come_back(reason: Reason) -> None:
    """There and back again."""
    assert wire.reason_from_wire(wire.reason_to_wire(reason)) is reason


def test_words_of_a_later_version_are_survived() -> None:
    """A newer peer's reason reads as INTERNAL, its outcome as INCONCLUSIVE: never as a match."""
    assert wire.reason_from_wire(9999) is Reason.INTERNAL
    assert wire.outcome_from_wire(9999) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("occlusion", "fidelity"), [(None, None), (0.25, 0.5), (0.0, 1.0)])
def test_a_quality_comes_back_with_what_was_not_measured(occlusion: float | None, fidelity: float | None) -> None:
    """Not measured is told apart from nothing left."""
    sent = Quality(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, (Reason.LOW_FIDELITY,), occlusion, fidelity)
    assert wire.quality_from_wire(wire.quality_to_wire(sent)) == sent
