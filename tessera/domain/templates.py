"""From what the network gives for the views of a face to the one unit vector that stands for it."""

from __future__ import annotations

import numpy as np

from tessera.domain.embedding import Vector, Vectors


def as_templates(raw: Vectors, faces: int, centre: Vector | None = None) -> Vectors:
    """Join the views of each face, take off what all faces share, and bring each to length 1.

    Args:
        raw: float32 (views x faces, d), any length: first each face's first view, then each one's second.
        faces: how many there are.
        centre: float32 (d,), the mean of many people's unit vectors; None: nothing is taken off.

    Returns:
        float32 (faces, d), each row of length 1.
    """
    joined = raw.reshape(-1, faces, raw.shape[1]).sum(axis=0)
    unit = joined / np.linalg.norm(joined, axis=1, keepdims=True)
    if centre is not None:
        unit = unit - centre
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    templates: Vectors = unit.astype(np.float32, copy=False)
    return templates
