"""Classification losses: the classes have a direction each, and a margin asks for more than the right class.

They need no pairs at all, and a fixed set of classes. What they leave behind is the embedding; the directions are the
training's own, except in `CrossEntropyLoss`, whose embeddings are the logits themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_lab.losses.distances import in_full, unit_length
from siamese_lab.losses.kinds import BatchLoss, require_embeddings, require_labels
from siamese_lab.options import require_above, require_between
from tessera.domain.errors import InvalidInputError

_KINK = 1e-7
"""Cosines are kept this far from +-1, where an angle has no finite derivative."""


class ClassHead(nn.Module):
    """One direction for each class; the cosine to it is how much an embedding is of that class.

    Args:
        dimensions: of the embeddings.
        class_count: of the training data.
        seed: of the directions before the first step.
    """

    def __init__(self, dimensions: int, class_count: int, seed: int = 0) -> None:
        super().__init__()
        require_between("dimensions", dimensions, 1, 4096)
        require_between("class_count", class_count, 2, 10_000_000)
        drawn = torch.randn(class_count, dimensions, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(unit_length(drawn))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, d) -> cosines (n, class_count), at least float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            directions = unit_length(in_full(embeddings))
            return directions @ unit_length(self.weight.to(directions.dtype)).T


class MarginSoftmaxLoss(BatchLoss):
    """Cross-entropy over scaled cosines, that of the right class lowered first; `lowered` says by how much.

    Args:
        dimensions: of the embeddings.
        class_count: of the training data.
        margin: see the class.
        scale: what cosines are multiplied with. For C classes and a probability p that a perfect embedding is to
            reach it needs (C - 1) / C * log((C - 1) * p / (1 - p)) at least: 8 for ten classes and 0.999 (CosFace,
            eq. 6).
        label_smoothing: share of each label that is spread over all classes.
    """

    def __init__(self, dimensions: int, class_count: int, margin: float, scale: float, label_smoothing: float) -> None:
        super().__init__()
        require_above("scale", scale, 0.0, 1000.0)
        require_between("label_smoothing", label_smoothing, 0.0, 0.9)
        self.head = ClassHead(dimensions, class_count)
        self.margin = margin
        self.scale = scale
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; every embedding counts, for each has its class.

        Raises:
            InvalidInputError: as BatchLoss, or a label is of no class.
        """
        require_embeddings(embeddings=embeddings)
        require_classes(labels, len(embeddings), len(self.head.weight))
        cosines: Tensor = self.head(embeddings)
        right = functional.one_hot(labels, cosines.shape[1]).bool()
        logits = self.scale * self.lowered(cosines).where(right, cosines)
        return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def lowered(self, cosines: Tensor) -> Tensor:
        """What stands for the cosine to the right class."""
        raise NotImplementedError


class ArcFaceLoss(MarginSoftmaxLoss):
    """The angle to the right class is taken as `margin` larger: cos(theta + margin).

    Beyond pi - margin, where that would rise again, it is cos(theta) - margin * sin(margin), as the authors' code has
    it.

    Args:
        dimensions: as MarginSoftmaxLoss's.
        class_count: as MarginSoftmaxLoss's.
        margin: radians.
        scale: as MarginSoftmaxLoss's; the paper's is 64, for 85,000 classes.
        label_smoothing: as MarginSoftmaxLoss's.

    Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 3.
    """

    def __init__(
        self,
        dimensions: int,
        class_count: int,
        *,
        margin: float = 0.5,
        scale: float = 30.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(dimensions, class_count, margin, scale, label_smoothing)
        require_between("margin", margin, 0.0, math.pi / 2)

    def lowered(self, cosines: Tensor) -> Tensor:
        """cos(theta + margin)."""
        inner = cosines.clamp(-1.0 + _KINK, 1.0 - _KINK)
        sines = (1.0 - inner.square()).sqrt()
        turned = inner * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return turned.where(cosines > math.cos(math.pi - self.margin), beyond)


class CosFaceLoss(MarginSoftmaxLoss):
    """The cosine to the right class is taken as `margin` smaller; a margin of 0 is the normalised softmax.

    Args:
        dimensions: as MarginSoftmaxLoss's.
        class_count: as MarginSoftmaxLoss's.
        margin: of cosines.
        scale: as MarginSoftmaxLoss's; the paper's is 64.
        label_smoothing: as MarginSoftmaxLoss's.

    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4.
    """

    def __init__(
        self,
        dimensions: int,
        class_count: int,
        *,
        margin: float = 0.35,
        scale: float = 30.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(dimensions, class_count, margin, scale, label_smoothing)
        require_between("margin", margin, 0.0, 1.0)

    def lowered(self, cosines: Tensor) -> Tensor:
        """cos(theta) - margin."""
        return cosines - self.margin


class CrossEntropyLoss(BatchLoss):
    """Plain cross-entropy: the embedding is the logits, one number for each class.

    Args:
        dimensions: of the embeddings, which must be `class_count`.
        class_count: of the training data.
        label_smoothing: share of each label that is spread over all classes.

    Raises:
        InvalidInputError: the network has another number of outputs than there are classes.
    """

    def __init__(self, dimensions: int, class_count: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if dimensions != class_count:
            raise InvalidInputError("dimensions", dimensions, f"{class_count}, one for each class")
        require_between("label_smoothing", label_smoothing, 0.0, 0.9)
        self.class_count = class_count
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; every embedding counts, for each has its class.

        Raises:
            InvalidInputError: as BatchLoss, or a label is of no class.
        """
        require_embeddings(embeddings=embeddings)
        require_classes(labels, len(embeddings), self.class_count)
        if embeddings.shape[1] != self.class_count:
            raise InvalidInputError("embeddings", tuple(embeddings.shape), f"(n, {self.class_count})")
        return functional.cross_entropy(in_full(embeddings), labels, label_smoothing=self.label_smoothing)


def require_classes(labels: Tensor, count: int, class_count: int) -> None:
    """Refuse what is not int64 (n,), each 0 to class_count - 1.

    Raises:
        InvalidInputError: it is not.
    """
    require_labels(labels, count)
    lowest, highest = (int(value) for value in torch.aminmax(labels))
    if lowest < 0 or highest >= class_count:
        raise InvalidInputError("labels", lowest if lowest < 0 else highest, f"0 to {class_count - 1}")
