"""Differences between groups are claimed where they are, and not where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.group_findings import ErrorKind, Finding, GroupReport
from tessera.domain.group_tallies import ListedMatchTally, MatchTally, MissTally
from tessera.domain.groups import ErrorTallies, compare_groups, tallies_at
from tessera.domain.measurement import compare_all_pairs

DIMENSIONS = 48
EACH = 150
NAMES = "abc"


@dataclass(frozen=True, slots=True)
class World:
    """Subjects in three groups of 150, with one to some samples each."""

    vectors: Vectors
    owner: npt.NDArray[np.intp]
    groups: list[str]

    def threshold(self, fmr: float) -> float:
        """At which so many non-mated comparisons match."""
        found = compare_all_pairs(self.vectors, self.owner, keep_fmr=1.0).non_mated_scores
        return float(np.nextafter(found[int(fmr * found.size)], np.inf))

    def planted(self, group: str, factor: float, threshold: float, rng: np.random.Generator) -> World:
        """One group's samples drawn towards one direction until their own FMR is so many times what it was."""
        mine = np.array([self.groups[at] == group for at in self.owner])
        own, owner = self.vectors[mine], self.owner[mine]
        direction = rng.normal(size=DIMENSIONS)
        direction /= np.linalg.norm(direction)
        target, low, high = factor * false_match_share(own, owner, threshold), 0.0, 1.0
        for _ in range(30):
            share = (low + high) / 2.0
            drawn = unit((1.0 - share) * own + share * direction)
            below = false_match_share(drawn, owner, threshold) < target
            low, high = (share, high) if below else (low, share)
        vectors = self.vectors.copy()
        vectors[mine] = drawn
        return replace(self, vectors=vectors)

    def report(self, threshold: float, seed: int = 1, **options: object) -> GroupReport:
        """What is said of its groups."""
        comparisons = compare_all_pairs(self.vectors, self.owner, keep_fmr=0.2)
        rng = np.random.default_rng(seed)
        fast: dict[str, object] = {"permutations": 199, "replicates": 60}
        return compare_groups([tallies_at(comparisons, threshold)], self.groups, rng, **(fast | options))  # type: ignore[arg-type]  # options of one call


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    """Rows of length 1."""
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def false_match_share(vectors: Vectors, owner: npt.NDArray[np.intp], threshold: float) -> float:
    """FMR by the whole matrix."""
    apart = owner[:, None] != owner[None, :]
    return float(np.mean((vectors @ vectors.T)[apart] >= threshold))


def make_world(seed: int, each: int = EACH) -> World:
    """Like faces in the wild: most people have one or two pictures, some are more alike to everybody."""
    rng = np.random.default_rng(seed)
    people = each * len(NAMES)
    samples = np.minimum(rng.geometric(0.6, people), 12)
    owner = np.repeat(np.arange(people), samples)
    noise = np.repeat(rng.uniform(0.4, 0.9, people), samples)[:, None]
    vectors = np.repeat(rng.normal(size=(people, DIMENSIONS)), samples, axis=0)
    vectors += noise * rng.normal(size=vectors.shape)
    return World(unit(vectors), owner, [NAMES[at] for at in rng.permutation(people) % len(NAMES)])


@pytest.mark.parametrize("fmr", [1e-2, 1e-3])
def test_a_planted_fivefold_fmr_is_found_and_named(fmr: float) -> None:
    """In each of two worlds: the group that it was planted in stands out, and 5 lies in the interval of the ratio."""
    for seed in range(2):
        world = make_world(seed)
        threshold = world.threshold(fmr)
        found = world.planted("b", 5.0, threshold, np.random.default_rng(seed)).report(threshold).differences[0]
        assert found.finding is Finding.DIFFERENCE
        assert [rate.stands_out for rate in found.groups][1]
        assert found.max_over_min.interval is not None
        assert found.max_over_min.interval.low > 1.0


def test_labels_that_mean_nothing_are_seldom_claimed_to_differ() -> None:
    """Under 80 random labellings at most 8 claims: more would happen with probability 2 % at a true 5 %."""
    world = make_world(99)
    tally = tallies_at(compare_all_pairs(world.vectors, world.owner, keep_fmr=0.2), world.threshold(1e-2))
    claims = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(world.groups).tolist()
        report = compare_groups([tally], labels, rng, permutations=59, replicates=2)
        claims += any(one.finding is Finding.DIFFERENCE for one in report.differences)
    assert claims <= 8


def test_too_little_data_is_an_outcome_that_says_how_much_is_needed() -> None:
    """Five people in a group prove nothing at FMR 1e-3; no ratio and no p value is stated."""
    world = make_world(5, each=5)
    found = world.report(0.5).differences[0]
    assert found.finding is Finding.NOT_ENOUGH_DATA
    assert found.p_value is None
    assert found.max_over_min.value is None
    assert all(rate.needed is not None and rate.needed > rate.comparisons for rate in found.groups)


def test_a_group_that_is_too_small_is_left_out_of_ratio_and_claim() -> None:
    """Its own rate stays in the table, with what it would need."""
    world = make_world(7)
    groups = ["tiny" if at < 4 else name for at, name in enumerate(world.groups)]
    threshold = world.threshold(1e-2)
    found = replace(world, groups=groups).report(threshold).differences[0]
    tiny = next(rate for rate in found.groups if rate.group == "tiny")
    assert (tiny.subjects, tiny.stands_out) == (4, False)
    assert tiny.needed is not None
    assert found.finding is Finding.NO_DIFFERENCE_FOUND
    stated = [rate.rate for rate in found.groups if rate.needed is None and rate.rate is not None]
    assert found.max_over_min.value == pytest.approx(max(stated) / min(stated))


def test_a_group_without_an_error_gives_no_ratio_but_a_least_one() -> None:
    """Nothing is divided by nothing: what can be said is how large the ratio is at least."""
    people = 200
    groups = ["many" if at < people // 2 else "none" for at in range(people)]
    one, other = np.triu_indices(people // 2, 1)
    near = other - one <= 40
    matches = MatchTally.of(one[near], other[near], np.full(people, 2))
    tallies = ErrorTallies(0.5, matches, MissTally(np.zeros(people), np.ones(people)))
    found = compare_groups(
        [tallies], groups, np.random.default_rng(1), kinds=[ErrorKind.FMR], permutations=99, replicates=50
    ).differences[0]
    assert found.finding is Finding.DIFFERENCE
    assert (found.max_over_min.value, found.max_over_min.interval) == (None, None)
    assert found.max_over_min.at_least is not None
    assert found.max_over_min.at_least > 1.0
    assert found.max_over_geometric_mean.value is None


def test_nobody_erring_is_not_enough_data() -> None:
    """Without an error there is no rate to differ by."""
    tallies = ErrorTallies(0.9, MatchTally.of(*_none(), np.full(300, 2)), MissTally(np.zeros(300), np.ones(300)))
    groups = ["a", "b", "c"] * 100
    report = compare_groups([tallies], groups, np.random.default_rng(1))
    assert {one.finding for one in report.differences} == {Finding.NOT_ENOUGH_DATA}
    assert report.tests == 2
    assert {one.p_value for one in report.differences} == {None}


def _none() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.empty(0, np.intp), np.empty(0, np.intp)


def test_more_looks_need_stronger_evidence() -> None:
    """The same threshold looked at four times has four times the p value, up to 1."""
    world = make_world(11)
    threshold = world.threshold(1e-2)
    comparisons = compare_all_pairs(world.vectors, world.owner, keep_fmr=0.2)
    tally = tallies_at(comparisons, threshold)

    def p_values(times: int) -> list[float]:
        report = compare_groups(
            [tally] * times, world.groups, np.random.default_rng(1), kinds=[ErrorKind.FMR],
            permutations=99, replicates=10,
        )  # fmt: skip
        assert report.tests == times
        return [one.p_value for one in report.differences if one.p_value is not None]

    assert min(p_values(4)) >= p_values(1)[0]


def test_people_without_a_label_are_left_out_and_counted() -> None:
    """Their comparisons are in no group."""
    world = make_world(3)
    groups: list[str | None] = [None if at % 3 == 0 else name for at, name in enumerate(world.groups)]
    comparisons = compare_all_pairs(world.vectors, world.owner, keep_fmr=0.2)
    report = compare_groups(
        [tallies_at(comparisons, world.threshold(1e-2))], groups, np.random.default_rng(1), permutations=9, replicates=5
    )
    assert report.unlabelled == 150
    assert sum(rate.subjects for rate in report.differences[0].groups) == 300


def test_across_groups_every_comparison_is_in_one_cell() -> None:
    """Within and across add up to all of them, errors as well as comparisons."""
    world = make_world(4)
    threshold = world.threshold(1e-2)
    report = world.report(threshold, across=True, permutations=9, replicates=5)
    found = compare_all_pairs(world.vectors, world.owner, keep_fmr=0.2)
    cells = [(one.comparisons, one.errors) for one in report.differences[0].groups]
    cells += [(one.comparisons, one.errors) for one in report.across]
    assert sum(comparisons for comparisons, _ in cells) == found.non_mated_total
    assert sum(errors for _, errors in cells) == int((found.non_mated_scores >= threshold).sum())


def test_what_cannot_be_judged_is_refused() -> None:
    """One group, a label too few, and a threshold below the scores that were kept."""
    world = make_world(2, each=10)
    comparisons = compare_all_pairs(world.vectors, world.owner, keep_fmr=0.01)
    tally = tallies_at(comparisons, 1.0)
    rng = np.random.default_rng(1)
    with pytest.raises(InvalidInputError, match="two or more"):
        compare_groups([tally], ["a"] * 30, rng)
    with pytest.raises(InvalidInputError, match="one for each of 30"):
        compare_groups([tally], ["a", "b"], rng)
    with pytest.raises(InvalidInputError, match="were not kept"):
        tallies_at(comparisons, -1.0)


# ---- the counts themselves


Pairs = list[tuple[int, int]]


@st.composite
def counted_pairs(draw: st.DrawFn) -> tuple[list[int], list[int], Pairs]:
    """Samples of each subject, their groups, and false matches between different subjects, some of them repeated."""
    subjects = draw(st.integers(3, 9))
    samples = draw(st.lists(st.integers(1, 3), min_size=subjects, max_size=subjects))
    groups = draw(st.lists(st.integers(0, 1), min_size=subjects, max_size=subjects))
    pair = st.tuples(st.integers(0, subjects - 1), st.integers(0, subjects - 1)).filter(lambda two: two[0] != two[1])
    matches: Pairs = []
    for i, j in draw(st.lists(pair, max_size=12)):
        if (
            sum({i, j} == set(match) for match in matches) < samples[i] * samples[j]
        ):  # nothing matches more than is compared
            matches.append((i, j))
    return samples, groups, matches


def naive(samples: list[int], groups: list[int], matches: Pairs, group: int) -> tuple[float, float, float]:
    """Errors, comparisons and variance of one group: loops over pairs, and over pairs of pairs that share a subject."""
    people = [at for at, mine in enumerate(groups) if mine == group]
    pairs = [(i, j) for i in people for j in people if i < j]
    errors = {pair: sum(set(pair) == set(match) for match in matches) for pair in pairs}
    trials = {(i, j): samples[i] * samples[j] for i, j in pairs}
    rate = sum(errors.values()) / max(sum(trials.values()), 1)
    residual = {pair: errors[pair] - rate * trials[pair] for pair in pairs}
    variance = sum(residual[one] * residual[two] for one in pairs for two in pairs if set(one) & set(two))
    correction = len(people) / max(len(people) - 1, 1)
    return sum(errors.values()), sum(trials.values()), max(variance, 0.0) * correction


@settings(max_examples=40, deadline=None)
@given(counted_pairs())
def test_counts_and_variance_are_those_of_the_naive_loop(world: tuple[list[int], list[int], Pairs]) -> None:
    """For comparisons of all pairs, and for the very same comparisons listed one by one."""
    samples, groups, matches = world
    first, second = (np.array([match[at] for match in matches], dtype=np.intp) for at in (0, 1))
    labels = np.array(groups, dtype=np.intp)
    whole = MatchTally.of(first, second, samples)
    for tally in (whole, listed(samples, matches)):
        counts = tally.by_group(labels, 2)
        for group in (0, 1):
            found = counts.errors[group], counts.trials[group], counts.variance[group]
            assert found == pytest.approx(naive(samples, groups, matches, group), abs=1e-9)


def listed(samples: list[int], matches: Pairs) -> ListedMatchTally:
    """Every comparison by itself."""
    people = range(len(samples))
    first, second, matched = [], [], []
    for i in people:
        for j in people:
            if i < j:
                hits = sum({i, j} == set(match) for match in matches)
                trials = samples[i] * samples[j]
                first += [i] * trials
                second += [j] * trials
                matched += [at < hits for at in range(trials)]
    return ListedMatchTally.of(np.array(first), np.array(second), np.array(matched, dtype=bool), len(samples))


@settings(max_examples=30, deadline=None)
@given(counted_pairs(), st.randoms(use_true_random=False))
def test_the_order_of_subjects_changes_nothing(
    world: tuple[list[int], list[int], Pairs], random: Callable[..., object]
) -> None:
    """Leaving out nobody, in whatever order, is the same count."""
    samples, groups, matches = world
    first, second = (np.array([match[at] for match in matches], dtype=np.intp) for at in (0, 1))
    order = np.random.default_rng(hash(str(random)) % 2**32).permutation(len(samples)).astype(np.intp)
    tally, labels = MatchTally.of(first, second, samples), np.array(groups, dtype=np.intp)
    one, other = tally.by_group(labels, 2), tally.restricted(order).by_group(labels[order], 2)
    np.testing.assert_allclose(one.errors, other.errors)
    np.testing.assert_allclose(one.variance, other.variance, atol=1e-9)


def test_misses_are_clusters_of_subjects() -> None:
    """By hand: two subjects with residuals +1 and -1 have a variance of 2, times G / (G - 1) = 2."""
    counts = MissTally(np.array([2.0, 0.0]), np.array([2.0, 2.0])).by_group(np.zeros(2, dtype=np.intp), 1)
    assert (counts.errors[0], counts.trials[0], counts.variance[0]) == (2.0, 4.0, 4.0)
