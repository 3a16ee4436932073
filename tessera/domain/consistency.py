"""Which samples do not look like the others that are said to be of the same subject.

A sample is compared with the mean embedding of those it should look like: of four rules that were measured on LFW
(nearest, median score, mean score, mean embedding) this one finds as many wrong samples whatever the number of others,
and takes few right ones for wrong (docs/enrolment-checks.md). Nothing here says which error rate a score stands for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError


def unlike_the_rest(samples: Vectors, own: Vectors, least_score: float) -> tuple[bool, ...]:
    """For each new sample, whether it is an outlier.

    Where the subject has templates these alone are the reference: several wrong samples that look like each other do
    not vouch for one another. Where it has none each sample is compared with the others. Two samples that differ are
    both outliers: nobody can say which one is wrong. A single sample of a new subject is none: there is nothing to
    compare it with.

    Args:
        samples: shape (m, d), unit rows: the new ones.
        own: shape (k, d), unit rows: the subject's templates; k = 0: it is new.
        least_score: a sample whose score with its reference is below is an outlier.

    Returns:
        One for each sample.

    Raises:
        InvalidInputError: the two differ in dimensions.
    """
    if own.size and own.shape[1:] != samples.shape[1:]:
        raise InvalidInputError("own", own.shape, f"rows of {samples.shape[1]} numbers")
    return tuple(score is not None and score < least_score for score in reference_scores(samples, own))


def reference_scores(samples: Vectors, own: Vectors) -> tuple[float | None, ...]:
    """The score of each new sample with what it should look like; None: there is nothing.

    Args:
        samples: shape (m, d), unit rows.
        own: shape (k, d), unit rows.
    """
    if own.size:
        return tuple(mean_score(sample, own) for sample in samples)
    if len(samples) == 1:
        return (None,)
    return tuple(mean_score(sample, np.delete(samples, at, axis=0)) for at, sample in enumerate(samples))


def templates_to_remove(
    scores_with_wrong: Sequence[float], templates: Vectors, match: float, alike: float
) -> list[int]:
    """Which templates of a subject made somebody else match.

    One goes when it matches the wrong sample and either does not look like the subject's other templates or looks more
    like the wrong sample than like any of them. One that looks like the others stays: it is the subject's own, and the
    two people are alike. The last one never goes.

    Args:
        scores_with_wrong: of each template with the wrong sample.
        templates: shape (n, d), unit rows.
        match: a score that is a match.
        alike: a score with the mean of the others from which on a template looks like them.

    Returns:
        Indices, in order.
    """
    if len(templates) < 2:
        return []
    among = templates.astype(np.float64) @ templates.astype(np.float64).T
    np.fill_diagonal(among, -np.inf)
    references = reference_scores(templates, templates[:0])
    chosen = [
        at
        for at, (wrong, reference) in enumerate(zip(scores_with_wrong, references, strict=True))
        if wrong >= match and ((reference or 0.0) < alike or wrong > float(among[at].max()))
    ]
    if len(chosen) < len(templates):
        return chosen
    return sorted(chosen, key=lambda at: -scores_with_wrong[at])[:-1]


def mean_score(sample: Vectors, others: Vectors) -> float:
    """The score of a sample with the mean embedding of others; 0 where these cancel out.

    Args:
        sample: shape (d,), a unit row.
        others: shape (k, d), unit rows; at least one.
    """
    mean = others.astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    return float(sample.astype(np.float64) @ mean / length) if length > 0.0 else 0.0
