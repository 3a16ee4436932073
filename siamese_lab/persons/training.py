"""Training of the person encoder: identities and hard triplets, each crop as another camera might have taken it.

The batches are the reason why this is not a run of `siamese_lab.training.loop`: they are made of people, crops are
changed on the way into them, and two losses look at two places of the network. The recipe is read by the lab's own
strict reader, and the checkpoints are the lab's.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_lab.drawing_ahead import drawn_ahead
from siamese_lab.losses.mining import Mining
from siamese_lab.losses.triplet import MinedTripletLoss
from siamese_lab.persons.cameras import CameraChanges, seen_by_another
from siamese_lab.persons.data import People
from siamese_lab.persons.head import HeadFit
from siamese_lab.persons.network import DIMENSIONS, PersonNetwork
from siamese_lab.training.checkpoint import (
    optimiser_tensors,
    read_checkpoint,
    restore_module,
    restore_optimiser,
    write_checkpoint,
    write_whole,
)
from siamese_lab.training.strict_yaml import dump
from siamese_lab.training.typed_reading import plain
from tessera.imaging.person import PersonInput, person_input


@dataclass(frozen=True, slots=True)
class PersonRecipe:
    """Everything that decides a training run but the data and the weights that it begins with."""

    dimensions: int = DIMENSIONS
    fine: bool = True
    """Whether the trunk's last halving is left out."""
    changes: CameraChanges = field(default_factory=CameraChanges)
    steps: int = 1200
    people: int = 16
    """In a batch."""
    pictures: int = 4
    """Of each person in a batch."""
    learning_rate: float = 7e-4
    trunk_share: float = 0.5
    """The trunk's learning rate against that of what is new."""
    warm_up: int = 100
    """Steps until the learning rate is reached; after them it falls as a cosine."""
    weight_decay: float = 0.02
    smoothing: float = 0.1
    """Of the identity labels."""
    triplet_weight: float = 1.0
    margin: float = 0.3
    average: float = 0.997
    """Of the weights' moving average, which is what is kept."""
    check_every: int = 100
    seed: int = 9
    head: HeadFit = field(default_factory=HeadFit)
    """Of the narrow layer, which is fitted once more when the run becomes an encoder."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step learns from."""

    pictures: PersonInput
    classes: npt.NDArray[np.int64]
    """(n,): place of the person among the training people."""


class Batches:
    """Draws batches; the same seed and step give the same batch.

    Args:
        people: to learn from.
        recipe: says how.
    """

    def __init__(self, people: People, recipe: PersonRecipe) -> None:
        self._crops = people.crops
        self._recipe = recipe
        self._rows = [np.flatnonzero(people.person == one) for one in np.unique(people.person)]
        self.class_count = len(self._rows)

    def draw(self, step: int) -> Batch:
        """The batch of a step."""
        recipe, rng = self._recipe, np.random.default_rng((self._recipe.seed, step))
        chosen = rng.choice(self.class_count, recipe.people, replace=False)
        taken = [int(at) for one in chosen for at in self._some_of(int(one), rng)]
        others = rng.integers(len(self._crops), size=len(taken))
        seen = [
            seen_by_another(self._crops[at], self._crops[other], recipe.changes, rng)
            for at, other in zip(taken, others, strict=True)
        ]
        return Batch(person_input(seen), np.repeat(chosen, recipe.pictures))

    def _some_of(self, one: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        rows, count = self._rows[one], self._recipe.pictures
        drawn: npt.NDArray[np.intp] = rng.choice(rows, count, replace=len(rows) < count)
        return drawn


def train(
    recipe: PersonRecipe,
    people: People,
    trunk: Mapping[str, Tensor],
    folder: Path,
    *,
    judge: Callable[[PersonNetwork], Mapping[str, float]],
    told: Callable[[str], None] = print,
) -> PersonNetwork:
    """Train, or go on where `folder` left off.

    Args:
        recipe: what to do.
        people: to learn from.
        trunk: weights to begin with, of `mobilenet_trunk`.
        folder: of the run; gets `checkpoint.safetensors`, `history.jsonl` and `recipe.yaml`.
        judge: looks at the averaged network now and then; what it says is written down and decides nothing.
        told: gets a line now and then.

    Returns:
        The averaged network, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "recipe.yaml", dump(plain(recipe)).encode())
    batches = Batches(people, recipe)
    run = _Run(recipe, batches.class_count, trunk)
    started = time.process_time()
    for step, batch in drawn_ahead(batches.draw, run.resume(folder / "checkpoint.safetensors"), recipe.steps):
        losses = run.learn(batch, step)
        done = step + 1
        if done % recipe.check_every and done < recipe.steps:
            continue
        run.save(folder / "checkpoint.safetensors", done)
        line = {"step": done, "cpu_s": round(time.process_time() - started), **losses, **judge(run.average)}
        with (folder / "history.jsonl").open("a", encoding="ascii") as history:
            history.write(json.dumps(line) + "\n")
        told(json.dumps(line))
    return run.average


class _Run:
    """The parts that change while training."""

    def __init__(self, recipe: PersonRecipe, class_count: int, trunk: Mapping[str, Tensor]) -> None:
        self.recipe = recipe
        network = PersonNetwork(recipe.dimensions, fine=recipe.fine)
        network.begin_with(trunk)
        nn.init.orthogonal_(network.narrow.weight)
        # Channels last is 1.5 times as fast here.
        self.network: PersonNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identities = nn.Linear(recipe.dimensions, class_count, bias=False)
        nn.init.normal_(self.identities.weight, std=0.01)
        self.triplets = MinedTripletLoss(margin=recipe.margin, squared=False, mining=Mining.HARD)
        self.average: PersonNetwork = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        new: list[Tensor] = [self.network.narrow.weight, self.network.neck.weight, self.identities.weight]
        self.shares = (recipe.trunk_share, 1.0)
        self.optimiser = torch.optim.AdamW(
            [{"params": list(self.network.features.parameters())}, {"params": new}], weight_decay=recipe.weight_decay
        )

    def learn(self, batch: Batch, step: int) -> dict[str, float]:
        """One step; gives its losses."""
        for group, share in zip(self.optimiser.param_groups, self.shares, strict=True):
            group["lr"] = self._rate(step) * share
        self.network.train()
        labels = torch.from_numpy(batch.classes)
        before = self.network.before_neck(torch.from_numpy(batch.pictures))
        identity = functional.cross_entropy(
            self.identities(self.network.neck(before)), labels, label_smoothing=self.recipe.smoothing
        )
        triplet: Tensor = self.triplets(functional.normalize(before, dim=1), labels)
        self.optimiser.zero_grad(set_to_none=True)
        (identity + self.recipe.triplet_weight * triplet).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self._follow(min(self.recipe.average, (1 + step) / (10 + step)))
        return {"identity": round(float(identity.detach()), 4), "triplet": round(float(triplet.detach()), 4)}

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        rising = min(1.0, (step + 1) / recipe.warm_up)
        return recipe.learning_rate * rising * (0.5 * (1.0 + math.cos(math.pi * step / recipe.steps)) + 0.002)

    def _follow(self, kept: float) -> None:
        with torch.no_grad():
            for old, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                old.lerp_(new, 1.0 - kept)
            for kept_by, seen in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept_by.copy_(kept_by.lerp(seen, 1.0 - kept) if seen.is_floating_point() else seen)

    def save(self, path: Path, step: int) -> None:
        """Everything, in one file."""
        parts = {"network": self.network, "average": self.average, "identities": self.identities}
        groups: dict[str, Mapping[str, Tensor]] = {name: part.state_dict() for name, part in parts.items()}
        write_checkpoint(path, {**groups, "optimiser": optimiser_tensors(self.optimiser)}, {"step": step})

    def resume(self, path: Path) -> int:
        """Go on from a checkpoint; gives the steps that are done."""
        if not path.is_file():
            return 0
        found = read_checkpoint(path)
        parts: dict[str, nn.Module] = {
            "network": self.network, "average": self.average, "identities": self.identities,
        }  # fmt: skip
        for name, part in parts.items():
            restore_module(part, found.groups[name])
        restore_optimiser(self.optimiser, found.groups["optimiser"])
        return int(found.facts["step"])
