"""`train`: runs of recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from siamese_lab.commands.judging import judge_one
from siamese_lab.commands.options import cache_option, chosen_device, data_option, device_option, threads_option
from siamese_lab.training.loop import train as train_run
from siamese_lab.training.progress import ProgressView
from siamese_lab.training.recipe import DataPart
from siamese_lab.training.recipe_files import changed, laid_over, load_study
from siamese_lab.training.run_folder import FIGURES_FILE, HISTORY_FILE, RunFolder
from siamese_lab.training.strict_yaml import parse
from siamese_lab.training.training_data import TrainingData, load_training_data
from tessera.domain.errors import InvalidInputError


@click.command("train")
@click.argument("recipe")
@data_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="runs",
    show_default=True,
    help="For run folders.",
)
@click.option(
    "--seed", "seeds", type=click.IntRange(0), multiple=True, help="Instead of the recipe's; may be repeated."
)
@click.option("--variant", "variants", multiple=True, help="Of a study's runs these alone; may be repeated.")
@click.option("--epochs", type=click.IntRange(1), default=None, help="Instead of the recipe's.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Train and judge on so many pictures, for a trial.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Such as optimiser.learning_rate=1e-4.")
@click.option("--judge/--no-judge", default=True, help="Whether each run is evaluated at its end.")
@cache_option
@device_option
@threads_option
def train(
    *,
    recipe: str,
    data: Path,
    out: Path,
    seeds: tuple[int, ...],
    variants: tuple[str, ...],
    epochs: int | None,
    limit: int | None,
    changes: tuple[str, ...],
    judge: bool,
    cache: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Train what RECIPE says, one of `list` or a .yaml file, once for each variant and seed.

    A run that was broken off goes on; one that is over is left as it is.
    """
    where = chosen_device(device, threads)
    study = load_study(recipe)
    chosen = tuple(study.variant(name) for name in variants) or study.recipes
    asked = _changes(epochs, limit, changes)
    held: tuple[DataPart, TrainingData] | None = None
    for one in (changed(recipe, asked) if asked else recipe for recipe in chosen):
        for seed in seeds or one.seeds:
            if held is None or held[0] != one.data:
                held = one.data, load_training_data(one.data, data, cache)
            train_one(RunFolder.begin(out, one, seed), held[1], where, judge=judge)


def train_one(run: RunFolder, data: TrainingData, device: str, *, judge: bool = True) -> None:
    """Train one run to its end, show how it goes, and judge it.

    Args:
        run: the folder.
        data: of its recipe.
        device: where it computes.
        judge: whether figures are made at the end.
    """
    if not run.finished:
        _begin(run, data, device)
        done = _lines(run.path / HISTORY_FILE)
        title = " ".join(filter(None, (run.recipe.name, run.recipe.variant, f"seed {run.seed}")))
        with ProgressView(Console(), title, run.recipe.training.epochs, done) as view:
            train_run(run, data, device, on_epoch=view.epoch, on_step=view.step)
    if judge and not (run.path / FIGURES_FILE).exists():
        judge_one(run, data, device)


def _begin(run: RunFolder, data: TrainingData, device: str) -> None:
    facts = {
        "source": run.recipe.data.source,
        "caveat": data.caveat,
        "pictures": {"training": len(data.training), "validation": len(data.validation), "test": len(data.test)},
        "refused": data.refused,
        "sha256": dict(data.digests()),
    }
    run.require_data(facts)
    run.note_environment(device)


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines()) if path.exists() else 0


def _changes(epochs: int | None, limit: int | None, told: tuple[str, ...]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if epochs is not None:
        changes = laid_over(changes, {"training": {"epochs": epochs}})
    if limit is not None:
        changes = laid_over(changes, {"data": {"training_limit": limit, "test_limit": limit}})
    for one in told:
        changes = laid_over(changes, _change(one))
    return changes


def _change(told: str) -> Mapping[str, Any]:
    key, equals, value = told.partition("=")
    if not equals or not all(key.split(".")) or key in {"name", "variant"}:
        raise InvalidInputError("--set", told, "KEY=VALUE, such as optimiser.learning_rate=1e-4")
    made: Any = parse(f"value: {value}", "--set")["value"]
    for name in reversed(key.split(".")):
        made = {name: made}
    changes: Mapping[str, Any] = made
    return changes
