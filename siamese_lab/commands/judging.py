"""`evaluate` and `report`: what a run is worth, as figures and as a page."""

from __future__ import annotations

from pathlib import Path

import click

from siamese_lab.commands.options import cache_option, chosen_device, data_option, device_option, threads_option
from siamese_lab.evaluation.evaluating import Extent
from siamese_lab.evaluation.report import render
from siamese_lab.evaluation.values import RunReport
from siamese_lab.judging import judge, quick, whole
from siamese_lab.training.checkpoint import write_whole
from siamese_lab.training.run_folder import DATA_FILE, FIGURES_FILE, REPORT_FILE, RunFolder
from siamese_lab.training.training_data import TrainingData, load_training_data
from tessera.domain.errors import InvalidInputError

_run_argument = click.argument("run", type=click.Path(path_type=Path, file_okay=False))


def judge_one(run: RunFolder, data: TrainingData, device: str, extent: Extent | None = None) -> RunReport:
    """Measure a run and write `figures.json`; says the figure that the papers compare.

    Args:
        run: that is over.
        data: of its recipe.
        device: where the network runs.
        extent: how much; None: pairs and searches alone.
    """
    report, figures = judge(run, data, extent or quick(run), device)
    run.write_json(FIGURES_FILE, figures)
    pairs = report.head or report.pairs
    interval = pairs.accuracy.interval
    click.echo(
        f"{run.path}: pairs right {pairs.accuracy.value:.4f} [{interval.low:.4f}, {interval.high:.4f}], "
        f"EER {report.pairs.eer.value:.4f}"
    )
    return report


def data_of(run: RunFolder, folder: Path, cache: Path | None) -> TrainingData:
    """The pictures that a run was trained on.

    Raises:
        InvalidInputError: the folder holds others.
    """
    data = load_training_data(run.recipe.data, folder, cache)
    facts = run.read_json(DATA_FILE)
    if facts is not None and facts["sha256"] != dict(data.digests()):
        raise InvalidInputError("--data", str(folder), f"the pictures that the run was trained on ({DATA_FILE})")
    return data


@click.command("evaluate")
@_run_argument
@click.option("--quick", "only_pairs", is_flag=True, help="Pairs and searches alone.")
@data_option
@cache_option
@device_option
@threads_option
def evaluate(*, run: Path, only_pairs: bool, data: Path, cache: Path | None, device: str, threads: int | None) -> None:
    """Measure RUN, the folder of a seed, and write its figures.json."""
    where, folder = chosen_device(device, threads), RunFolder.open(run)
    judge_one(folder, data_of(folder, data, cache), where, quick(folder) if only_pairs else whole(folder))


@click.command("report")
@_run_argument
@data_option
@cache_option
@device_option
@threads_option
def report(*, run: Path, data: Path, cache: Path | None, device: str, threads: int | None) -> None:
    """Measure RUN and write report.html: one page that needs nothing else, and figures.json."""
    where, folder = chosen_device(device, threads), RunFolder.open(run)
    made = judge_one(folder, data_of(folder, data, cache), where, whole(folder))
    write_whole(folder.path / REPORT_FILE, render(made).encode())
    click.echo(folder.path / REPORT_FILE)
