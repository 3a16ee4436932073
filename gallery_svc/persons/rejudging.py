"""Anonymous persons, judged anew when somebody has passed: what a camera shows of everybody tells nobody apart.

The first look at a camera has nothing to be held against. Once several people have passed, the mean of a camera's looks
is its light, its place and its background; taken away, two people in dark clothes are two. So whenever a tracklet ends,
the looks of the last hours are put together again: the most alike first, never two whom one camera saw at once, and
only where a whole group is alike enough on average. The threshold is that of a search among as many, by the same
calibration. It was measured without centring, which makes strangers less alike: it errs on the side of too many ids.

Source: the mean of each camera taken away: Zhuang et al., "Rethinking the distribution gap of person
re-identification with camera-based batch normalization", ECCV 2020, arXiv:2001.08680.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gallery_svc.persons.looks import Facts, Looks
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.person_records import PersonLook
from gallery_svc.thresholds import Thresholds
from tessera.domain.embedding import Vector, Vectors
from tessera.domain.errors import CalibrationTooSmallError, NoCalibrationError

MAX_REJUDGED = 256
"""The newest looks; a group is sought among no more."""
LEAST_PEOPLE = 3
"""Of one camera, or of all, whose mean means something."""

Scores = npt.NDArray[np.float32]
"""float32, shape (n, n)."""


@dataclass(frozen=True, slots=True)
class Rejudging:
    """Puts looks together again.

    Args:
        thresholds: the error rates.
    """

    thresholds: Thresholds

    def changed(self, looks: Looks, record: CollectionRecord) -> list[PersonLook]:
        """The looks that are of another person than they were taken for, as they should be."""
        rows = np.argsort(-looks.facts["last_s"], kind="stable")[:MAX_REJUDGED]
        if np.unique(looks.facts["person"][rows]).size < LEAST_PEOPLE:
            return []
        try:
            threshold = self.thresholds.for_search(
                record.model_id,
                record.policy.identify_target_fpir,
                rows.size,
                allow_extrapolation=record.policy.allow_extrapolation,
            )
        except (CalibrationTooSmallError, NoCalibrationError):
            return []
        facts = looks.facts[rows]
        groups = _groups(_centred_scores(looks.vectors[rows], facts), _apart(facts), threshold.score)
        return _renamed([looks.compared[row] for row in rows], groups)


def _centred_scores(vectors: Vectors, facts: Facts) -> Scores:
    """How alike looks are without what their camera's people have in common; cameras that saw few share one mean."""
    people, cameras = facts["person"], facts["camera"]
    mean = _mean_of_people(vectors, people)
    centred = np.empty_like(vectors)
    for camera in np.unique(cameras):
        own = cameras == camera
        has_many = np.unique(people[own]).size >= LEAST_PEOPLE
        centred[own] = vectors[own] - (_mean_of_people(vectors[own], people[own]) if has_many else mean)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(centred @ centred.T, np.float32)


def _mean_of_people(vectors: Vectors, people: npt.NDArray[np.int64]) -> Vector:
    """The mean in which everybody counts once, however often they were seen: shape (d,)."""
    means = [vectors[people == person].mean(axis=0) for person in np.unique(people)]
    return np.asarray(np.mean(means, axis=0), np.float32)


def _apart(facts: Facts) -> npt.NDArray[np.bool_]:
    """Whether one camera saw two at the same time: shape (n, n)."""
    first, last, camera = facts["first_s"], facts["last_s"], facts["camera"]
    meets = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    return np.asarray(meets & (camera[:, None] == camera[None, :]), np.bool_)


def _groups(scores: Scores, apart: npt.NDArray[np.bool_], least: float) -> list[list[int]]:
    """Who belongs together: the most alike first, where all of both groups may be one and are alike on average."""
    group_of = [[at] for at in range(len(scores))]
    first, second = np.triu_indices(len(scores), 1)
    alike = np.flatnonzero(scores[first, second] >= least)
    for at in alike[np.argsort(-scores[first, second][alike], kind="stable")]:
        one, other = group_of[first[at]], group_of[second[at]]
        block = np.ix_(one, other)
        if one is other or apart[block].any() or float(scores[block].mean()) < least:
            continue
        one.extend(other)
        for member in other:
            group_of[member] = one
    return list({id(group): group for group in group_of}.values())


def _renamed(looks: list[PersonLook], groups: list[list[int]]) -> list[PersonLook]:
    """Each group keeps the id that most of it have, or that the oldest has; larger groups choose first."""
    taken: set[str] = set()
    changed: list[PersonLook] = []
    for group in sorted(groups, key=lambda members: (-len(members), min(looks[at].first_seen for at in members))):
        oldest_first = sorted(group, key=lambda at: looks[at].first_seen)
        told = Counter(looks[at].person_id for at in oldest_first).most_common()
        held = [name for name, _ in told if name not in taken]
        person_id = held[0] if held else f"person-{secrets.token_hex(8)}"
        taken.add(person_id)
        since = min(looks[at].person_since for at in group)
        changed += [
            replace(looks[at], person_id=person_id, person_since=since)
            for at in group
            if looks[at].person_id != person_id
        ]
    return changed
