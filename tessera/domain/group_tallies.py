"""Errors and comparisons counted by group: what differences between groups are measured on.

Knows subjects by number and groups by number, never who or what they are; judges nothing.

A false match joins two subjects, so that matches that share a subject come together: the variance of a count is that of
sums over pairs of units (dyads). A false non-match belongs to one subject: its variance is that of sums over clusters.

Source: Fafchamps and Gubert, "The formation of risk sharing networks", J. Dev. Econ. 83 (2007), eq. 2.6, for dyads;
Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks", IJCV 132 (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tessera.domain.dependence import (
    AllPairs,
    ListedPairs,
    Spread,
    dependence_adjusted_wilson,
    pair_spread,
    subject_adjusted_wilson,
    subject_spread,
)
from tessera.domain.error_rates import Interval

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """What was counted in each group; every array has shape (groups,)."""

    errors: Floats
    trials: Floats
    """Comparisons."""
    variance: Floats
    """Of the errors, with what subjects share taken into account."""

    def rates(self) -> Floats:
        """Errors over comparisons; 0 where there is no comparison."""
        return self.errors / np.maximum(self.trials, 1.0)

    def log_rates(self) -> Floats:
        """ln((errors + 1/2) / (comparisons + 1)): a group without an error keeps a number."""
        return np.log((self.errors + 0.5) / (self.trials + 1.0))

    def log_variance(self) -> Floats:
        """Of the logarithm of each rate, by the delta method; never less than if all errors were independent."""
        seen = self.errors + 0.5
        return np.maximum(self.variance, seen) / seen**2


class Tally(Protocol):
    """Errors of one kind at one threshold, by subject."""

    @property
    def subjects(self) -> int:
        """How many there are."""
        ...

    def restricted(self, kept: Indices) -> Tally:
        """These subjects alone, by their places in `kept`."""
        ...

    def by_group(self, labels: Indices, groups: int) -> GroupCounts:
        """Count, where `labels` (shape (subjects,)) says each subject's group."""
        ...

    def resampled(self, labels: Indices, groups: int, weights: Floats) -> tuple[Floats, Floats]:
        """Errors and comparisons of each group, where subject i is there `weights[i]` times."""
        ...

    def interval(self) -> Interval:
        """95 %, of the rate of all of its comparisons."""
        ...

    def spread(self) -> Spread:
        """How far the rate of all of its comparisons is uncertain."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MissTally:
    """False non-matches: each belongs to one subject."""

    errors: Floats
    """Shape (subjects,)."""
    trials: Floats
    """Shape (subjects,): mated comparisons."""

    @property
    def subjects(self) -> int:
        """How many there are."""
        return self.errors.size

    def restricted(self, kept: Indices) -> MissTally:
        """These subjects alone."""
        return MissTally(self.errors[kept], self.trials[kept])

    def by_group(self, labels: Indices, groups: int) -> GroupCounts:
        """Count: the variance is the sum of squared residuals of whole subjects."""
        errors, trials = _sums(labels, self.errors, groups), _sums(labels, self.trials, groups)
        residual = self.errors - (errors / np.maximum(trials, 1.0))[labels] * self.trials
        with_trials = _sums(labels, (self.trials > 0).astype(np.float64), groups)
        return GroupCounts(errors, trials, _sums(labels, residual**2, groups) * _small_sample(with_trials))

    def resampled(self, labels: Indices, groups: int, weights: Floats) -> tuple[Floats, Floats]:
        """Each subject counts by its weight."""
        return _sums(labels, weights * self.errors, groups), _sums(labels, weights * self.trials, groups)

    def interval(self) -> Interval:
        """95 %, of the rate of all comparisons, clustered by subject."""
        return subject_adjusted_wilson(self.errors, self.trials)

    def spread(self) -> Spread:
        """How far the rate is uncertain, over subjects."""
        return subject_spread(self.errors, self.trials)


@dataclass(frozen=True, slots=True, eq=False)
class MatchTally:
    """False matches where every sample was compared with every other."""

    first: Indices
    """Shape (k,): of each pair of subjects that matched at least once, one."""
    second: Indices
    """The other."""
    errors: Floats
    """Shape (k,): how often they did."""
    samples: Floats
    """Shape (subjects,): of each subject; two subjects have the product of theirs as comparisons."""

    @property
    def subjects(self) -> int:
        """How many there are."""
        return self.samples.size

    @classmethod
    def of(cls, first: Indices, second: Indices, samples: npt.ArrayLike) -> MatchTally:
        """Count false matches, given as the two subjects of each."""
        one, other, errors = _by_pair(first, second, np.size(samples))
        return cls(one, other, errors, np.asarray(samples, dtype=np.float64))

    def restricted(self, kept: Indices) -> MatchTally:
        """These subjects alone, and the matches among them."""
        there, place = _places(kept, self.subjects)
        both = there[self.first] & there[self.second]
        first, second = place[self.first[both]], place[self.second[both]]
        return MatchTally(first, second, self.errors[both], self.samples[kept])

    def by_group(self, labels: Indices, groups: int) -> GroupCounts:
        """Count comparisons of two subjects of the same group."""
        trials, partners = self._trials(labels, groups, self.samples)
        group, first, second, count = self._within(labels)
        errors = _sums(group, count, groups)
        rate = errors / np.maximum(trials, 1.0)
        own = _sums(first, count, self.subjects) + _sums(second, count, self.subjects)
        residual = own - rate[labels] * partners
        # Every pair of subjects stands in two subjects' sums, so that its own square is counted twice: once is enough.
        squares = _sums(labels, self.samples**2, groups)
        pairs = (squares**2 - _sums(labels, self.samples**4, groups)) / 2.0
        joint = _sums(group, count * self.samples[first] * self.samples[second], groups)
        twice = _sums(group, count**2, groups) - 2.0 * rate * joint + rate**2 * pairs
        variance = _sums(labels, residual**2, groups) - twice
        members = _sums(labels, np.ones(self.subjects), groups)
        return GroupCounts(errors, trials, np.maximum(variance, 0.0) * _small_sample(members))

    def resampled(self, labels: Indices, groups: int, weights: Floats) -> tuple[Floats, Floats]:
        """Each pair of subjects counts by the product of their weights."""
        trials, _ = self._trials(labels, groups, weights * self.samples)
        group, first, second, count = self._within(labels)
        return _sums(group, count * weights[first] * weights[second], groups), trials

    def interval(self) -> Interval:
        """95 %, of the rate of all comparisons, which share subjects."""
        first, second = _each(self.first, self.second, self.errors)
        return dependence_adjusted_wilson(first, second, AllPairs(self.samples))

    def spread(self) -> Spread:
        """How far the rate is uncertain, over subjects."""
        return pair_spread(*_each(self.first, self.second, self.errors), AllPairs(self.samples))

    def across(self, labels: Indices, groups: int) -> tuple[Floats, Floats]:
        """Errors and comparisons of each pair of groups: both of shape (groups, groups), symmetric."""
        cell = labels[self.first] * groups + labels[self.second]
        sums = _sums(labels, self.samples, groups)
        trials: Floats = np.outer(sums, sums)
        np.fill_diagonal(trials, self._trials(labels, groups, self.samples)[0])
        return _both_ways(_sums(cell, self.errors, groups * groups).reshape(groups, groups)), trials

    def _within(self, labels: Indices) -> tuple[Indices, Indices, Indices, Floats]:
        group = labels[self.first]
        same = group == labels[self.second]
        return group[same], self.first[same], self.second[same], self.errors[same]

    @staticmethod
    def _trials(labels: Indices, groups: int, samples: Floats) -> tuple[Floats, Floats]:
        """Comparisons of each group, and those that each subject takes part in."""
        sums = _sums(labels, samples, groups)
        return (sums**2 - _sums(labels, samples**2, groups)) / 2.0, samples * (sums[labels] - samples)


@dataclass(frozen=True, slots=True, eq=False)
class ListedMatchTally:
    """False matches where only some pairs of samples were compared, each of them listed."""

    first: Indices
    """Shape (k,): of each pair of subjects that was compared, one."""
    second: Indices
    """The other."""
    errors: Floats
    """Shape (k,): how often they matched."""
    trials: Floats
    """Shape (k,): how often they were compared."""
    subjects: int
    """How many there are."""

    @classmethod
    def of(cls, first: Indices, second: Indices, matched: npt.NDArray[np.bool_], subjects: int) -> ListedMatchTally:
        """Count comparisons, given as the two subjects of each and whether they matched."""
        one, other, trials = _by_pair(first, second, subjects)
        at, found, errors = _by_pair(first[matched], second[matched], subjects)
        where = np.searchsorted(one * subjects + other, at * subjects + found)
        all_errors = np.zeros(trials.size)
        all_errors[where] = errors
        return cls(one, other, all_errors, trials, subjects)

    def restricted(self, kept: Indices) -> ListedMatchTally:
        """These subjects alone, and the comparisons among them."""
        there, place = _places(kept, self.subjects)
        both = there[self.first] & there[self.second]
        first, second = place[self.first[both]], place[self.second[both]]
        return ListedMatchTally(first, second, self.errors[both], self.trials[both], kept.size)

    def by_group(self, labels: Indices, groups: int) -> GroupCounts:
        """Count comparisons of two subjects of the same group."""
        group = labels[self.first]
        same = group == labels[self.second]
        group, first, second = group[same], self.first[same], self.second[same]
        errors, trials = _sums(group, self.errors[same], groups), _sums(group, self.trials[same], groups)
        residual = self.errors[same] - (errors / np.maximum(trials, 1.0))[group] * self.trials[same]
        whole = _sums(first, residual, self.subjects) + _sums(second, residual, self.subjects)
        variance = _sums(labels, whole**2, groups) - _sums(group, residual**2, groups)
        members = _sums(labels, np.ones(self.subjects), groups)
        return GroupCounts(errors, trials, np.maximum(variance, 0.0) * _small_sample(members))

    def resampled(self, labels: Indices, groups: int, weights: Floats) -> tuple[Floats, Floats]:
        """Each pair of subjects counts by the product of their weights."""
        group = labels[self.first]
        weight = np.where(group == labels[self.second], weights[self.first] * weights[self.second], 0.0)
        return _sums(group, weight * self.errors, groups), _sums(group, weight * self.trials, groups)

    def interval(self) -> Interval:
        """95 %, of the rate of all comparisons, which share subjects."""
        first, second = _each(self.first, self.second, self.errors)
        return dependence_adjusted_wilson(first, second, ListedPairs(*_each(self.first, self.second, self.trials)))

    def spread(self) -> Spread:
        """How far the rate is uncertain, over subjects."""
        first, second = _each(self.first, self.second, self.errors)
        return pair_spread(first, second, ListedPairs(*_each(self.first, self.second, self.trials)))

    def across(self, labels: Indices, groups: int) -> tuple[Floats, Floats]:
        """Errors and comparisons of each pair of groups: both of shape (groups, groups), symmetric."""
        cell = labels[self.first] * groups + labels[self.second]
        errors, trials = (
            _both_ways(_sums(cell, counted, groups * groups).reshape(groups, groups))
            for counted in (self.errors, self.trials)
        )
        return errors, trials


def _by_pair(first: Indices, second: Indices, subjects: int) -> tuple[Indices, Indices, Floats]:
    """Each pair of subjects once, the lower number first, in order, and how often it is there."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    pair, count = np.unique(low * subjects + high, return_counts=True)
    return pair // max(subjects, 1), pair % max(subjects, 1), count.astype(np.float64)


def _each(first: Indices, second: Indices, times: Floats) -> tuple[Indices, Indices]:
    """Pairs that are there several times, one by one."""
    whole = times.astype(np.intp)
    return np.repeat(first, whole), np.repeat(second, whole)


def _places(kept: Indices, subjects: int) -> tuple[npt.NDArray[np.bool_], Indices]:
    there = np.zeros(subjects, dtype=bool)
    there[kept] = True
    place = np.zeros(subjects, dtype=np.intp)
    place[kept] = np.arange(kept.size)
    return there, place


def _both_ways(table: Floats) -> Floats:
    """What was counted as (one, other) and as (other, one) together, in both places."""
    whole: Floats = table + table.T - np.diag(np.diag(table))
    return whole


def _sums(where: Indices, values: Floats, length: int) -> Floats:
    # Without any value numpy counts in whole numbers, whatever the weights.
    return np.bincount(where, weights=values, minlength=length).astype(np.float64, copy=False)


def _small_sample(members: Floats) -> Floats:
    """G / (G - 1): sums of residuals around their own mean are too small by this."""
    return members / np.maximum(members - 1.0, 1.0)
