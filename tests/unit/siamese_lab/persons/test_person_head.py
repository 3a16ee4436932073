"""The narrow layer in closed form: it looks past what varies within a person, and stands in the network as fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from person_world import archive_of

from siamese_lab.persons.cameras import CameraChanges
from siamese_lab.persons.data import Split, read_con_reid
from siamese_lab.persons.head import HeadFit, fit_head, fit_projection, looks_of
from siamese_lab.persons.network import PersonNetwork


def _told_apart(
    vectors: np.ndarray[tuple[int, ...], np.dtype[np.float64]], person: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> float:
    """The mean cosine of two pictures of one person, above that of two people."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, same = unit @ unit.T, person[:, None] == person[None, :]
    return float(cosines[same].mean() - cosines[~same].mean())


def test_what_varies_within_a_person_is_shortened() -> None:
    """One loud direction that says nothing of whose a picture is hides four that do, and no longer does."""
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(12), 10)
    features = np.concatenate(
        [8.0 * rng.normal(size=(120, 1)), rng.normal(size=(12, 4))[person], np.zeros((120, 3))], 1
    ) + 0.3 * rng.normal(size=(120, 8))
    made = fit_projection(features, person, 0.01, 5)
    assert made.directions.shape == (5, 8)
    projected = (features - made.mean) @ made.directions.T
    assert _told_apart(projected, person) > _told_apart(features - made.mean, person) + 0.4


def test_shrinkage_without_end_leaves_angles_as_they_are() -> None:
    """With nothing but the identity to go by, directions are turned and none is shortened."""
    rng = np.random.default_rng(2)
    features, person = rng.normal(size=(40, 6)), np.repeat(np.arange(8), 5)
    made = fit_projection(features, person, 1e9, 6)
    before, after = features - made.mean, (features - made.mean) @ made.directions.T
    np.testing.assert_allclose(
        after @ after.T / np.linalg.norm(after) ** 2, before @ before.T / np.linalg.norm(before) ** 2, atol=1e-6
    )


def test_a_fitted_head_stands_in_the_network(tmp_path: Path) -> None:
    """What the network gives for a picture is the projection of what its trunk gives."""
    people = read_con_reid(archive_of(tmp_path, {Split.TRAIN: range(1, 5)}, 2), Split.TRAIN)
    torch.manual_seed(1)
    network, how = PersonNetwork(6).eval(), HeadFit(pictures=2, shifted=1)
    features, person = looks_of(network, people, how, CameraChanges())
    assert features.shape == (24, 1280)
    assert np.bincount(person)[1:].tolist() == [6, 6, 6, 6]
    fit_head(network, people, how, CameraChanges())
    made = fit_projection(features, person, how.shrinkage, 6)
    images = torch.rand(3, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        pooled, given = network.pooled(images).double().numpy(), network(images).numpy()
    np.testing.assert_allclose(given, (pooled - made.mean) @ made.directions.T, rtol=2e-3, atol=2e-3)
