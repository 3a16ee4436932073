"""Ways to make templates from the same weights, each measured alone and together, on LFW.

    TESSERA_DATA=DIR make bench-template-recipes

The measuring is `siamese_lab.template_recipes`; here stands what was asked for. The figures go
to `docs/results/template-recipes.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.figures import Figure, report
from benchmarks.services import data_folder
from siamese_lab.template_recipes import WINNER, Judged, Study, study
from siamese_lab.verification import Estimate

COMMAND = "TESSERA_DATA=DIR make bench-template-recipes"
ASKED_FNMR_AT_1E3 = 0.010
ASKED_FNMR_AT_1E4 = 0.020
ASKED_ACCURACY = 0.994

NOTES = [
    "FNMR: over all pairs of different people in folds 1-5 and the cohort, interval by resampling people.",
    "Accuracy: 5 folds of View 2, threshold chosen on the other four, +- 1.96 standard errors over folds.",
    "Centred: the mean of the cohort's 900 people, none of them in a fold, is taken off.",
    "The views of `refined` were chosen among a few on these folds; LFW's wrong labels are left in.",
]


def figures(done: Study) -> list[Figure]:
    """Every recipe; the winner beside what was asked for."""
    rows: list[Figure] = []
    for judged in done.judged:
        rows += _recipe(judged, asked=judged.recipe.name == WINNER)
    for check in done.cross_checks:
        rows.append(_figure(f"{WINNER}; {check.name}: FNMR at FMR 1e-3", check.fnmr_at_1e3))
        rows.append(_figure(f"{WINNER}; {check.name}: FNMR at FMR 1e-4", check.fnmr_at_1e4))
    for name, value_ms in (
        ("detect a picture", done.costs.detect),
        ("look closer at a face", done.costs.refine),
        ("align a face", done.costs.align),
        ("embed a face", done.costs.embed),
    ):
        rows.append(Figure(f"cost: {name}", value_ms, "ms", "", None, COMMAND))
    return rows


def _recipe(judged: Judged, *, asked: bool) -> list[Figure]:
    name = judged.recipe.name
    rows = _estimate(f"{name}: FNMR at FMR 1e-3", judged.fnmr_at_1e3, ASKED_FNMR_AT_1E3 if asked else None)
    rows += _estimate(f"{name}: FNMR at FMR 1e-4", judged.fnmr_at_1e4, ASKED_FNMR_AT_1E4 if asked else None)
    rows += _estimate(f"{name}: accuracy", judged.accuracy, ASKED_ACCURACY if asked else None, higher=True)
    rows.append(Figure(f"{name}: cost of a face", judged.ratio, "times plain", "", None, COMMAND))
    return rows


def _estimate(name: str, estimate: Estimate, asked: float | None, *, higher: bool = False) -> list[Figure]:
    bar, holds = "", None
    if asked is not None:
        bar = f"at {'least' if higher else 'most'} {asked:.3f}"
        holds = estimate.value >= asked if higher else estimate.value <= asked
    ends = [
        _figure(f"{name}, 95 % {end}", value)
        for end, value in (("low", estimate.interval.low), ("high", estimate.interval.high))
    ]
    return [Figure(name, estimate.value, "share", bar, holds, COMMAND), *ends]


def _figure(name: str, value: float) -> Figure:
    return Figure(name, value, "share", "", None, COMMAND)


def main() -> int:
    """Measure, print, write docs/results/template-recipes.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a folder for embeddings, to go on where an earlier run stopped")
    done = study(data_folder(), parser.parse_args().keep, WINNER)
    return report("template-recipes", figures(done), NOTES)


if __name__ == "__main__":
    sys.exit(main())
