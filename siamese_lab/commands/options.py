"""What several commands are told in the same way."""

from __future__ import annotations

import os
from pathlib import Path

import click
import torch

from tessera.chassis.allocator import tune_for_networks
from tessera.domain.errors import InvalidInputError

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TESSERA_DATA",
    default=".",
    show_envvar=True,
    help="Folder with the pictures.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder for decoded pictures; without it they are decoded at each start.",
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="auto: a GPU where there is one."
)
threads_option = click.option("--threads", type=click.IntRange(1), default=None, help="Of the CPU; all cores.")


def chosen_device(wanted: str, threads: int | None) -> str:
    """The device, with the process made fit for it.

    Args:
        wanted: auto, cpu or cuda.
        threads: on the CPU; None: one for each core that this process may use.

    Raises:
        InvalidInputError: there is no GPU, and one was asked for.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError("--device", wanted, "cpu or auto: no CUDA device is usable here")
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    tune_for_networks()
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
