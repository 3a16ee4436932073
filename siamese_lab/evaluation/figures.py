"""The figures of a run as plain numbers, for tables of many runs; no picture, no map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum

import numpy as np

from siamese_lab.evaluation.values import RunReport

_KEPT = ("facts", "pairs", "head", "searches", "searches_within", "probabilities", "robustness", "attacks",
         "importance", "cross_validation")  # fmt: skip


def as_figures(report: RunReport) -> dict[str, object]:
    """Everything that was measured, as what JSON knows: each estimate has `value` and `interval`."""
    return {name: _plain(getattr(report, name)) for name in _KEPT}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
