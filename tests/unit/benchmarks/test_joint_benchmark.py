"""The figures on joint evidence: whom they are about, and that they can fail."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.decisions import joint as scenario
from benchmarks.decisions.plan import Plan
from tessera.domain.embedding import Modality


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small worlds."""
    monkeypatch.setattr(scenario, "CALIBRATING", 100)
    monkeypatch.setattr(scenario, "JUDGED", 60)
    monkeypatch.setattr(scenario, "TARGETS", (1e-2,))
    monkeypatch.setattr(scenario, "TIED", (0.9,))


def test_people_are_alike_in_both_modalities_only_where_that_is_asked_for() -> None:
    """Scores of the same two people in the two modalities: uncorrelated, or clearly correlated."""
    for tied, low, high in ((0.0, -0.05, 0.05), (0.9, 0.2, 1.0)):
        people = scenario.draw(60, tied, np.random.default_rng(1))
        strangers = people.subjects[:, None] < people.subjects[None, :]
        scores = [(rows @ rows.T)[strangers] for rows in people.vectors.values()]
        assert low < np.corrcoef(scores)[0, 1] < high


def test_every_probe_is_claimed_as_everybody() -> None:
    """Two probes a person; rates count the mated claims apart from the others."""
    people = scenario.draw(5, 0.0, np.random.default_rng(1))
    evidence = {
        name: scenario.evidence_of(scenario.calibrate(scenario.draw(60, 0.0, np.random.default_rng(2)), name))
        for name in Modality
        if name in scenario.NOISE
    }
    made = scenario.claims(people, evidence)
    assert made.llrs[Modality.FACE].shape == (10, 5)
    perfect = (made.owner[:, None] == np.arange(5)[None, :]).astype(float)
    assert made.rates(perfect, 0.5) == (0.0, 0.0)
    assert made.rates(1.0 - perfect, 0.5) == (1.0, 1.0)


def test_together_is_better_than_each_alone_and_its_rate_is_told(few: None) -> None:
    """The figures tell FNMR of both and of the sum, and the realised rate against its bar."""
    story = scenario.joint(Plan(quick=True))
    told = {figure.figure: figure for figure in story.figures}
    missed = {
        name: float(told[f"{name}: FNMR at FMR 0.01"].value) for name in ("face alone", "signature alone", "together")
    }
    assert missed["together"] < missed["face alone"] < missed["signature alone"]
    assert told["together: realised FMR / 0.01"].holds is not None
    assert told["together, centres correlated 0.9: bound for any dependence / 0.01"].holds
