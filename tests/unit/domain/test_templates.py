"""From views to templates: the vectorised way against one face after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.templates import as_templates

Rows = npt.NDArray[np.float32]


def _naive(raw: Rows, faces: int, centre: Rows | None) -> Rows:
    """One face after the other, in double precision."""
    templates = []
    for face in range(faces):
        total = np.zeros(raw.shape[1])
        for view in range(len(raw) // faces):
            total += raw[view * faces + face].astype(float)
        unit = total / np.sqrt(np.sum(total**2))
        if centre is not None:
            unit = unit - centre.astype(float)
            unit = unit / np.sqrt(np.sum(unit**2))
        templates.append(unit)
    return np.array(templates, dtype=np.float32)


@given(st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_it_is_what_one_face_after_the_other_gives(faces: int, views: int, centred: bool, seed: int) -> None:
    """For any number of faces and views, with a centre and without one."""
    chance = np.random.default_rng(seed)
    raw = chance.normal(size=(views * faces, 16)).astype(np.float32)
    centre = chance.normal(scale=0.1, size=16).astype(np.float32) if centred else None
    templates = as_templates(raw, faces, centre)
    assert templates.dtype == np.float32
    np.testing.assert_allclose(templates, _naive(raw, faces, centre), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(templates, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("length", [0.01, 1.0, 300.0])
def test_the_length_of_what_the_network_gives_does_not_matter(length: float) -> None:
    """Only its direction does."""
    raw = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    np.testing.assert_allclose(as_templates(raw * np.float32(length), 3), as_templates(raw, 3), atol=1e-6)
