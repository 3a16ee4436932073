"""A trained network against its data: every measurement of this package, once, in the order of the page.

Wires the parts together and holds no arithmetic of its own. What is drawn is drawn by one seed; how much is measured is
an `Extent`, so that a test takes a second and a real run a few minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from siamese_lab.comparison import Comparison
from siamese_lab.data.pairs import Pairs, balanced_pairs
from siamese_lab.data.sources import LabelledImages
from siamese_lab.evaluation import showing
from siamese_lab.evaluation.attacks import (
    EPSILONS,
    AttackCurve,
    ClassTarget,
    Method,
    PairTarget,
    attack_classes,
    attack_pairs,
)
from siamese_lab.evaluation.dimensions import Importance, permutation_importance, right_votes
from siamese_lab.evaluation.embedding import Embeddings, embed
from siamese_lab.evaluation.estimates import Indices, rate_of_items, rate_of_pairs
from siamese_lab.evaluation.history import History
from siamese_lab.evaluation.maps import EmbeddingMap, pca_map, tsne_map
from siamese_lab.evaluation.neighbours import NeighbourFigures, nearest, neighbours, neighbours_within
from siamese_lab.evaluation.pairs import (
    PairFigures,
    PairScores,
    judge_pairs,
    judge_pairs_at,
    pair_scores,
    score_pairs,
    with_scores,
)
from siamese_lab.evaluation.probability import ProbabilityFigures, Scaling, judge_probabilities
from siamese_lab.evaluation.retrieval import LabelledVectors
from siamese_lab.evaluation.robustness import Ill, RobustnessCurve, robustness
from siamese_lab.evaluation.values import RunFacts, RunReport, ValidatedFigure
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError
from tessera.report.measuring import histogram_of_scores

_SMALL_GALLERY = 2_000


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    pairs: int = 20_000
    """Balanced; of test pictures, and as many of validation pictures."""
    ks: tuple[int, ...] = (1, 5, 10)
    gallery: int = 10_000
    """Pictures that are searched, at most."""
    queries: int = 5_000
    """At most."""
    mapped: int = 1_500
    """Points of a map."""
    harmed: int = 300
    """Probes that are degraded and attacked, each in two pairs."""
    important: int = 400
    """Queries for the importance of dimensions."""
    retrievals: int = 8
    preferred: int = 6
    ills: tuple[Ill, ...] = tuple(Ill)
    epsilons: tuple[float, ...] = EPSILONS
    explained: bool = True
    tsne: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class RunData:
    """The parts of a run's data; `siamese_lab.training` has one like it."""

    training: LabelledImages
    validation: LabelledImages
    """May be empty: then the threshold is chosen on training pairs."""
    test: LabelledImages


@dataclass(frozen=True, slots=True)
class RunWords:
    """What only the caller knows of a run."""

    name: str
    network: str
    data: str
    seed: int
    written: str
    """Date, ISO 8601."""
    paper: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is judged."""

    network: nn.Module
    """Embeds; on `device`."""
    comparison: Comparison
    head: nn.Module | None = None
    """Two of (n, d) to logits (n,), where the network has a head of its own."""
    device: str = "cpu"

    def embed(self, pictures: LabelledImages) -> LabelledVectors:
        """The embeddings of pictures, with their labels."""
        return LabelledVectors(embed(self.network, pictures.images, self.device), pictures.labels)


def evaluate(
    subject: Subject,
    data: RunData,
    words: RunWords,
    extent: Extent | None = None,
    *,
    history: History | None = None,
    folds: tuple[ValidatedFigure, ...] = (),
    pair_seed: int = 1000,
) -> RunReport:
    """Measure everything.

    Args:
        subject: the network and how its embeddings are compared.
        data: what it was trained, chosen and is judged on.
        words: for the page's head.
        extent: how much is measured; None: as for a real run.
        history: of the training.
        folds: figures over folds, which only who trains can measure.
        pair_seed: draws pairs, examples and attacks: the same for all runs that are compared.

    Raises:
        InvalidInputError: the parts allow no pairs.
    """
    return _Evaluation(subject, data, extent or Extent(), pair_seed).report(words, history, folds)


class _Evaluation:
    """One run's embeddings, and the measurements that share them."""

    def __init__(self, subject: Subject, data: RunData, extent: Extent, seed: int) -> None:
        self._subject, self._data, self._extent, self._seed = subject, data, extent, seed
        self._unseen = not set(np.unique(data.test.labels)) <= set(np.unique(data.training.labels))
        self._pictures = _Parts.of(data, extent, self._rng(0), unseen=self._unseen)
        self._test = subject.embed(data.test)
        self._gallery, self._queries = subject.embed(self._pictures.gallery), subject.embed(self._pictures.queries)
        self._units = self._test.labels if self._unseen else None
        self._pairs = balanced_pairs(data.test.labels, extent.pairs, self._rng(1))
        self._scores = score_pairs(self._test.vectors, self._pairs, subject.comparison, self._units)
        self._validation = self._validation_scores()

    def _rng(self, stream: int) -> np.random.Generator:
        """Each measurement has a stream of its own, so that one more of them moves no other."""
        return np.random.default_rng((self._seed, stream))

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator(self._subject.device).manual_seed(int(self._rng(stream).integers(2**31)))

    def _validation_scores(self) -> PairScores:
        chosen = self._pictures.choosing
        pairs = balanced_pairs(chosen.labels, self._extent.pairs, self._rng(2))
        units = chosen.labels if self._unseen else None
        return score_pairs(self._subject.embed(chosen).vectors, pairs, self._subject.comparison, units)

    def report(self, words: RunWords, history: History | None, folds: tuple[ValidatedFigure, ...]) -> RunReport:
        extent, comparison = self._extent, self._subject.comparison
        figures = judge_pairs(self._validation, self._scores, self._rng(3))
        gallery, queries = self._gallery, self._queries
        show = showing.Showing(self._pictures.gallery, self._pictures.queries, gallery, queries, comparison)
        pair_show = showing.PairShowing(self._subject.network, self._data.test, comparison, self._subject.device)
        mated, others = self._scores.scores[self._scores.mated], self._scores.scores[~self._scores.mated]
        return RunReport(
            facts=self._facts(words),
            pairs=figures,
            histogram=histogram_of_scores(mated, others),
            searches=neighbours(
                gallery.vectors, gallery.labels, queries.vectors, queries.labels,
                _possible(extent.ks, len(gallery.labels)), comparison=comparison,
            ),
            searches_within=self._within(),
            head=self._head(),
            history=history,
            probabilities=self._probabilities(),
            retrievals=show.retrievals(extent.retrievals, self._rng(4)),
            wrong_retrievals=show.wrong_retrievals(max(1, extent.retrievals // 2), self._rng(5)),
            maps=self._maps(),
            robustness=self._robustness(figures.threshold) if extent.ills else (),
            attacks=self._attacks(figures.threshold) if len(extent.epsilons) > 1 else (),
            explained=pair_show.explained(self._pairs, self._scores.scores, figures.threshold, self._rng(6))
            if extent.explained else (),
            preferred=show.preferred(self._subject.network, extent.preferred, self._generator(7)),
            importance=self._importance(),
            shapley=showing.shapley_example(self._test.vectors, self._pairs, self._scores.scores, comparison),
            cross_validation=folds,
        )  # fmt: skip

    def _facts(self, words: RunWords) -> RunFacts:
        data = self._data
        return RunFacts(
            name=words.name, network=words.network, dimensions=self._test.vectors.shape[1],
            comparison=self._subject.comparison.value, data=words.data, classes=data.test.names,
            gallery=len(self._pictures.gallery.labels),
            gallery_of="the other half of the test pictures" if self._unseen else "training pictures",
            chosen_on="validation" if len(data.validation.labels) else "training",
            validation=len(data.validation.labels), test=len(data.test.labels), seed=words.seed,
            written=words.written, paper=words.paper, notes=words.notes, unseen_classes=self._unseen,
        )  # fmt: skip

    def _within(self) -> NeighbourFigures | None:
        some = self._rng(8).permutation(len(self._test.labels))[: self._extent.queries]
        if len(some) < 3:
            return None
        vectors, labels = self._test.vectors[some], self._test.labels[some]
        return neighbours_within(vectors, labels, _possible(self._extent.ks, len(some) - 1), self._subject.comparison)

    def _head(self) -> PairFigures | None:
        head = self._subject.head
        if head is None:
            return None
        logits = head_scores(head, self._test.vectors, self._pairs, self._subject.device)
        return judge_pairs_at(0.0, with_scores(logits, self._pairs, self._units), self._rng(9))

    def _probabilities(self) -> tuple[ProbabilityFigures, ...]:
        found = []
        for at, scaling in enumerate(Scaling):
            try:
                found.append(judge_probabilities(self._validation, self._scores, scaling, self._rng(10 + at)))
            except InvalidInputError:
                continue  # mated pairs score no higher than others: there is nothing to scale, and the page says so
        return tuple(found)

    def _maps(self) -> tuple[EmbeddingMap, ...]:
        vectors, labels, most = self._test.vectors, self._test.labels, self._extent.mapped
        made = [pca_map(vectors, labels, self._rng(20), most)] if min(vectors.shape) >= 2 else []
        if self._extent.tsne and len(vectors) >= 4:
            made.append(tsne_map(vectors, labels, self._rng(21), most))
        return tuple(made)

    # ---- harm

    def _harmed(self) -> tuple[LabelledImages, Pairs]:
        some = self._rng(30).permutation(len(self._data.test.labels))[: self._extent.harmed]
        probes = self._data.test.subset(np.sort(some))
        return probes, balanced_pairs(probes.labels, 2 * len(probes.labels), self._rng(31))

    def _robustness(self, threshold: float) -> tuple[RobustnessCurve, ...]:
        probes, pairs = self._harmed()
        clean = self._subject.embed(probes).vectors

        def judge(changed: Embeddings) -> Mapping[str, Estimate]:
            compared = Pairs(pairs.first, pairs.second + len(changed), pairs.mated)
            scores = pair_scores(np.concatenate([changed, clean]), compared, self._subject.comparison)
            right = rate_of_pairs((scores >= threshold) == pairs.mated, pairs.first, pairs.second)
            return {"pairs": right, "class (nearest)": self._nearest_right(changed, probes.labels)}

        def embedded(pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Embeddings:
            return embed(self._subject.network, pictures, self._subject.device)

        return robustness(probes.images, embedded, judge, self._rng(32), self._extent.ills)

    def _nearest_right(self, vectors: Embeddings, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Estimate:
        places, _ = nearest(self._gallery.vectors, vectors, 1, self._subject.comparison)
        return rate_of_items(self._gallery.labels[places[:, 0]] == labels)

    def _attacks(self, threshold: float) -> tuple[AttackCurve, ...]:
        probes, pairs = self._harmed()
        network, device, epsilons = self._subject.network, self._subject.device, self._extent.epsilons
        on_pairs = PairTarget(probes.images, pairs, self._subject.comparison, threshold)
        curves = [
            attack_pairs(network, on_pairs, method, self._generator(33), epsilons, device=device) for method in Method
        ]
        known = np.isin(probes.labels, self._gallery.labels)
        if bool(known.any()) and self._subject.comparison is Comparison.EUCLIDEAN:
            few = self._small_gallery()
            known &= np.isin(probes.labels, few.labels)
            on_classes = ClassTarget(few.vectors, few.labels, probes.images[known], probes.labels[known])
            curves += [
                attack_classes(network, on_classes, method, self._generator(34), epsilons, device=device)
                for method in Method
            ]
        return tuple(curves)

    def _small_gallery(self) -> LabelledVectors:
        """For what searches hundreds of times."""
        some = self._rng(35).permutation(len(self._gallery.labels))[:_SMALL_GALLERY]
        return LabelledVectors(self._gallery.vectors[some], self._gallery.labels[some])

    # ---- dimensions

    def _importance(self) -> tuple[Importance, ...]:
        queries, few = self._queries, slice(0, self._extent.important)
        gallery = self._small_gallery()
        right = right_votes(gallery.vectors, gallery.labels, queries.labels[few])
        return permutation_importance(queries.vectors[few], right, self._rng(40), repeats=3)


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """Which pictures are searched, asked for, and chosen on."""

    gallery: LabelledImages
    queries: LabelledImages
    choosing: LabelledImages

    @classmethod
    def of(cls, data: RunData, extent: Extent, rng: np.random.Generator, *, unseen: bool) -> _Parts:
        """Of classes that the training has not, every other test picture is searched."""
        order = rng.permutation(len(data.test.labels))
        half = len(order) // 2 if unseen else 0
        gallery = data.test.subset(order[:half]) if unseen else data.training
        choosing = data.validation if len(data.validation.labels) else data.training
        return cls(
            _some(gallery, extent.gallery, rng),
            data.test.subset(order[half : half + extent.queries]),
            _some(choosing, extent.gallery, rng),
        )


def _some(pictures: LabelledImages, most: int, rng: np.random.Generator) -> LabelledImages:
    if len(pictures.labels) <= most:
        return pictures
    chosen: Indices = np.sort(rng.permutation(len(pictures.labels))[:most])
    return pictures.subset(chosen)


def _possible(ks: tuple[int, ...], most: int) -> tuple[int, ...]:
    return tuple(k for k in ks if k <= most) or (most,)


def head_scores(
    head: nn.Module, embeddings: Embeddings, pairs: Pairs, device: str = "cpu"
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The logits of a network's own head: above 0 it takes a pair for mated.

    Args:
        head: two of (n, d) to (n,).
        embeddings: float32 (n, d).
        pairs: indices into them.
        device: where the head is.
    """
    first, second = (torch.from_numpy(embeddings[side]).to(device) for side in (pairs.first, pairs.second))
    with torch.inference_mode():
        return np.asarray(head(first, second).double().cpu().numpy(), np.float64)
