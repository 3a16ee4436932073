"""The words of the domain and of the wire are the same."""

from __future__ import annotations

import pytest

from tessera.client import wire
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
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
