"""Training of the signature encoder: batches of disguised writers, genuine beside forged, on a few CPU threads.

The batches are the reason why this is not a recipe of `siamese_lab.training`: a batch is made of writers, each with one
disguise for all of its signatures, and the loss has to know genuine from forged. What is chosen, is chosen on
`VALIDATION` writers.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from siamese_lab.drawing_ahead import drawn_ahead
from siamese_lab.signatures.canvases import Canvases
from siamese_lab.signatures.distortion import Disguise, Disguises, Distortion, distort, draw_disguise, join
from siamese_lab.signatures.judging import Fusion, make_trials, skilled_and_random
from siamese_lab.signatures.losses import SignatureLoss
from siamese_lab.signatures.network import SignatureNetwork, SignatureNetworkSize
from siamese_lab.training.checkpoint import read_checkpoint, write_checkpoint
from tessera.imaging.signature import signature_input

MIRROR_IMAGES = 4


@dataclass(frozen=True, slots=True)
class SignatureRecipe:
    """Everything that decides a training run but the data."""

    size: SignatureNetworkSize = field(default_factory=SignatureNetworkSize)
    distortion: Distortion = field(default_factory=Distortion)
    disguises: Disguises = field(default_factory=Disguises)
    steps: int = 3000
    writers: int = 8
    """In a batch."""
    genuine: int = 4
    """Of each writer in a batch."""
    forged: int = 4
    learning_rate: float = 2e-3
    warm_up: int = 100
    """Steps until the learning rate is reached."""
    weight_decay: float = 0.02
    joined: float = 0.2
    """Share of writers in a batch that are made of two."""
    average: float = 0.996
    """Of the weights' moving average, which is what is kept."""
    check_every: int = 200
    seed: int = 7
    disguised: bool = True
    threshold_weight: float = 0.5
    """Of the one-threshold loss, against the contrastive one's 1."""
    class_weight: float = 0.1
    """Of the margin softmax over the training writers."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step learns from."""

    pictures: npt.NDArray[np.float32]
    """(n, 1, 80, 256)."""
    writer: npt.NDArray[np.int64]
    """(n,): place in the batch."""
    forged: npt.NDArray[np.bool_]
    """(n,)."""
    classes: npt.NDArray[np.int64]
    """(n,); -1: none."""


class Batches:
    """Draws batches; the same seed and step give the same batch.

    Args:
        canvases: of the training writers.
        recipe: says how.
    """

    def __init__(self, canvases: Canvases, recipe: SignatureRecipe) -> None:
        self._large = canvases.large
        self._recipe = recipe
        writers = np.unique(canvases.writer)
        self._genuine = [np.flatnonzero((canvases.writer == one) & ~canvases.forged) for one in writers]
        self._forged = [np.flatnonzero((canvases.writer == one) & canvases.forged) for one in writers]
        self.class_count = len(writers) * MIRROR_IMAGES * 2

    def draw(self, step: int) -> Batch:
        """The batch of a step."""
        recipe, rng = self._recipe, np.random.default_rng((self._recipe.seed, step))
        chosen = rng.choice(len(self._genuine), recipe.writers, replace=False)
        rows: list[npt.NDArray[np.float32]] = []
        classes: list[int] = []
        for one in chosen:
            disguise = draw_disguise(rng, recipe.disguises) if recipe.disguised else Disguise()
            other = int(rng.integers(len(self._genuine))) if rng.random() < recipe.joined else None
            for forged in (False, True):
                rows += self._signatures(int(one), other, forged, disguise, rng)
                plain = other is None and disguise.window == (0.0, 1.0)
                label = (int(one) * MIRROR_IMAGES + disguise.variant) * 2 + forged if plain else -1
                classes += [label] * (recipe.forged if forged else recipe.genuine)
        kinds = np.tile(np.repeat([False, True], (recipe.genuine, recipe.forged)), recipe.writers)
        places = np.repeat(np.arange(recipe.writers), recipe.genuine + recipe.forged)
        return Batch(np.stack(rows)[:, None], places, kinds, np.array(classes))

    def _signatures(
        self, one: int, other: int | None, forged: bool, disguise: Disguise, rng: np.random.Generator
    ) -> list[npt.NDArray[np.float32]]:
        recipe, pool = self._recipe, self._forged if forged else self._genuine
        count = recipe.forged if forged else recipe.genuine
        first = self._large[rng.choice(pool[one], count, replace=False)]
        if other is not None:
            second = self._large[rng.choice(pool[other], count, replace=False)]
            first = np.stack([join(a, b, int(rng.integers(10, 40))) for a, b in zip(first, second, strict=True)])
        return [distort(picture, disguise, recipe.distortion, rng) for picture in first]


def train(
    recipe: SignatureRecipe,
    training: Canvases,
    validation: Canvases,
    folder: Path,
    *,
    start: Mapping[str, Tensor] | None = None,
    threads: int = 1,
    told: Callable[[str], None] = print,
) -> SignatureNetwork:
    """Train, or go on where `folder` left off.

    Args:
        recipe: what to do.
        training: canvases of the training writers.
        validation: of the validation writers: looked at on the way, and not learned from.
        folder: of the run; gets `checkpoint.safetensors`, `history.jsonl`, and `recipe.json`.
        start: weights to begin with, of a network of the recipe's size; None: random ones.
        threads: of torch.
        told: gets a line now and then.

    Returns:
        The averaged network, in evaluation mode.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="ascii")
    batches = Batches(training, recipe)
    run = _Run(recipe, batches.class_count)
    if start is not None:
        run.begin_with(start)
    started = time.process_time()
    for step, batch in drawn_ahead(batches.draw, run.resume(folder / "checkpoint.safetensors"), recipe.steps):
        loss = run.learn(batch, step)
        done = step + 1
        if done % recipe.check_every and done < recipe.steps:
            continue
        run.save(folder / "checkpoint.safetensors", done)
        spent = round(time.process_time() - started)
        line = {"step": done, "loss": round(loss, 4), "cpu_s": spent, **judge(run.average, validation)}
        with (folder / "history.jsonl").open("a", encoding="ascii") as history:
            history.write(json.dumps(line) + "\n")
        told(json.dumps(line))
    trained: SignatureNetwork = run.average
    return trained


def embed(network: nn.Module, small: npt.NDArray[np.uint8], rows: int = 64) -> npt.NDArray[np.float32]:
    """Unit embeddings of canvases as serving sees them: (n, 80, 256) -> float32 (n, d)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(small), rows):
            seen = torch.from_numpy(signature_input(small[start : start + rows]))
            parts.append(nn.functional.normalize(network(seen), dim=1).numpy())
    return np.concatenate(parts)


def judge(network: nn.Module, canvases: Canvases) -> Mapping[str, float]:
    """Equal error rates in percent from 1, 5 and 10 references, by mean score; quick, without intervals.

    Numbers of references that no writer has are left out.
    """
    vectors, figures = embed(network, canvases.small), dict[str, float]()
    most = int(np.bincount(canvases.writer[~canvases.forged]).max())
    for references in (count for count in (1, 5, 10) if count < most):
        rng = np.random.default_rng(1)
        trials = make_trials(vectors, canvases.writer, canvases.forged, references, Fusion.MEAN, rng=rng)
        for name, rate in skilled_and_random(trials, rng, replicates=0).items():
            figures[f"{name}_{references}"] = round(100 * rate.value, 2)
    return figures


class _Run:
    """The parts that change while training."""

    def __init__(self, recipe: SignatureRecipe, class_count: int) -> None:
        self.recipe = recipe
        # Channels last is 1.5 times as fast here.
        self.network = SignatureNetwork(recipe.size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = SignatureLoss(recipe.size.dimensions, class_count, recipe.threshold_weight, recipe.class_weight)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        weights = [*self.network.parameters(), *self.loss.parameters()]
        self.optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def begin_with(self, start: Mapping[str, Tensor]) -> None:
        """Take weights that were learned before."""
        for network in (self.network, self.average):
            network.load_state_dict(start)

    def learn(self, batch: Batch, step: int) -> float:
        """One step; gives the loss."""
        recipe = self.recipe
        rate = recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up)
        rate *= 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps)) + 0.002
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # what dropout draws, whether resumed here or not
        self.network.train()
        embeddings = self.network(torch.from_numpy(batch.pictures).to(memory_format=torch.channels_last))
        writer, forged, classes = (torch.from_numpy(part) for part in (batch.writer, batch.forged, batch.classes))
        loss: Tensor = self.loss(embeddings, writer, forged, classes)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self._follow(min(recipe.average, (1 + step) / (10 + step)))
        return float(loss.detach())

    def _follow(self, kept: float) -> None:
        with torch.no_grad():
            for old, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                old.lerp_(new, 1.0 - kept)
            for old, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                old.copy_(new if not old.is_floating_point() else old.lerp(new, 1.0 - kept))

    def save(self, path: Path, step: int) -> None:
        """Everything, in one file."""
        moments = {
            f"{at}.{name}": value
            for at, state in self.optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }
        parts = {"network": self.network, "average": self.average, "loss": self.loss}
        groups: dict[str, Mapping[str, Tensor]] = {name: part.state_dict() for name, part in parts.items()}
        write_checkpoint(path, {**groups, "optimiser": moments}, {"step": step})

    def resume(self, path: Path) -> int:
        """Go on from a checkpoint; gives the steps that are done."""
        if not path.is_file():
            return 0
        found = read_checkpoint(path)
        parts: dict[str, nn.Module] = {"network": self.network, "average": self.average, "loss": self.loss}
        for name, part in parts.items():
            part.load_state_dict(found.groups[name])
        told = self.optimiser.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in found.groups["optimiser"].items():
            at, _, what = key.partition(".")
            state.setdefault(int(at), {})[what] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": told["param_groups"]})
        return int(found.facts["step"])
