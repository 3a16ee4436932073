"""What a run is worth: its network against its test part, as figures and as a page.

Joins `training` and `evaluation`; measures nothing itself but how long training took.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from siamese_lab.evaluation.embedding import embed
from siamese_lab.evaluation.evaluating import Extent, RunData, RunWords, Subject, evaluate
from siamese_lab.evaluation.figures import as_figures
from siamese_lab.evaluation.history import read_history
from siamese_lab.evaluation.maps import EmbeddingMap, pca_map
from siamese_lab.evaluation.values import RunReport
from siamese_lab.training.loop import Trained, load_snapshot, load_trained
from siamese_lab.training.run_folder import HISTORY_FILE, RunFolder
from siamese_lab.training.training_data import TrainingData

CLASSIFIER = "cross-entropy"
"""The loss of networks whose numbers are logits of classes."""
_MAP_POINTS = 1500


def quick(run: RunFolder) -> Extent:
    """Pairs and searches alone: what tables of many runs are made of."""
    part = run.recipe.evaluation
    return Extent(
        pairs=part.pair_count, ks=part.neighbours, preferred=0, retrievals=1, important=1, ills=(), epsilons=(0.0,),
        explained=False, tsne=False,
    )  # fmt: skip


def whole(run: RunFolder) -> Extent:
    """Everything that there is to measure."""
    return Extent(pairs=run.recipe.evaluation.pair_count, ks=run.recipe.evaluation.neighbours)


def judge(run: RunFolder, data: TrainingData, extent: Extent, device: str = "cpu") -> tuple[RunReport, dict[str, Any]]:
    """Measure a run that is over.

    Args:
        run: its folder.
        data: of its recipe.
        extent: how much is measured.
        device: where the network runs.

    Returns:
        What the page shows, and the content of `figures.json`.

    Raises:
        InvalidInputError: the run is not over.
    """
    trained = load_trained(run, data.training, device)
    recipe = run.recipe
    subject = Subject(trained.network, recipe.evaluation.comparison, trained.head, device)
    report = evaluate(
        subject,
        RunData(data.training, data.validation, data.test),
        _words(run, data),
        extent,
        history=read_history(run.path / HISTORY_FILE),
        pair_seed=recipe.evaluation.pair_seed,
    )
    report = replace(report, maps=(*report.maps, *_snapshot_maps(run, data)))
    return report, _figures(run, data, trained, report, device)


def _words(run: RunFolder, data: TrainingData) -> RunWords:
    recipe = run.recipe
    notes = [data.caveat] if data.caveat else []
    if data.refused:
        notes.append(f"The quality gate kept {data.refused:,} pictures out of training.")
    return RunWords(
        name=" ".join(filter(None, (recipe.name, recipe.variant, f"seed {run.seed}"))),
        network=recipe.network.name,
        data=recipe.data.source,
        seed=run.seed,
        written=f"{datetime.now(UTC):%Y-%m-%d}",
        paper=recipe.paper,
        notes=tuple(notes),
    )


def _figures(run: RunFolder, data: TrainingData, trained: Trained, report: RunReport, device: str) -> dict[str, Any]:
    recipe, last = run.recipe, trained.history[-1]
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "variant": recipe.variant,
        "seed": run.seed,
        "caveat": data.caveat,
        "training": {
            **{name: value for name, value in asdict(last).items() if name != "seconds"},
            "best_training_accuracy": max((one.training_accuracy or 0.0 for one in trained.history), default=0.0),
            "seconds_an_epoch": statistics.median(one.seconds for one in trained.history),
            "numbers": sum(weight.numel() for weight in trained.network.parameters()),
        },
        **as_figures(report),
    }
    if recipe.loss.name == CLASSIFIER:
        logits = embed(trained.network, data.test.images, device)
        figures["class_accuracy"] = float(np.mean(logits.argmax(axis=1) == data.test.labels))
    return figures


def _snapshot_maps(run: RunFolder, data: TrainingData) -> tuple[EmbeddingMap, ...]:
    made = []
    for step in run.recipe.training.snapshots:
        network = load_snapshot(run, step, data.test)
        rng = np.random.default_rng(run.recipe.evaluation.pair_seed)
        found = pca_map(embed(network, data.test.images), data.test.labels, rng, _MAP_POINTS)
        made.append(replace(found, method=f"After {step:,} iterations. {found.method}"))
    return tuple(made)
