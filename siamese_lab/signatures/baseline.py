"""The plain Siamese recipe of the papers, as a mark: SigNet's layers, pairs, the contrastive loss, and nothing else.

A quarter of SigNet's channels, a stride of 2 in the first layer and batch norms for the local response norms, since it
is trained as long as the encoder is, on the same processor: in full it would not see each signature once in that time.
The canvases are those of the encoder; nothing is augmented.

Source: Dey et al., "SigNet: Convolutional Siamese Network for Writer Independent Offline Signature Verification",
arXiv:1707.02131 (2017): table 1 for the layers, section 3.3 for loss and optimiser.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from siamese_lab.losses.contrastive import ContrastiveLoss
from siamese_lab.signatures.canvases import Canvases
from siamese_lab.signatures.training import judge
from siamese_lab.training.checkpoint import write_checkpoint
from tessera.imaging.signature import signature_input

Indices = npt.NDArray[np.intp]

PAIRS = 32
"""In a batch; half mated, half a genuine signature beside a forgery of it."""
CHECK_EVERY = 200


class SmallSigNet(nn.Sequential):
    """(n, 1, 80, 256) -> (n, 128)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 24, 11, 2), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(24, 64, 5, 1, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Dropout2d(0.3),
            nn.Conv2d(64, 96, 3, 1, 1), nn.ReLU(), nn.Conv2d(96, 64, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Dropout2d(0.3), nn.Flatten(),
            nn.Linear(64 * 3 * 14, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 128),
        )  # fmt: skip


def train_baseline(
    training: Canvases,
    validation: Canvases,
    folder: Path,
    *,
    processor_s: float,
    seed: int = 7,
    told: Callable[[str], None] = print,
) -> SmallSigNet:
    """Train for as much processor time as the encoder had.

    Args:
        training: canvases of the training writers.
        validation: looked at on the way.
        folder: gets `checkpoint.safetensors` and `history.jsonl`.
        processor_s: seconds of the processor.
        seed: of weights and pairs.
        told: gets a line now and then.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network, loss_of, rng = SmallSigNet(), ContrastiveLoss(margin=1.0), np.random.default_rng(seed)
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-4, eps=1e-8, weight_decay=5e-4, momentum=0.9)
    started, step, spent = time.process_time(), 0, 0.0
    while spent < processor_s:
        first, second = _pairs(training, rng)
        network.train()
        seen = torch.from_numpy(signature_input(training.small[np.concatenate((first, second))]))
        one, other = nn.functional.normalize(network(seen), dim=1).chunk(2)
        loss = loss_of(one, other, torch.from_numpy(~training.forged[second]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step, spent = step + 1, time.process_time() - started
        if step % CHECK_EVERY == 0 or spent >= processor_s:
            write_checkpoint(folder / "checkpoint.safetensors", {"network": network.state_dict()}, {"step": step})
            figures = judge(network, validation)
            line = json.dumps({"step": step, "loss": round(float(loss), 4), "cpu_s": round(spent), **figures})
            with (folder / "history.jsonl").open("a", encoding="ascii") as history:
                history.write(line + "\n")
            told(line)
    return network.eval()


def _pairs(canvases: Canvases, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Indices of both sides: the first half is mated."""
    first, second = list[int](), list[int]()
    for writer in rng.choice(np.unique(canvases.writer), PAIRS):
        genuine = np.flatnonzero((canvases.writer == writer) & ~canvases.forged)
        mated = len(first) < PAIRS // 2
        one, other = rng.choice(genuine, 2, replace=False)
        forged = rng.choice(np.flatnonzero((canvases.writer == writer) & canvases.forged))
        first.append(int(one))
        second.append(int(other if mated else forged))
    return np.array(first, np.intp), np.array(second, np.intp)
