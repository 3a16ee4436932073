"""What the page of a run shows: plain values, all measured before; the page computes nothing of its own."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_lab.evaluation.attacks import AttackCurve
from siamese_lab.evaluation.cross_validation import CrossValidation
from siamese_lab.evaluation.dimensions import Importance
from siamese_lab.evaluation.history import History
from siamese_lab.evaluation.maps import EmbeddingMap
from siamese_lab.evaluation.neighbours import NeighbourFigures
from siamese_lab.evaluation.pairs import PairFigures
from siamese_lab.evaluation.probability import ProbabilityFigures
from siamese_lab.evaluation.robustness import RobustnessCurve
from tessera.report import ScoreHistogram


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What was trained and what it was judged on, in words and numbers."""

    name: str
    """Of the run."""
    network: str
    dimensions: int
    comparison: str
    data: str
    classes: tuple[str, ...]
    """Names, by label."""
    gallery: int
    """Pictures that are searched."""
    gallery_of: str
    """Which these are: the training's, or a half of the test's."""
    chosen_on: str
    """Which pairs the threshold was chosen on: `validation`, or `training` where there are no such pictures."""
    validation: int
    test: int
    seed: int
    written: str
    """Date of the report, ISO 8601."""
    paper: str = ""
    """What is reproduced; empty: nothing."""
    notes: tuple[str, ...] = ()
    """What must stand beside every figure, such as that the data is a lossy copy."""
    unseen_classes: bool = False
    """The test's classes are not those of the training: people, signers. Then intervals count classes."""


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture on the page."""

    png: bytes
    label: str
    right: bool | None = None
    """Whether it is an answer of the right class; None: it is no answer."""
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class ShownRetrieval:
    """A query and its nearest."""

    query: ShownPicture
    found: tuple[ShownPicture, ...]


@dataclass(frozen=True, slots=True)
class ShownMap:
    """One attribution map."""

    method: str
    png: bytes
    faithfulness: float


@dataclass(frozen=True, slots=True)
class ExplainedPair:
    """A pair and what drives its score."""

    picture: ShownPicture
    reference: ShownPicture
    score: float
    mated: bool
    matched: bool
    maps: tuple[ShownMap, ...]


@dataclass(frozen=True, slots=True)
class ShownPreferred:
    """What the network likes to see along one direction."""

    picture: ShownPicture
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class ShapleyExample:
    """How dimensions share one answer."""

    told: str
    """Which answer, in words."""
    start: float
    """The mean answer of the background."""
    answer: float
    values: tuple[tuple[int, float], ...]
    """(dimension, value), the largest in size first."""


@dataclass(frozen=True, slots=True)
class ValidatedFigure:
    """A figure over folds."""

    name: str
    by: str
    """`item` or `class`."""
    result: CrossValidation


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that the page shows; None and empty: not measured."""

    facts: RunFacts
    pairs: PairFigures
    histogram: ScoreHistogram
    searches: NeighbourFigures | None
    """Test pictures in a gallery of others."""
    searches_within: NeighbourFigures | None
    """Test pictures among each other."""
    head: PairFigures | None = None
    """The same pairs as the network's own head judges them, at probability one half."""
    history: History | None = None
    probabilities: tuple[ProbabilityFigures, ...] = ()
    retrievals: tuple[ShownRetrieval, ...] = ()
    wrong_retrievals: tuple[ShownRetrieval, ...] = ()
    maps: tuple[EmbeddingMap, ...] = ()
    robustness: tuple[RobustnessCurve, ...] = ()
    attacks: tuple[AttackCurve, ...] = ()
    explained: tuple[ExplainedPair, ...] = ()
    preferred: tuple[ShownPreferred, ...] = ()
    importance: tuple[Importance, ...] = ()
    shapley: ShapleyExample | None = None
    cross_validation: tuple[ValidatedFigure, ...] = ()
