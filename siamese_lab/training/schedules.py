"""The learning rate as a function of how far a run is: no state, so that a run that goes on has the rate it would have.

Every schedule gives a factor of 0 to 1 on the recipe's learning rate.
"""

from __future__ import annotations

import math

from siamese_lab.training.recipe import ScheduleKind, SchedulePart

_FIRST_OF_ONE_CYCLE = 0.04
"""Where one-cycle begins. Source: Smith and Topin, "Super-convergence", 2017; 1/25 as most libraries have it."""


def rate_factor(part: SchedulePart, epoch: float, epochs: float) -> float:
    """What the learning rate is multiplied by.

    Args:
        part: of the recipe.
        epoch: how far the run is, in epochs, from 0; 2.5 is in the middle of the third.
        epochs: how long the run is.

    Returns:
        0 to 1.
    """
    if part.kind is ScheduleKind.ONE_CYCLE:
        return _one_cycle(part, min(1.0, epoch / epochs))
    if epoch < part.warm_up_epochs:
        return epoch / part.warm_up_epochs
    return _after_warm_up(part, epoch - part.warm_up_epochs, epochs - part.warm_up_epochs)


def _after_warm_up(part: SchedulePart, epoch: float, epochs: float) -> float:
    turns = epoch / part.every_epochs
    match part.kind:
        case ScheduleKind.STEP:
            # a step that lands on the edge by rounding belongs behind it
            return float(part.factor ** math.floor(turns + 1e-9))
        case ScheduleKind.EXPONENTIAL:
            return float(part.factor**turns)
        case ScheduleKind.CYCLIC:
            # a triangle; Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017
            return part.lowest + (1.0 - part.lowest) * abs(1.0 - 2.0 * (turns % 1.0))
        case ScheduleKind.COSINE:
            return _cosine(1.0, part.lowest, min(1.0, epoch / epochs) if epochs > 0.0 else 1.0)
        case _:
            return 1.0


def _one_cycle(part: SchedulePart, share: float) -> float:
    if share < part.rising:
        return _cosine(_FIRST_OF_ONE_CYCLE, 1.0, share / part.rising)
    return _cosine(1.0, part.lowest, (share - part.rising) / (1.0 - part.rising))


def _cosine(start: float, end: float, share: float) -> float:
    """Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5."""
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0
