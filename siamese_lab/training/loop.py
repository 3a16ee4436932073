"""The loop: batches through the network, a step for each, figures after every epoch, and a checkpoint behind them.

A run is a chain of epochs. Each depends on the weights before it, the optimiser's memory, and random numbers that seed
and epoch alone decide; a checkpoint holds the first two. So a run that is killed and goes on gives the same bits as one
that was not, on the same machine with as many threads. GPUs promise no such thing.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from siamese_lab.data.augmentation import augment
from siamese_lab.data.sources import LabelledImages
from siamese_lab.losses import LOSSES, build_loss
from siamese_lab.networks import Subnet, build, initialise
from siamese_lab.networks.heads import DistanceHead
from siamese_lab.networks.transfer import Freezing, load_weights
from siamese_lab.training.averaging import WeightAverage
from siamese_lab.training.batches import FITTING, Chance, EpochPlan, epoch_plan, stream, stream_seed
from siamese_lab.training.checkpoint import (
    Checkpoint,
    optimiser_tensors,
    read_checkpoint,
    read_weights,
    restore_module,
    restore_optimiser,
    write_checkpoint,
    write_weights,
)
from siamese_lab.training.early_stopping import best_epoch, has_stalled
from siamese_lab.training.events import EventLog
from siamese_lab.training.optimisers import build_optimiser, set_rate
from siamese_lab.training.recipe import Keep, Recipe
from siamese_lab.training.regularisation import add_penalties, weights_of
from siamese_lab.training.run_folder import CHECKPOINT_FILE, LOSS_FILE, NETWORK_FILE, RunFolder
from siamese_lab.training.schedules import rate_factor
from siamese_lab.training.training_data import TrainingData
from siamese_lab.training.validation import validate
from tessera.domain.errors import InvalidInputError, TesseraError

NETWORK, LOSS, AVERAGE, BEST, OPTIMISER = "network", "loss", "average", "best", "optimiser"
_PREPARED_ON = 4096
"""Training pictures that a network may measure before the first step."""


class DivergedError(TesseraError):
    """A loss is no longer a finite number.

    Args:
        epoch: in which, from 1.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"the loss of epoch {epoch} is not finite; a lower learning rate may help")


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """One line of `history.jsonl`."""

    epoch: int
    """From 1."""
    steps: int
    """Since the start of the run."""
    training_loss: float
    """Mean over the epoch's items, without penalties."""
    training_accuracy: float | None
    """Share of the epoch's pairs that the head judged rightly while it learned; None without a head."""
    validation_loss: float | None
    """None without validation pictures."""
    validation_accuracy: float | None
    """Of pairs; at probability 1/2 where there is a head, else at the threshold that is best on these very pairs."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Training alone, without validation; the only figure that differs when a run is repeated."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a run gives."""

    network: Subnet
    """In evaluation mode."""
    head: DistanceHead | None
    """The head that learned with it, where the loss has one."""
    history: tuple[EpochFacts, ...]


OnStep = Callable[[int, int], None]
"""Told after every step how many of how many are done in this epoch."""
OnEpoch = Callable[[EpochFacts], None]
"""Told after every epoch that was trained, once it is on disk."""


def train(
    run: RunFolder,
    data: TrainingData,
    device: str = "cpu",
    *,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Train, from the last checkpoint of the run where there is one.

    Args:
        run: says what to do, and is where it is written down.
        data: the pictures of its recipe.
        device: `cpu` or `cuda`.
        on_epoch: told of every epoch.
        on_step: told of every step.

    Raises:
        InvalidInputError: parts of the recipe do not fit each other or the pictures.
        DivergedError: the loss became infinite; the last checkpoint stays.
    """
    training = _Training(run.recipe, data, run.seed, device)
    checkpoint = run.path / CHECKPOINT_FILE
    if checkpoint.exists():
        training.restore(read_checkpoint(checkpoint))
    with EventLog(run.path, (asdict(one) for one in training.history)) as events:
        while not training.over:
            facts = training.run_epoch(run, on_step)
            write_checkpoint(checkpoint, training.groups(), training.facts())
            run.write_history([asdict(one) for one in training.history])
            events.add(asdict(facts))
            if on_epoch is not None:
                on_epoch(facts)
    result = training.result()
    write_weights(run.path / LOSS_FILE, result[LOSS])
    write_weights(run.path / NETWORK_FILE, result[NETWORK])
    return load_trained(run, data.training, device)


def load_trained(run: RunFolder, pictures: LabelledImages, device: str = "cpu") -> Trained:
    """The network of a run that has come to its end.

    Args:
        run: its folder.
        pictures: of its data, of any part; their shape and number of classes count.
        device: where it shall be.

    Raises:
        InvalidInputError: the run is not over.
        ArtifactError: its result is damaged.
    """
    if not run.finished:
        raise InvalidInputError("RUN", str(run.path), "a run that has come to its end; `train` goes on with it")
    whole = _build(run.recipe, pictures)
    restore_module(whole[NETWORK], read_weights(run.path / NETWORK_FILE))
    restore_module(whole[LOSS], read_weights(run.path / LOSS_FILE))
    whole.to(device).eval().requires_grad_(requires_grad=False)
    facts = read_checkpoint(run.path / CHECKPOINT_FILE).facts
    return Trained(_network(whole), head_of(whole[LOSS]), _history(facts))


def load_snapshot(run: RunFolder, step: int, pictures: LabelledImages) -> Subnet:
    """The network of a run as it was after so many steps.

    Raises:
        InvalidInputError: the recipe kept none there.
    """
    file = run.path / snapshot_file(step)
    if not file.exists():
        raise InvalidInputError("step", step, f"one of {run.recipe.training.snapshots}")
    network = _network(_build(run.recipe, pictures))
    restore_module(network, read_weights(file))
    return network.eval()


def snapshot_file(step: int) -> str:
    """The name of the weights after so many steps."""
    return f"snapshot-{step}.safetensors"


def head_of(loss: nn.Module) -> DistanceHead | None:
    """The head that learns with a loss."""
    head = getattr(loss, "head", None)
    return head if isinstance(head, DistanceHead) else None


class _Training:
    """A run between two epochs."""

    def __init__(self, recipe: Recipe, data: TrainingData, seed: int, device: str) -> None:
        _require_fit(recipe)
        self._recipe, self._data, self._seed, self._device = recipe, data, seed, torch.device(device)
        self._images = torch.from_numpy(data.training.images).to(device)
        self._labels = torch.from_numpy(data.training.labels).to(device)
        self._whole = _started(recipe, data.training, seed).to(device)
        self._network = _laid_out(_network(self._whole), recipe)
        self._loss = self._whole[LOSS]
        self._learning = list(self._whole.parameters())
        frozen = recipe.network.frozen
        self._freezing = Freezing(frozen, recipe.network.frozen_epochs or None) if frozen else None
        self._kept_small = weights_of(self._network)
        self._optimiser = build_optimiser(recipe.optimiser, self._learning)
        self._average = WeightAverage(self._whole, recipe.training.average) if recipe.training.average else None
        self._best: Mapping[str, Tensor] = {}
        self._steps = 0
        self.history: tuple[EpochFacts, ...] = ()

    # ---- where it stands

    @property
    def over(self) -> bool:
        """Whether no epoch is left."""
        stopping = self._recipe.training.early_stopping
        return len(self.history) >= self._recipe.training.epochs or has_stalled(stopping, self._accuracies)

    @property
    def _accuracies(self) -> list[float]:
        return [facts.validation_accuracy or 0.0 for facts in self.history]

    def groups(self) -> dict[str, Mapping[str, Tensor]]:
        """Every tensor that the next epoch depends on."""
        made: dict[str, Mapping[str, Tensor]] = {name: module.state_dict() for name, module in self._whole.items()}
        made[OPTIMISER] = optimiser_tensors(self._optimiser)
        if self._average is not None:
            made[AVERAGE] = dict(self._average.state())
        return {**made, BEST: self._best} if self._best else made

    def facts(self) -> dict[str, Any]:
        """Everything else."""
        return {"steps": self._steps, "history": [asdict(facts) for facts in self.history]}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `groups` and `facts` were taken."""
        for name, module in self._whole.items():
            restore_module(module, checkpoint.groups.get(name, {}))
        restore_optimiser(self._optimiser, checkpoint.groups.get(OPTIMISER, {}))
        if self._average is not None:
            self._average.restore(checkpoint.groups[AVERAGE])
        self._best = checkpoint.groups.get(BEST, {})
        self._steps = checkpoint.facts["steps"]
        self.history = _history(checkpoint.facts)

    def result(self) -> dict[str, Mapping[str, Tensor]]:
        """The weights that the run gives."""
        kept = self._best or self._judged().state_dict()
        return {
            name: {key.removeprefix(f"{name}."): value for key, value in kept.items() if key.startswith(f"{name}.")}
            for name in self._whole
        }

    # ---- an epoch

    def run_epoch(self, run: RunFolder, on_step: OnStep | None) -> EpochFacts:
        """Train one epoch and judge what came of it."""
        epoch = len(self.history)
        plan = epoch_plan(self._recipe.batches, self._data.training.labels, self._seed, epoch)
        torch.manual_seed(stream_seed(self._seed, Chance.NETWORK, epoch))
        varied = torch.Generator(self._device).manual_seed(stream_seed(self._seed, Chance.AUGMENTATION, epoch))
        started_s = time.perf_counter()
        loss, right, rate = self._train_epoch(plan, epoch, varied, run, on_step)
        seconds = time.perf_counter() - started_s
        judged = self._judged()
        found = validate(_network(judged), judged[LOSS], self._recipe, self._data.validation, self._device)
        facts = EpochFacts(
            epoch=epoch + 1,
            steps=self._steps,
            training_loss=loss,
            training_accuracy=right,
            validation_loss=found.loss if found else None,
            validation_accuracy=found.accuracy if found else None,
            learning_rate=rate,
            seconds=seconds,
        )
        self.history += (facts,)
        if self._recipe.training.keep is Keep.BEST and best_epoch(self._accuracies) == epoch:
            self._best = {name: value.detach().clone() for name, value in judged.state_dict().items()}
        return facts

    def _train_epoch(
        self, plan: EpochPlan, epoch: int, varied: torch.Generator, run: RunFolder, on_step: OnStep | None
    ) -> tuple[float, float | None, float]:
        self._whole.train()
        if self._freezing is not None:
            self._freezing.apply(self._network, epoch)
        head, rate = head_of(self._loss), 0.0
        losses, right = torch.zeros((), device=self._device), torch.zeros((), device=self._device)
        for done, (items, mated) in enumerate(plan.batches()):
            place = epoch + done / len(plan)
            rate = self._recipe.optimiser.learning_rate * rate_factor(
                self._recipe.schedule, place, self._recipe.training.epochs
            )
            sides, told = self._forward(items, mated, varied)
            loss = self._loss(*sides, told) if told is not None else self._loss(*sides)
            self._step(loss, rate)
            losses += loss.detach() * len(items)
            if head is not None and told is not None:
                with torch.no_grad():
                    right += ((head(*sides) >= 0) == told).sum()
            if self._steps in self._recipe.training.snapshots:
                write_weights(run.path / snapshot_file(self._steps), self._network.state_dict())
            if on_step is not None:
                on_step(done + 1, len(plan))
        mean = float(losses) / len(plan.items)
        if not np.isfinite(mean):
            raise DivergedError(epoch + 1)
        return mean, float(right) / len(plan.items) if head is not None else None, rate

    def _forward(
        self,
        items: np.ndarray[Any, np.dtype[np.int64]],
        mated: np.ndarray[Any, np.dtype[np.bool_]] | None,
        varied: torch.Generator,
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The embeddings of each side, and what the loss is told of them besides: all sides go through at once."""
        count, sides = items.shape
        places = torch.from_numpy(np.ascontiguousarray(items.T).reshape(-1)).to(self._device)
        batch = augment(self._laid_out_batch(places), self._recipe.augmentation, varied)
        with _precision(self._recipe, self._device):
            embeddings = self._network(batch)
        if sides == 1:
            return (embeddings,), self._labels[places]
        told = None if mated is None else torch.from_numpy(mated).to(self._device)
        return embeddings.split(count), told

    def _laid_out_batch(self, places: Tensor) -> Tensor:
        batch = as_batch(self._images, places)
        return batch if self._recipe.training.channels_last else batch.contiguous()

    def _step(self, loss: Tensor, rate: float) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        add_penalties(self._recipe.regularisation, self._kept_small)
        if self._recipe.optimiser.largest_gradient:
            nn.utils.clip_grad_norm_(self._learning, self._recipe.optimiser.largest_gradient)
        set_rate(self._optimiser, rate)
        self._optimiser.step()
        if self._average is not None:
            self._average.update(self._steps)
        self._steps += 1

    def _judged(self) -> nn.ModuleDict:
        """What is judged and given: the weights as they are, or their mean."""
        if self._average is None:
            return self._whole
        mean = copy.deepcopy(self._whole)
        mean.load_state_dict(dict(self._average.state()))
        return mean


def as_batch(images: Tensor, places: Tensor) -> Tensor:
    """Some pictures as networks take them.

    Args:
        images: uint8 (n, h, w, c), on any device.
        places: int64 (k,), on the same.

    Returns:
        float32 (k, c, h, w), 0 to 1; the channels lie closest together in memory.
    """
    return images[places].permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)


def _require_fit(recipe: Recipe) -> None:
    if recipe.loss.name not in LOSSES:
        raise InvalidInputError("loss.name", recipe.loss.name, f"one of {', '.join(LOSSES)}")
    fitting = FITTING[LOSSES[recipe.loss.name].kind]
    if recipe.batches.kind not in fitting:
        allowed = f"{' or '.join(fitting)} for the loss {recipe.loss.name}"
        raise InvalidInputError("batches.kind", recipe.batches.kind.value, allowed)


def _build(recipe: Recipe, pictures: LabelledImages) -> nn.ModuleDict:
    """The network and the loss, which may have weights of its own."""
    height, width, channels = pictures.images.shape[1:]
    network = build(recipe.network.name, (channels, height, width), recipe.network.options)
    loss = build_loss(recipe.loss.name, network.dimensions, len(pictures.names), recipe.loss.options)
    return nn.ModuleDict({NETWORK: network, LOSS: loss})


def _started(recipe: Recipe, pictures: LabelledImages, seed: int) -> nn.ModuleDict:
    """As before the first step."""
    whole = _build(recipe, pictures)
    network = _network(whole)
    drawn = torch.Generator().manual_seed(stream_seed(seed, Chance.WEIGHTS))
    initialise(network, recipe.network.initialisation, drawn, recipe.network.deviation)
    shown = stream(seed, Chance.WEIGHTS, 1).permutation(len(pictures))[:_PREPARED_ON]
    with torch.no_grad():
        network.prepare(as_batch(torch.from_numpy(pictures.images), torch.from_numpy(shown)))
    if recipe.network.start is not None:
        start = recipe.network.start
        load_weights(network, Path(start.file), start.sha256, start.only)
    return whole


def _laid_out(network: Subnet, recipe: Recipe) -> Subnet:
    if not recipe.training.channels_last:
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _network(whole: nn.ModuleDict) -> Subnet:
    network = whole[NETWORK]
    if not isinstance(network, Subnet):
        raise TypeError(type(network))
    return network


def _history(facts: Mapping[str, Any]) -> tuple[EpochFacts, ...]:
    return tuple(EpochFacts(**row) for row in facts["history"])


def _precision(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager[object]:
    if recipe.training.mixed_precision and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()
