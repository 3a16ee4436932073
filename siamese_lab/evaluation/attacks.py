"""Pictures changed by a hair so that the network errs: FGSM and PGD, on a pair's score and on a class decision.

Beside robustness: there an ill comes by chance, here somebody who has the network seeks it. Every change stays within
epsilon of each value of the picture, and within [0, 1]. What these attacks do not find, a stronger one may: a curve is
a lower bound of the harm. The adversarial step of a training is `adversarial_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor, nn

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation.embedding import BATCH, Embeddings, Pictures, as_batch, testing
from siamese_lab.evaluation.estimates import Bools, rate_of_items, rate_of_pairs
from siamese_lab.evaluation.neighbours import Labels, nearest, vote
from siamese_lab.evaluation.pairs import PairIndices
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError

Loss = Callable[[Tensor], Tensor]
"""Pictures (n, c, h, w) to what the attacker raises: (n,), or one number for a batch that stays together."""

EPSILONS = (0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255)
_SMALL = 1e-12


class Method(StrEnum):
    """How the attacker goes up."""

    FGSM = "FGSM"
    """One step of epsilon along the gradient's sign."""
    PGD = "PGD"
    """Many smaller steps, each taken back into the ball."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What the attacker may do."""

    method: Method
    epsilon: float
    """The most that any value of a picture may change, in [0, 1]."""
    steps: int = 10
    """Of PGD."""
    step_share: float = 0.25
    """Each step of PGD as a share of epsilon."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon <= 1.0:
            raise InvalidInputError("epsilon", self.epsilon, "0 to 1")
        if self.steps < 1 or not 0.0 < self.step_share <= 1.0:
            raise InvalidInputError("steps", (self.steps, self.step_share), "at least 1, of a share in (0, 1]")


def attacked(pictures: Tensor, loss: Loss, attack: Attack, generator: torch.Generator | None = None) -> Tensor:
    """The pictures with the change that an attack finds.

    Args:
        pictures: float32 (n, c, h, w) in [0, 1].
        loss: what the attacker raises.
        attack: what may be done.
        generator: draws where PGD starts inside the ball; None: it starts from the pictures.

    Returns:
        Pictures of the same shape, each value within epsilon of what it was. PGD gives the best of all that it saw,
        among them the pictures as they were and those of FGSM: its loss is never below either.

    Source: Goodfellow, Shlens and Szegedy, ICLR 2015 (FGSM); Madry et al., ICLR 2018 (PGD).
    """
    if attack.method is Method.FGSM:
        return _step(pictures, pictures, loss, attack.epsilon, attack.epsilon)[1]
    return _projected_ascent(pictures, loss, attack, generator)


def _projected_ascent(pictures: Tensor, loss: Loss, attack: Attack, generator: torch.Generator | None) -> Tensor:
    plain, quick = _step(pictures, pictures, loss, attack.epsilon, attack.epsilon)
    best, highest = _better(pictures, plain, quick, _value(quick, loss))
    now = pictures if generator is None else _inside(pictures + _uniform(pictures, attack.epsilon, generator), pictures)
    for _ in range(attack.steps):
        value, further = _step(now, pictures, loss, attack.step_share * attack.epsilon, attack.epsilon)
        best, highest = _better(best, highest, now, value)
        now = further
    return _better(best, highest, now, _value(now, loss))[0]


def _uniform(pictures: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(pictures.shape, generator=generator, device=generator.device).to(pictures.device)
    return (2.0 * drawn - 1.0) * epsilon


def _step(now: Tensor, start: Tensor, loss: Loss, length: float, epsilon: float) -> tuple[Tensor, Tensor]:
    """The loss where the attack stands, and where it goes next."""
    there = now.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = loss(there)
        (gradient,) = torch.autograd.grad(value.sum(), there)
    stepped = now.detach() + length * gradient.sign()
    return value.detach(), _inside(torch.minimum(torch.maximum(stepped, start - epsilon), start + epsilon), start)


def _inside(changed: Tensor, start: Tensor) -> Tensor:
    """Within [0, 1], but where the picture itself was not."""
    low, high = start.clamp(max=0.0), start.clamp(min=1.0)
    return torch.minimum(torch.maximum(changed, low), high).detach()


def _value(pictures: Tensor, loss: Loss) -> Tensor:
    with torch.no_grad():
        return loss(pictures).detach()


def _better(best: Tensor, highest: Tensor, found: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    higher = value > highest
    chosen = higher if higher.ndim == 0 else higher.view(-1, *[1] * (best.ndim - 1))
    return torch.where(chosen, found, best), torch.where(higher, value, highest)


def adversarial_batch(
    network: nn.Module,
    batch: Tensor,
    loss: Callable[[Tensor], Tensor],
    attack: Attack,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The adversarial step of a training: the batch that is worst for the network as it stands.

    Args:
        network: (n, c, h, w) to embeddings (n, d); its weights, their gradients and its running means stay as they
            are, and its mode is what it was afterwards.
        batch: float32 (n, c, h, w) in [0, 1].
        loss: of the embeddings: (n,) or a single number, as the training has it.
        attack: what may be done.
        generator: draws where PGD starts.

    Returns:
        What to train on in place of the batch or beside it; without gradient.

    Source: Madry et al., ICLR 2018, equation 2.1.
    """
    with testing(network):
        return attacked(batch.detach(), lambda pictures: loss(network(pictures)), attack, generator)


# ---- what is attacked


def similarity(one: Tensor, other: Tensor, comparison: Comparison) -> Tensor:
    """`pairs.pair_scores` with gradients: two of (n, d) give (n,).

    A distance of 0 has no direction; there the gradient is 0, and an attacker needs a random start.
    """
    if comparison is Comparison.COSINE:
        return nn.functional.cosine_similarity(one, other, dim=1)
    return -((one - other) ** 2).sum(dim=1).clamp(min=_SMALL).sqrt()


def pair_loss(network: nn.Module, templates: Tensor, mated: Tensor, comparison: Comparison) -> Loss:
    """What raises errors of pairs: mated ones drift apart, others come together.

    Args:
        network: the embedder.
        templates: (n, d): what each probe is compared with; the attacker cannot change it.
        mated: bool (n,).
        comparison: how.
    """
    sign = torch.where(mated, -1.0, 1.0)
    return lambda pictures: sign * similarity(network(pictures), templates, comparison)


def class_loss(network: nn.Module, gallery: Tensor, gallery_labels: Tensor, labels: Tensor) -> Loss:
    """What raises errors of a nearest-neighbour decision: other classes come nearer than the own.

    Args:
        network: the embedder.
        gallery: (m, d).
        gallery_labels: int64 (m,).
        labels: int64 (n,): of the probes.

    Returns:
        A soft minimum of the squared distances to the own class less that to all others. It follows the vote and is not
        it: the curve judges by the vote.
    """
    own = labels[:, None] == gallery_labels
    softness = torch.cdist(gallery, gallery.mean(dim=0, keepdim=True)).square().mean() / gallery.shape[1] ** 0.5

    def loss(pictures: Tensor) -> Tensor:
        near = -torch.cdist(network(pictures), gallery).square() / softness.clamp(min=_SMALL)
        others = near.masked_fill(own, -torch.inf).logsumexp(dim=1)
        raised: Tensor = others - near.masked_fill(~own, -torch.inf).logsumexp(dim=1)
        return raised

    return loss


# ---- curves


@dataclass(frozen=True, slots=True)
class AttackPoint:
    """What an attack does at one strength."""

    epsilon: float
    accuracy: Estimate
    fnmr: Estimate | None = None
    """Mated pairs that the attacker kept from matching; None: it was a class decision."""
    fmr: Estimate | None = None
    """Other pairs that the attacker made match."""


@dataclass(frozen=True, slots=True)
class AttackCurve:
    """What an attack does at rising strength."""

    method: Method
    target: str
    """In words: what is decided."""
    points: tuple[AttackPoint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PairTarget:
    """A decision on pairs: each first picture is the probe, each second the template."""

    pictures: Pictures
    pairs: PairIndices
    comparison: Comparison
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class ClassTarget:
    """A decision by the nearest neighbours."""

    gallery: Embeddings
    gallery_labels: Labels
    probes: Pictures
    labels: Labels
    k: int = 1


def attack_pairs(
    network: nn.Module,
    target: PairTarget,
    method: Method,
    generator: torch.Generator,
    epsilons: Sequence[float] = EPSILONS,
    *,
    device: str = "cpu",
) -> AttackCurve:
    """Attack the probe of every pair, at rising strength, with the network's gradients.

    Args:
        network: the embedder, on `device`.
        target: what is decided.
        method: how.
        generator: draws where PGD starts.
        epsilons: the strengths.
        device: where it computes.
    """
    mated = np.asarray(target.pairs.mated, np.bool_)
    with testing(network):
        points = [
            _pair_point(
                target, mated, epsilon, _attacked_scores(network, target, Attack(method, epsilon), generator, device)
            )
            for epsilon in epsilons
        ]
    return AttackCurve(method, "pairs", tuple(points))


def _attacked_scores(
    network: nn.Module, target: PairTarget, attack: Attack, generator: torch.Generator, device: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    scores = []
    for at in range(0, target.pairs.mated.size, BATCH):
        part = slice(at, at + BATCH)
        probes = as_batch(target.pictures[target.pairs.first[part]], device)
        mated = torch.from_numpy(np.asarray(target.pairs.mated[part], np.bool_)).to(device)
        with torch.no_grad():
            templates = network(as_batch(target.pictures[target.pairs.second[part]], device))
        found = attacked(probes, pair_loss(network, templates, mated, target.comparison), attack, generator)
        with torch.no_grad():
            scores.append(similarity(network(found), templates, target.comparison).double().cpu().numpy())
    return np.concatenate(scores)


def _pair_point(
    target: PairTarget, mated: Bools, epsilon: float, scores: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> AttackPoint:
    matched = scores >= target.threshold
    first, second = np.asarray(target.pairs.first, np.intp), np.asarray(target.pairs.second, np.intp)
    return AttackPoint(
        epsilon,
        rate_of_pairs(matched == mated, first, second),
        fnmr=rate_of_pairs(~matched[mated], first[mated], second[mated]),
        fmr=rate_of_pairs(matched[~mated], first[~mated], second[~mated]),
    )


def attack_classes(
    network: nn.Module,
    target: ClassTarget,
    method: Method,
    generator: torch.Generator,
    epsilons: Sequence[float] = EPSILONS,
    *,
    device: str = "cpu",
) -> AttackCurve:
    """Attack every probe of a nearest-neighbour decision, at rising strength."""
    with testing(network):
        points = [
            AttackPoint(epsilon, _attacked_vote(network, target, Attack(method, epsilon), generator, device))
            for epsilon in epsilons
        ]
    return AttackCurve(
        method, "class of the nearest" if target.k == 1 else f"vote of the {target.k} nearest", tuple(points)
    )


def _attacked_vote(
    network: nn.Module, target: ClassTarget, attack: Attack, generator: torch.Generator, device: str
) -> Estimate:
    gallery = torch.from_numpy(target.gallery).to(device)
    labels_there = torch.from_numpy(target.gallery_labels).to(device)
    found = []
    for at in range(0, len(target.probes), BATCH):
        labels = torch.from_numpy(target.labels[at : at + BATCH]).to(device)
        loss = class_loss(network, gallery, labels_there, labels)
        changed = attacked(as_batch(target.probes[at : at + BATCH], device), loss, attack, generator)
        with torch.no_grad():
            found.append(network(changed).float().cpu().numpy())
    places, _ = nearest(target.gallery, np.concatenate(found), target.k)
    winner = vote(target.gallery_labels[places], int(max(target.gallery_labels.max(), target.labels.max())) + 1)
    return rate_of_items(winner == target.labels)
