"""NanoDet: where the persons of a frame are. It says nothing about who they are.

Of the eighty kinds of things that the published weights know, one is kept: persons. The weights come as the flat file
of a TensorFlow.js graph, batch norms folded, in half precision.

Source: NanoDet (github.com/RangiLyu/nanodet, Apache-2.0), the variant with a small CSP backbone and a PAN without
convolutions; boxes are distributions over distances, after Li et al., "Generalized Focal Loss", NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tessera.domain.errors import ArtifactError
from tessera.nets.yunet import suppress

STRIDES = (8, 16, 32)
INPUT_MULTIPLE_PX = 32
CLASSES = 80
PERSON_CLASS = 0
"""Of COCO."""
BINS = 11
"""Of the distance from a prior to an edge: 0 to 10 strides."""
VALUES_PER_PRIOR = 1 + 4
"""How sure it is of a person, and the distances to the left, upper, right and lower edge in strides."""

_CHANNELS = 128
_SLOPE = 0.1
_MEAN_BGR = (103.53, 116.28, 123.675)
_DEVIATION_BGR = (57.375, 57.12, 58.395)

_OFFSETS_BYTES = {
    "backbone.stem": (5545944, 5547672),
    "backbone.stages.0.enter": (5547866, 5566298),
    "backbone.stages.0.blocks.0.first": (5518068, 5527284),
    "backbone.stages.0.blocks.0.second": (5513364, 5517972),
    "backbone.stages.0.leave": (5527384, 5545816),
    "backbone.stages.1.enter": (5566430, 5640158),
    "backbone.stages.1.blocks.0.first": (5365452, 5402316),
    "backbone.stages.1.blocks.0.second": (5346892, 5365324),
    "backbone.stages.1.blocks.1.first": (5402448, 5439312),
    "backbone.stages.1.blocks.1.second": (5328332, 5346764),
    "backbone.stages.1.leave": (5439444, 5513172),
    "backbone.stages.2.enter": (5640354, 5935266),
    "backbone.stages.2.blocks.0.first": (4737796, 4885252),
    "backbone.stages.2.blocks.0.second": (4663876, 4737604),
    "backbone.stages.2.blocks.1.first": (4885448, 5032904),
    "backbone.stages.2.blocks.1.second": (4589956, 4663684),
    "backbone.stages.2.leave": (5033100, 5328012),
    "backbone.stages.3.enter": (5935590, 7115238),
    "backbone.stages.3.blocks.0.first": (1639288, 2229112),
    "backbone.stages.3.blocks.0.second": (1344056, 1638968),
    "backbone.stages.3.blocks.1.first": (2229436, 2819260),
    "backbone.stages.3.blocks.1.second": (1048824, 1343736),
    "backbone.stages.3.blocks.2.first": (2819584, 3409408),
    "backbone.stages.3.blocks.2.second": (753592, 1048504),
    "backbone.stages.3.leave": (3409732, 4589380),
    "neck.lateral.0": (654680, 687448),
    "neck.lateral.1": (687736, 753272),
    "neck.lateral.2": (7115786, 7246858),
    "head.features.0": (120, 295032),
    "head.features.1": (327408, 622320),
    "head.features.2": (7247306, 7542218),
    "head.answers.0": (295320, 327064),
    "head.answers.1": (622608, 654352),
    "head.answers.2": (7542506, 7574250),
}
"""Where the weight and the bias of each convolution begin in the file, as the graph beside it says."""

_FILE_BYTES = 7574558


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE, inplace=True)


class TinyBlock(nn.Module):
    """Two convolutions; both of their results go on."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs // 2)
        self.second = _conv(outputs // 2, outputs // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        first = _leaky(self.first(x))
        return torch.cat((_leaky(self.second(first)), first), 1)


class Stage(nn.Module):
    """Blocks beside a way around them, at one resolution.

    Args:
        inputs: channels in.
        blocks: how many.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.enter = _conv(inputs, inputs, stride=stride)
        self.blocks = nn.Sequential(*(TinyBlock(inputs, inputs) for _ in range(blocks)))
        self.leave = _conv(inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 2 x inputs, h/stride, w/stride)."""
        entered = _leaky(self.enter(x))
        return torch.cat((_leaky(self.leave(self.blocks(entered))), entered), 1)


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, stride=2)
        self.stages = nn.ModuleList((Stage(32, 1, 1), Stage(64, 2, 2), Stage(128, 2, 2), Stage(256, 3, 2)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 3, h, w) -> (n, 128, h/8, w/8), (n, 256, h/16, w/16), (n, 512, h/32, w/32)."""
        x = functional.max_pool2d(_leaky(self.stem(x)), 3, 2, padding=1)
        at_8: Tensor = self.stages[1](self.stages[0](x))
        at_16: Tensor = self.stages[2](at_8)
        at_32: Tensor = self.stages[3](at_16)
        return at_8, at_16, at_32


class Neck(nn.Module):
    """Coarse features flow into the finer ones, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(inputs, _CHANNELS, 1) for inputs in (128, 256, 512))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The levels of the backbone -> three of (n, 128, h/s, w/s)."""
        at_8, at_16, at_32 = (conv(level) for conv, level in zip(self.lateral, levels, strict=True))
        at_16 = at_16 + _doubled(at_32)
        at_8 = at_8 + _doubled(at_16)
        # Bilinear at half the size, pixel centres kept, is the mean of four.
        at_16 = at_16 + functional.avg_pool2d(at_8, 2)
        at_32 = at_32 + functional.avg_pool2d(at_16, 2)
        return at_8, at_16, at_32


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """The answers at each position of each level.

    Args:
        answers: of one position; `keep_persons` makes fewer of them.
    """

    def __init__(self, answers: int = CLASSES + 4 * BINS) -> None:
        super().__init__()
        self.features = nn.ModuleList(_conv(_CHANNELS, _CHANNELS) for _ in STRIDES)
        self.answers = nn.ModuleList(_conv(_CHANNELS, answers, 1) for _ in STRIDES)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Three of (n, 128, h/s, w/s) -> (n, priors, answers), raw; levels and rows in order."""
        convs = zip(self.features, self.answers, levels, strict=True)
        return torch.cat([answer(_leaky(features(x))).flatten(2) for features, answer, x in convs], 2).transpose(1, 2)


class NanoDet(nn.Module):
    """The network as it was published: eighty classes, and distributions in place of distances.

    Args:
        answers: of one position.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, answers: int = CLASSES + 4 * BINS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION_BGR).reshape(1, 3, 1, 1))
        self.backbone = Backbone()
        self.neck = Neck()
        self.head = Head(answers)

    def forward(self, frames: Tensor) -> Tensor:
        """Look at frames.

        Args:
            frames: float32 (n, 3, h, w), BGR, 0 to 255, h and w multiples of 32.

        Returns:
            float32 (n, priors, 80 + 44), raw: before any sigmoid or softmax.
        """
        out: Tensor = self.head(self.neck(self.backbone((frames - self.mean) / self.deviation)))
        return out


class PersonDetector(NanoDet):
    """What is served: persons alone, with distances; `decode` turns its output into boxes."""

    strides_of_bins: Tensor

    def __init__(self) -> None:
        super().__init__(1 + 4 * BINS)
        self.register_buffer("strides_of_bins", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Look at frames.

        Args:
            frames: float32 (n, 3, h, w), BGR, 0 to 255, h and w multiples of 32.

        Returns:
            float32 (n, priors, 5): how sure it is of a person, in [0, 1], and the distances to the left, upper, right
            and lower edge in strides.
        """
        raw = super().forward(frames)
        chances = raw[..., 1:].reshape(*raw.shape[:2], 4, BINS).softmax(3)
        return torch.cat((raw[..., :1].sigmoid(), (chances * self.strides_of_bins).sum(3)), 2)


@torch.no_grad()
def keep_persons(published: NanoDet) -> PersonDetector:
    """The same function for persons alone; its last convolutions have a third of the channels.

    Args:
        published: whose weights are taken over.

    Returns:
        A network of its own.
    """
    kept = PersonDetector().eval()
    wanted = [PERSON_CLASS, *range(CLASSES, CLASSES + 4 * BINS)]
    state = published.state_dict()
    for name in [name for name in state if name.startswith("head.answers.")]:
        state[name] = state[name][wanted]
    kept.load_state_dict(state)
    return kept


def build_nanodet(content: bytes, source: str) -> NanoDet:
    """A NanoDet with the weights of a flat file.

    Args:
        content: of `nanodet.bin`.
        source: its name, for the error.

    Raises:
        ArtifactError: it is not as long as that file.
    """
    if len(content) != _FILE_BYTES:
        raise ArtifactError(source, f"has {len(content):,} bytes; the weights of this network have {_FILE_BYTES:,}")
    module = NanoDet().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(_read(content, name, parameter.shape))
    return module


def _read(content: bytes, name: str, shape: torch.Size) -> Tensor:
    layer, _, kind = name.rpartition(".")
    weight_at, bias_at = _OFFSETS_BYTES[layer]
    at = bias_at if kind == "bias" else weight_at
    values = np.frombuffer(content, "<f2", shape.numel(), at).astype(np.float32)
    if kind == "bias":
        return torch.from_numpy(values)
    outputs, inputs, height, width = shape
    return torch.from_numpy(values.reshape(height, width, inputs, outputs)).permute(3, 2, 0, 1)


def layer_offsets() -> Iterator[tuple[str, int, int]]:
    """Each convolution, and where its weight and its bias begin in `nanodet.bin`, in bytes."""
    return ((layer, weight, bias) for layer, (weight, bias) in _OFFSETS_BYTES.items())


@dataclass(frozen=True, slots=True, eq=False)
class DetectedPersons:
    """The persons of one frame, the surest first, in pixels of the detector's input."""

    boxes: npt.NDArray[np.float32]
    """(n, 4): x, y, width, height."""
    probabilities: npt.NDArray[np.float32]
    """(n,), in [0, 1]."""


def decode(
    output: npt.NDArray[np.float32],
    height_px: int,
    width_px: int,
    *,
    score_threshold: float = 0.4,
    nms_threshold: float = 0.6,
    top_k: int = 1000,
) -> DetectedPersons:
    """Turn the network's output for one frame into persons.

    Args:
        output: (priors, 5), what `PersonDetector` gave for this frame.
        height_px: of the network's input.
        width_px: of the network's input.
        score_threshold: persons at or below it are left out.
        nms_threshold: of two boxes with more intersection over union than this, the surer one stays.
        top_k: how many of the surest go into the suppression.

    Source: NanoDet, `nanodet/model/head/gfl_head.py`, `get_bboxes`; its suppression threshold is 0.6.
    """
    scores = prior_scores(output)
    candidates = np.flatnonzero(scores > score_threshold)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
    boxes = prior_boxes(output, candidates, height_px, width_px)
    kept = suppress(boxes, nms_threshold)
    return DetectedPersons(boxes[kept], scores[candidates][kept])


def prior_scores(output: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How sure the network is of a person at each prior.

    Args:
        output: (priors, 5), of one frame.

    Returns:
        (priors,), in [0, 1].
    """
    return output[:, 0]


def prior_boxes(
    output: npt.NDArray[np.float32], at: npt.NDArray[np.intp], height_px: int, width_px: int
) -> npt.NDArray[np.float32]:
    """The boxes of some priors, within the network's input, before any suppression.

    Args:
        output: (priors, 5), of one frame.
        at: which priors, n indices.
        height_px: of the network's input.
        width_px: of the network's input.

    Returns:
        (n, 4): x, y, width, height in pixels of the network's input.
    """
    centres, strides = _priors(height_px, width_px)
    distances = output[at, 1:] * strides[at, None]
    sides = np.asarray((width_px, height_px), np.float32)
    upper = np.clip(centres[at] - distances[:, :2], 0, sides)
    lower = np.clip(centres[at] + distances[:, 2:], 0, sides)
    boxes: npt.NDArray[np.float32] = np.concatenate((upper, lower - upper), axis=1)
    return boxes


@lru_cache(maxsize=64)
def _priors(height_px: int, width_px: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : height_px // stride, 0 : width_px // stride]
        centres.append((np.stack((columns.ravel(), rows.ravel()), axis=1) + 0.5) * stride)
        strides.append(np.full(rows.size, stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)
