"""The narrow layer anew, in closed form, once the trunk is trained.

Sixty people teach a trunk more than they teach 300,000 weights on top of it: on people who were not learned from, the
trunk's 1,280 numbers rank better than the 256 that training made of them. So these are made again: directions in which
pictures of one person vary are shortened, and of what is left the 256 with the largest spread are kept.

Source: Hatch, Kajarekar and Stolcke, "Within-Class Covariance Normalization for SVM-based Speaker Recognition",
Interspeech 2006; the covariance is shrunk towards a multiple of the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from siamese_lab.persons.cameras import CameraChanges, seen_by_another, without_bars
from siamese_lab.persons.data import People
from siamese_lab.persons.network import PersonNetwork
from tessera.domain.errors import InvalidInputError
from tessera.imaging.person import fit_crop, person_input

Floats = npt.NDArray[np.float64]

_ROWS = 64


@dataclass(frozen=True, slots=True)
class HeadFit:
    """What the layer is fitted on."""

    pictures: int = 24
    """Of each person at most."""
    shifted: int = 2
    """How many other cameras see each, besides as it is and without bars."""
    shrinkage: float = 3.0
    """Of the mean variance, that is added to every direction."""
    seed: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A linear layer: (x - mean) @ directions.T."""

    mean: Floats
    """(d,)."""
    directions: Floats
    """(kept, d)."""


def fit_head(network: PersonNetwork, people: People, how: HeadFit, changes: CameraChanges) -> None:
    """Replace the narrow layer and the batch norm behind it.

    Args:
        network: trained, in evaluation mode; it is changed.
        people: those that it learned from.
        how: the numbers.
        changes: of the other cameras.
    """
    features, person = looks_of(network, people, how, changes)
    made = fit_projection(features, person, how.shrinkage, network.dimensions)
    neck = network.neck
    with torch.no_grad():
        network.narrow.weight.copy_(torch.from_numpy(made.directions))
        # A batch norm that subtracts the mean and does nothing else.
        for value, told in ((neck.running_mean, made.directions @ made.mean), (neck.running_var, 1.0 - neck.eps)):
            if value is not None:
                value.copy_(torch.as_tensor(told, dtype=torch.float32))
        neck.weight.fill_(1.0)
        neck.bias.fill_(0.0)


def looks_of(
    network: PersonNetwork, people: People, how: HeadFit, changes: CameraChanges
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """What the trunk makes of pictures as they are, without bars, and by other cameras: (n, 1280), and whose."""
    rng = np.random.default_rng(how.seed)
    chosen = np.zeros(len(people.person), np.bool_)
    for one in np.unique(people.person):
        rows = np.flatnonzero(people.person == one)
        chosen[rng.choice(rows, min(how.pictures, len(rows)), replace=False)] = True
    some = people.of(chosen)
    looks = [*some.crops, *(fit_crop(without_bars(crop)) for crop in some.crops)]
    for _ in range(how.shifted):
        others = rng.integers(len(some.crops), size=len(some.crops))
        looks += [
            seen_by_another(crop, some.crops[at], changes, rng) for crop, at in zip(some.crops, others, strict=True)
        ]
    return _pooled(network, np.stack(looks)), np.tile(some.person, 2 + how.shifted)


def fit_projection(features: Floats, person: npt.NDArray[np.int64], shrinkage: float, kept: int) -> Projection:
    """Within-class covariance normalisation, and the directions of the largest spread.

    Args:
        features: (n, d).
        person: (n,).
        shrinkage: see HeadFit.
        kept: directions.

    Raises:
        InvalidInputError: there are fewer features, or numbers in one, than directions.
    """
    if kept > min(features.shape):
        raise InvalidInputError("head", features.shape, f"at least {kept} pictures of as many numbers")
    mean = features.mean(0)
    own = np.stack([features[person == one].mean(0) for one in np.unique(person)])
    apart = features - own[np.searchsorted(np.unique(person), person)]
    within = apart.T @ apart / len(features)
    within += shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    lengths, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(lengths)
    _, _, directions = np.linalg.svd((features - mean) @ whitening, full_matrices=False)
    return Projection(mean, directions[:kept] @ whitening.T)


def _pooled(network: PersonNetwork, crops: npt.NDArray[np.uint8]) -> Floats:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), _ROWS):
            seen = torch.from_numpy(person_input(list(crops[start : start + _ROWS])))
            parts.append(network.pooled(seen).double().numpy())
    return np.concatenate(parts)
