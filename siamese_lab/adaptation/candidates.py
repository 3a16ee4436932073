"""The ways to make a head that are tried, from the mildest on: of equally good ones the mildest is taken."""

from __future__ import annotations

import functools

from siamese_lab.adaptation.closed_forms import centred, two_covariance, whitened, within_normalised
from siamese_lab.adaptation.fitting import TrainingPlan, train_head
from siamese_lab.adaptation.guard import Candidates, Fit

PLANS = (
    TrainingPlan(pull=30.0),
    TrainingPlan(loss="supervised-contrastive", pull=30.0),
    TrainingPlan(hidden=64, pull=30.0),
)
"""Weaker pulls learn the training people by heart: at 1, no miss among them, and more among others than as served."""


def closed_forms() -> Candidates:
    """Those that a formula gives."""
    ways: dict[str, Fit] = {"centred": centred}
    for name, fit, strengths in (
        ("whitened", whitened, (0.1,)),
        ("within-class normalised", within_normalised, (0.1, 0.3)),
        ("two-covariance", two_covariance, (0.1,)),
    ):
        ways |= {f"{name}, strength {strength:g}": functools.partial(fit, strength=strength) for strength in strengths}
    return ways


def trained() -> Candidates:
    """Those that are trained."""
    return {plan.title: functools.partial(train_head, plan=plan) for plan in PLANS}


def all_candidates() -> Candidates:
    """Both."""
    return {**closed_forms(), **trained()}
