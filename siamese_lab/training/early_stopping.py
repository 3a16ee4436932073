"""Which epoch was the best and whether to go on: a function of the history, so that there is nothing to keep."""

from __future__ import annotations

from collections.abc import Sequence

from siamese_lab.training.recipe import EarlyStoppingPart


def best_epoch(accuracies: Sequence[float], least_gain: float = 0.0) -> int:
    """The epoch that did best.

    Args:
        accuracies: of each epoch so far, at least one.
        least_gain: an epoch must beat the best before it by more than this.

    Returns:
        Its place, from 0; of equals the first.
    """
    best = 0
    for at, accuracy in enumerate(accuracies):
        if accuracy > accuracies[best] + least_gain:
            best = at
    return best


def has_stalled(part: EarlyStoppingPart, accuracies: Sequence[float]) -> bool:
    """Whether a run ends here, after so many epochs without a better one."""
    if not part.patience_epochs or not accuracies:
        return False
    return len(accuracies) - 1 - best_epoch(accuracies, part.least_gain) >= part.patience_epochs
