"""People whose templates are drawn: what the encoder gets right, and along which directions it is disturbed."""

from __future__ import annotations

import numpy as np

from siamese_lab.adaptation.templates import LabelledTemplates, labelled_templates

DIMENSIONS = 16


def made_up_people(count: int, seed: int, *, nuisance: float = 0.0, shared: float = 0.0) -> LabelledTemplates:
    """Three templates of each of `count` people.

    Args:
        count: of people.
        seed: draws all of it.
        nuisance: how far one person's templates lie apart along four directions, the same ones for everybody: what
            within-class normalisation can take out.
        shared: length of a vector that is in every template: what centring takes out.
    """
    rng = np.random.default_rng(seed)
    people = rng.normal(0.0, 1.0, (count, 1, DIMENSIONS))
    rows = people + rng.normal(0.0, 0.45, (count, 3, DIMENSIONS))
    rows[..., :4] += rng.normal(0.0, nuisance, (count, 3, 4)) if nuisance else 0.0
    rows[..., -1] += shared
    flat = rows.reshape(-1, DIMENSIONS)
    names = [f"person {at:04d}" for at in np.repeat(np.arange(count), 3)]
    return labelled_templates(flat / np.linalg.norm(flat, axis=1, keepdims=True), names, "made-up@1")
