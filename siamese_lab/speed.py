"""How long 10,000 pictures take: SN-LeNet-5 against plain LeNet-5, in one process, taking turns.

A paper that states two times does not state what was timed, so two readings are measured: both networks alike, whole
batches at a time; and SN-LeNet-5 as a service runs it (exported, batched) against the plain network one picture at a
time, as a script around a model does it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from siamese_lab.networks import Subnet
from siamese_lab.tracing import trace
from tessera.nets.graph import ImportedNetwork

BATCH = 256
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """Two times of one round of pictures, each the median of several."""

    reading: str
    siamese_s: float
    plain_s: float


def compare(siamese: Subnet, plain: nn.Module, pictures: Tensor, rounds: int = ROUNDS) -> tuple[Reading, ...]:
    """Time both networks on the same pictures.

    Args:
        siamese: the subnet; each picture goes through it once, since templates of the others are known.
        plain: gives logits of classes.
        pictures: float32 (n, c, h, w), 0 to 1.
        rounds: how often each is timed, in turns.
    """
    exported = ImportedNetwork(*trace(siamese), "siamese")
    ways: tuple[tuple[str, Callable[[], None], Callable[[], None]], ...] = (
        ("both alike, 256 at a time", lambda: _batched(siamese, pictures), lambda: _batched(plain, pictures)),
        (
            "SN-LeNet-5 exported, 256 at a time; plain LeNet-5 one at a time",
            lambda: _batched(exported, pictures),
            lambda: _singly(plain, pictures),
        ),
    )
    return tuple(_timed(told, first, second, rounds) for told, first, second in ways)


def _timed(told: str, first: Callable[[], None], second: Callable[[], None], rounds: int) -> Reading:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for spent, run in zip(times, (first, second), strict=True):
            started_s = time.perf_counter()
            run()
            spent.append(time.perf_counter() - started_s)
    return Reading(told, statistics.median(times[0]), statistics.median(times[1]))


@torch.inference_mode()
def _batched(network: nn.Module, pictures: Tensor) -> None:
    for start in range(0, len(pictures), BATCH):
        network(pictures[start : start + BATCH])


@torch.inference_mode()
def _singly(network: nn.Module, pictures: Tensor) -> None:
    for at in range(len(pictures)):
        network(pictures[at : at + 1])
