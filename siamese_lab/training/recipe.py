"""A recipe: everything that decides a run, as data. Two runs of one recipe with one seed on one machine are the same.

Recipes are read from YAML (`recipe_files`) strictly; whatever is left out has the default that stands here. What a
network, a loss or a source is called, and which options it has, their own tables say (`siamese_lab.networks`,
`siamese_lab.losses`, `siamese_lab.data.sources`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from siamese_lab.comparison import Comparison
from siamese_lab.data.augmentation import Augmentation
from siamese_lab.data.partition import Protocol
from siamese_lab.networks import Initialisation
from siamese_lab.options import Option
from siamese_lab.training.typed_reading import Within
from tessera.imaging.picture_gate import PictureGate

_Share = Annotated[float, Within(0.0, 1.0)]
_Count = Annotated[int, Within(0, 1 << 31)]
_Positive = Annotated[int, Within(1, 1 << 31)]
_Words = Annotated[str, Within(0, 2000)]


class NoiseKind(StrEnum):
    """What is added to pictures."""

    NONE = "none"
    GAUSSIAN = "gaussian"
    """Normal, of the stated deviation (of 1)."""
    SALT_AND_PEPPER = "salt-and-pepper"
    """The stated share of places becomes black or white."""
    BLUR = "blur"
    """No noise but its like: Gaussian, of a sigma of ten times the level, in pixels."""


class BatchKind(StrEnum):
    """What a batch holds."""

    PAIRS = "pairs"
    """As many mated as non-mated pairs."""
    RANDOM_PAIRS = "random-pairs"
    """A coin for each pair, as `getSiameseBatch` draws."""
    TRIPLETS = "triplets"
    """Anchor, positive, negative; the same number for each class."""
    BALANCED_CLASSES = "balanced-classes"
    """Pictures: as many of each of `classes` classes."""
    PICTURES = "pictures"
    """Pictures in random order, each once an epoch."""


class OptimiserKind(StrEnum):
    """How weights are changed."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"
    RMSPROP = "rmsprop"


class ScheduleKind(StrEnum):
    """How the learning rate goes on."""

    CONSTANT = "constant"
    STEP = "step"
    EXPONENTIAL = "exponential"
    CYCLIC = "cyclic"
    COSINE = "cosine"
    ONE_CYCLE = "one-cycle"


class Keep(StrEnum):
    """Which weights are the result."""

    LAST = "last"
    BEST = "best"
    """Those of the epoch that did best on the validation part."""


@dataclass(frozen=True, slots=True)
class NoisePart:
    """Noise that is added once to the pictures."""

    kind: NoiseKind = NoiseKind.NONE
    level: _Share = 0.0
    share: _Share = 1.0
    """Of the pictures; the others stay as they are."""
    training_only: bool = False
    """Validation and test are left as they are."""


@dataclass(frozen=True, slots=True)
class DataPart:
    """Which pictures."""

    source: str
    """A key of `SOURCES`, or `folders`: one folder for each class in the folder that `--data` names."""
    partition: Protocol = Protocol.OFFICIAL
    shares: Annotated[tuple[float, ...], Within(3, 3)] = (0.95, 0.05, 0.0)
    """Of train, validation and test; `official` takes the first two, of the published train part."""
    partition_seed: int = 0
    """The same pictures are in the same part whatever the seed of a run."""
    training_limit: _Count = 0
    """So many pictures, evenly over the classes; 0: all."""
    test_limit: _Count = 0
    """Likewise."""
    side_px: Annotated[int, Within(8, 1024)] = 64
    """Of `folders`."""
    channels: Annotated[int, Within(1, 3)] = 3
    """Of `folders`."""
    noise: NoisePart = NoisePart()
    steps: tuple[str, ...] = ()
    """After the noise, one after the other: keys of `siamese_lab.data.preparation.STEPS`."""
    gate: PictureGate | None = None
    """Pictures below its levels are not trained on, as they are after the steps; they are judged all the same. `{}`
    has the first paper's levels; without it everything passes."""


@dataclass(frozen=True, slots=True)
class StartPart:
    """Weights of an earlier training, such as the `network.safetensors` of a run."""

    file: str
    sha256: Annotated[str, Within(64, 64)]
    only: tuple[str, ...] = ()
    """Names of modules or weights; empty: all."""


@dataclass(frozen=True, slots=True)
class NetworkPart:
    """Which network."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)
    initialisation: Initialisation = Initialisation.HE
    deviation: Annotated[float, Within(1e-6, 10.0)] = 0.05
    """Of the initialisation `random`."""
    start: StartPart | None = None
    """Weights of an earlier training; without it all are drawn."""
    frozen: tuple[str, ...] = ()
    """Names of modules or weights that do not learn."""
    frozen_epochs: _Count = 0
    """For so many epochs; 0: for all."""


@dataclass(frozen=True, slots=True)
class LossPart:
    """What is made small."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchPart:
    """What one step sees."""

    kind: BatchKind = BatchKind.PAIRS
    size: _Positive = 64
    """Pairs, triplets or pictures, as the kind says."""
    per_epoch: _Count = 0
    """So many of them make an epoch; 0: as many as there are training pictures."""
    fixed: bool = False
    """Whether every epoch has the same ones, in another order."""
    classes: _Count = 0
    """In a batch of `balanced-classes`; 0: all that there are."""


@dataclass(frozen=True, slots=True)
class OptimiserPart:
    """How weights are changed."""

    kind: OptimiserKind = OptimiserKind.ADAM
    learning_rate: Annotated[float, Within(1e-9, 100.0)] = 1e-3
    momentum: Annotated[float, Within(0.0, 0.9999)] = 0.0
    """Of SGD and RMSprop."""
    nesterov: bool = False
    """Of SGD."""
    betas: Annotated[tuple[float, ...], Within(2, 2)] = (0.9, 0.999)
    """Of Adam and AdamW."""
    smoothing: Annotated[float, Within(0.0, 0.99999)] = 0.99
    """Of RMSprop."""
    decay: Annotated[float, Within(0.0, 10.0)] = 0.0
    """Decoupled weight decay, of AdamW; the others have `regularisation.l2`."""
    largest_gradient: Annotated[float, Within(0.0, 1e6)] = 0.0
    """Gradients of greater length are shortened to it; 0: none is."""


@dataclass(frozen=True, slots=True)
class SchedulePart:
    """How the learning rate goes on; each number belongs to the kinds that it names."""

    kind: ScheduleKind = ScheduleKind.CONSTANT
    warm_up_epochs: Annotated[float, Within(0.0, 1000.0)] = 0.0
    """Of every kind but one-cycle: it rises evenly from 0 to its first value."""
    every_epochs: Annotated[float, Within(0.01, 10000.0)] = 10.0
    """step: times `factor` so often. exponential: likewise, evenly between. cyclic: down and up again once."""
    factor: _Share = 0.5
    """step, exponential: what it is multiplied by. The rate never rises."""
    lowest: _Share = 0.0
    """cyclic, cosine, one-cycle: the lowest value, as a share of the learning rate."""
    rising: Annotated[float, Within(0.01, 0.99)] = 0.3
    """one-cycle: the share of the run in which it rises."""


@dataclass(frozen=True, slots=True)
class RegularisationPart:
    """What keeps weights small. Biases and the gains of batch norms are left alone."""

    l1: Annotated[float, Within(0.0, 10.0)] = 0.0
    """Adds l1 * sum |w| to the loss."""
    l2: Annotated[float, Within(0.0, 10.0)] = 0.0
    """Adds l2 / 2 * sum w^2 to the loss."""


@dataclass(frozen=True, slots=True)
class EarlyStoppingPart:
    """When a run ends before its last epoch."""

    patience_epochs: _Count = 0
    """So many epochs without a better validation accuracy end it; 0: never."""
    least_gain: _Share = 0.0
    """A smaller rise of accuracy counts as none."""


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """How long, and what is kept."""

    epochs: Annotated[int, Within(1, 100_000)] = 10
    early_stopping: EarlyStoppingPart = EarlyStoppingPart()
    keep: Keep = Keep.LAST
    average: Annotated[float, Within(0.0, 0.99999)] = 0.0
    """The result is the running mean of the weights, of this decay a step; 0: the weights themselves."""
    channels_last: bool = True
    """How pictures lie in memory: faster so for wide networks, slower by a tenth for LeNet-5."""
    mixed_precision: bool = False
    """bfloat16 where the device is a GPU that has it; on a CPU nothing changes."""
    snapshots: tuple[_Positive, ...] = ()
    """After so many steps of all, the weights are kept in a file of their own."""


@dataclass(frozen=True, slots=True)
class EvaluationPart:
    """What is judged on the test part."""

    comparison: Comparison = Comparison.EUCLIDEAN
    pair_count: _Positive = 20_000
    """Balanced pairs."""
    neighbours: tuple[_Positive, ...] = (1, 5)
    """k of precision, recall and hits at k."""
    pair_seed: int = 1000
    """The same pairs whatever the seed of a run."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a run but its seed."""

    name: Annotated[str, Within(1, 64)]
    title: _Words
    paper: _Words
    """What of which paper it reproduces or beats, in words."""
    data: DataPart
    network: NetworkPart
    loss: LossPart
    batches: BatchPart = BatchPart()
    optimiser: OptimiserPart = OptimiserPart()
    schedule: SchedulePart = SchedulePart()
    regularisation: RegularisationPart = RegularisationPart()
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: TrainingPart = TrainingPart()
    seeds: Annotated[tuple[_Count, ...], Within(1, 100)] = (0,)
    evaluation: EvaluationPart = EvaluationPart()
    variant: Annotated[str, Within(0, 64)] = ""
    """Which of a study's runs this is; empty: the only one."""
