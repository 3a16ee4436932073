"""What the decision benchmarks count: FNMR at equal FMR against a naive loop, and intervals that resample people."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmarks.decisions.templates import chance_of_best
from benchmarks.decisions.trials import Trials, fmr_at, fnmr_at_equal_fmr, trials
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError

SUBJECTS = 12


def _world(seed: int, shift: float) -> tuple[Trials, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probe_subject = rng.integers(0, SUBJECTS, 40)
    template_subject = np.arange(SUBJECTS)
    table = rng.normal(size=(40, SUBJECTS))
    mated = table[np.arange(40), probe_subject] + shift
    made = trials(
        table,
        probe_subject=probe_subject,
        template_subject=template_subject,
        mated_scores=mated,
        mated_subject=probe_subject,
        subjects=SUBJECTS,
        keep_fmr=1.0,
    )
    return made, table, probe_subject, mated


def test_fnmr_at_fmr_against_a_naive_loop() -> None:
    """With people weighted as often as drawn, the threshold lets at most the FMR through, and mates below it miss."""
    made, table, probe_subject, mated = _world(1, 1.0)
    rng = np.random.default_rng(2)
    for weights in (np.ones(SUBJECTS), rng.integers(0, 4, SUBJECTS).astype(float)):
        pairs = [
            (table[i, j], weights[probe_subject[i]] * weights[j])
            for i in range(40)
            for j in range(SUBJECTS)
            if probe_subject[i] != j
        ]
        total = sum(weight for _, weight in pairs)
        assert made.non_mated(weights) == pytest.approx(total)
        refused = next(
            score
            for score in sorted((score for score, _ in pairs), reverse=True)
            if sum(weight for other, weight in pairs if other >= score) > 0.1 * total
        )
        own = weights[probe_subject]
        assert made.fnmr(0.1, weights) == pytest.approx(own[mated <= refused].sum() / own.sum())
        assert made.fmr(float(np.nextafter(refused, np.inf)), weights) <= 0.1


def test_kinds_are_resampled_together() -> None:
    """A kind against itself has a ratio of 1 without any doubt; a better one has less than 1."""
    weak, strong = _world(3, 0.5)[0], _world(3, 3.0)[0]
    told = fnmr_at_equal_fmr({"weak": weak, "same": weak, "strong": strong}, 0.1, np.random.default_rng(4), 50)
    assert told.ratio("same", "weak").interval.low == told.ratio("same", "weak").interval.high == 1.0
    assert told.estimate("strong").value < told.estimate("weak").value
    assert told.ratio("weak", "strong").value > 1.0


def test_no_misses_at_all_are_infinitely_fewer() -> None:
    """Where a kind misses nobody, the ratio to it says so and stays a number or infinity."""
    told = fnmr_at_equal_fmr(
        {"weak": _world(3, 0.5)[0], "perfect": _world(3, 99.0)[0]}, 0.1, np.random.default_rng(4), 20
    )
    ratio = told.ratio("weak", "perfect")
    assert isinstance(ratio, Estimate)
    assert ratio.value == np.inf


def test_people_of_two_blocks_are_not_compared() -> None:
    """With two blocks of people, only pairs within a block count, as probes and among the highest scores."""
    rng = np.random.default_rng(6)
    owner, block = rng.integers(0, SUBJECTS, 40), np.arange(SUBJECTS) % 2
    made = trials(
        rng.normal(size=(40, SUBJECTS)),
        probe_subject=owner,
        template_subject=np.arange(SUBJECTS),
        mated_scores=[1.0],
        mated_subject=owner[:1],
        subjects=SUBJECTS,
        keep_fmr=1.0,
        block=block,
    )
    pairs = sum(block[owner[i]] == block[j] and owner[i] != j for i in range(40) for j in range(SUBJECTS))
    assert made.non_mated(np.ones(SUBJECTS)) == pairs == made.top_scores.size
    assert bool((block[made.top_probe] == block[made.top_template]).all())


def test_rates_beyond_what_was_kept_are_refused() -> None:
    """Only the highest scores are kept: an FMR that would need lower ones is an error, not a guess."""
    rng = np.random.default_rng(5)
    table = rng.normal(size=(40, SUBJECTS))
    owner = rng.integers(0, SUBJECTS, 40)
    made = trials(
        table,
        probe_subject=owner,
        template_subject=np.arange(SUBJECTS),
        mated_scores=[1.0],
        mated_subject=owner[:1],
        subjects=SUBJECTS,
        keep_fmr=0.05,
    )
    with pytest.raises(InvalidInputError):
        made.fnmr(0.2, np.ones(SUBJECTS))
    with pytest.raises(InvalidInputError):
        made.fmr(-9.0, np.ones(SUBJECTS))
    told = fmr_at({"one": made}, {"one": float(made.top_scores[3])}, rng, 20)
    assert told.measured["one"] == pytest.approx(4 / made.non_mated(np.ones(SUBJECTS)))


@pytest.mark.parametrize(("have", "k"), [(1, 1), (4, 2), (5, 5), (6, 3)])
def test_the_best_of_k_against_every_choice(have: int, k: int) -> None:
    """The chance that one of k templates matches is the share of all choices of k that hold one that does."""
    for reached in range(have + 1):
        choices = list(combinations(range(have), k))
        share = sum(min(choice) < reached for choice in choices) / len(choices)
        assert chance_of_best(np.array([reached]), have, k)[0] == pytest.approx(share)
