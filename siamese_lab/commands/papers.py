"""`papers` and `speed`: the table of the papers, from the ledger of runs and run folders."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

import click
import torch

from siamese_lab.commands.judging import data_of
from siamese_lab.commands.options import cache_option, chosen_device, data_option, device_option, threads_option
from siamese_lab.commands.training import train
from siamese_lab.evaluation.embedding import as_batch
from siamese_lab.ledger import LEDGER_FILE, SPEED_FILE, read_ledger
from siamese_lab.papers import papers_json, papers_page
from siamese_lab.speed import compare
from siamese_lab.training.checkpoint import write_whole
from siamese_lab.training.loop import load_trained
from siamese_lab.training.run_folder import RunFolder

_runs_option = click.option(
    "--runs", type=click.Path(path_type=Path, file_okay=False), default="runs", show_default=True, help="Run folders."
)


@click.command("papers")
@_runs_option
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    default="docs/results",
    show_default=True,
    help="Holds papers-runs.json, the ledger of runs; gets papers.md and papers.json.",
)
@click.option("--train", "recipes", multiple=True, metavar="RECIPE", help="Train it first; may be repeated.")
@data_option
@cache_option
@device_option
@threads_option
@click.pass_context
def papers(
    context: click.Context,
    *,
    runs: Path,
    docs: Path,
    recipes: tuple[str, ...],
    data: Path,
    cache: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Make the table of the papers from the ledger of runs and the run folders, after training what is asked for."""
    for recipe in recipes:
        context.invoke(train, recipe=recipe, data=data, out=runs, cache=cache, device=device, threads=threads,
                       seeds=(), variants=(), epochs=None, limit=None, changes=(), judge=True)  # fmt: skip
    docs.mkdir(parents=True, exist_ok=True)
    ledger = read_ledger(docs / LEDGER_FILE).with_runs(runs)
    write_whole(docs / LEDGER_FILE, ledger.text().encode("utf-8"))
    write_whole(docs / "papers.md", papers_page(ledger).encode("utf-8"))
    write_whole(docs / "papers.json", (json.dumps(papers_json(ledger), indent=1) + "\n").encode("utf-8"))
    click.echo(docs / "papers.md")


@click.command("speed")
@click.argument("siamese", type=click.Path(path_type=Path, file_okay=False))
@click.argument("plain", type=click.Path(path_type=Path, file_okay=False))
@_runs_option
@data_option
@cache_option
@threads_option
def speed(*, siamese: Path, plain: Path, runs: Path, data: Path, cache: Path | None, threads: int | None) -> None:
    """Time the test pictures through SIAMESE and PLAIN, two runs on the same data, and keep it for `papers`."""
    chosen_device("cpu", threads)
    first, second = RunFolder.open(siamese), RunFolder.open(plain)
    pictures = data_of(first, data, cache)
    networks = [load_trained(run, pictures.test).network for run in (first, second)]
    readings = compare(networks[0], networks[1], as_batch(pictures.test.images))
    told = {
        "readings": [asdict(one) for one in readings],
        "pictures": len(pictures.test),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    write_whole(runs / SPEED_FILE, (json.dumps(told, indent=1) + "\n").encode("utf-8"))
    for one in readings:
        click.echo(f"{one.reading}: {one.siamese_s:.3f} s, {one.plain_s:.3f} s, {one.siamese_s / one.plain_s:.3f}")
