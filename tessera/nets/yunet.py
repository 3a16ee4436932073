"""YuNet: where the faces of a frame are, with five landmarks each. It says nothing about whose they are.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023); the layout
of `libfacedetection.train`. The decoding follows OpenCV's FaceDetectorYN, so both give the same faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tessera.nets.onnx_weights import Weights, fill

STRIDES = (8, 16, 32)
INPUT_MULTIPLE_PX = 32
LANDMARKS = 5
VALUES_PER_PRIOR = 2 + 4 + 2 * LANDMARKS
"""Class, objectness, box, landmarks."""

_CHANNELS = ((16, 16), (16, 32), (32, 64), (64, 64), (64, 64), (64, 64))
_GRAPH_CONSTANTS = ("240", "290", "362", "395", "464", "465")


class SeparableUnit(nn.Module):
    """A 1x1 convolution, then a 3x3 one on each channel alone.

    Args:
        inputs: channels in.
        outputs: channels out.
        activated: whether a ReLU follows; heads have none.
    """

    def __init__(self, inputs: int, outputs: int, *, activated: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        x = self.conv2(self.conv1(x))
        return functional.relu(x, inplace=True) if self.activated else x


class Stem(nn.Module):
    """The first convolution halves the frame, and a unit follows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.conv2 = SeparableUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, channels, h/2, w/2)."""
        out: Tensor = self.conv2(functional.relu(self.conv1(x), inplace=True))
        return out


class Stage(nn.Module):
    """Two units at one resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = SeparableUnit(inputs, inputs)
        self.conv2 = SeparableUnit(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = Stem(_CHANNELS[0][1])
        self.model1, self.model2, self.model3, self.model4, self.model5 = (
            Stage(inputs, outputs) for inputs, outputs in _CHANNELS[1:]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 3, h, w) -> three of (n, 64, h/s, w/s)."""
        x = self.model2(self.model1(functional.max_pool2d(self.model0(x), 2)))
        at_8: Tensor = self.model3(functional.max_pool2d(x, 2))
        at_16: Tensor = self.model4(functional.max_pool2d(at_8, 2))
        at_32: Tensor = self.model5(functional.max_pool2d(at_16, 2))
        return at_8, at_16, at_32


class Neck(nn.Module):
    """Coarse features flow into the finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(SeparableUnit(64, 64) for _ in STRIDES)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Three of (n, 64, h/s, w/s) -> the same shapes."""
        at_8, at_16, at_32 = levels
        at_32 = self.lateral_convs[2](at_32)
        at_16 = self.lateral_convs[1](at_16 + functional.interpolate(at_32, scale_factor=2.0))
        at_8 = self.lateral_convs[0](at_8 + functional.interpolate(at_16, scale_factor=2.0))
        return at_8, at_16, at_32


class Head(nn.Module):
    """Four answers at each position of each level."""

    def __init__(self) -> None:
        super().__init__()
        self.multi_level_cls = self._levels(1)
        self.multi_level_obj = self._levels(1)
        self.multi_level_bbox = self._levels(4)
        self.multi_level_kps = self._levels(2 * LANDMARKS)

    @staticmethod
    def _levels(outputs: int) -> nn.ModuleList:
        return nn.ModuleList(SeparableUnit(64, outputs, activated=False) for _ in STRIDES)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Three of (n, 64, h/s, w/s) -> (n, priors, 16), levels and rows in order."""
        flat: list[Tensor] = []
        for level, x in enumerate(levels):
            scores = torch.cat((self.multi_level_cls[level](x), self.multi_level_obj[level](x)), 1).sigmoid()
            places = (self.multi_level_bbox[level](x), self.multi_level_kps[level](x))
            flat.append(torch.cat((scores, *places), 1).flatten(2).transpose(1, 2))
        return torch.cat(flat, 1)


class MergedHead(nn.Module):
    """The same four answers out of one unit per level: neither convolution of a head looks at another head's channels.

    Args:
        head: whose weights are taken over.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        by_answer = (head.multi_level_cls, head.multi_level_obj, head.multi_level_bbox, head.multi_level_kps)
        self.levels = nn.ModuleList(_merged(units) for units in zip(*by_answer, strict=True))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Three of (n, 64, h/s, w/s) -> (n, priors, 16), levels and rows in order."""
        flat = [self.levels[level](x).permute(0, 2, 3, 1).flatten(1, 2) for level, x in enumerate(levels)]
        out = torch.cat(flat, 1)
        return torch.cat((out[..., :2].sigmoid(), out[..., 2:]), 2)


@torch.no_grad()
def _merged(units: tuple[nn.Module, ...]) -> SeparableUnit:
    merged = SeparableUnit(64, VALUES_PER_PRIOR, activated=False)
    for name, parameter in merged.named_parameters():
        parameter.copy_(torch.cat([unit.get_parameter(name) for unit in units]))
    return merged


class YuNet(nn.Module):
    """The network; `decode` turns its output into faces."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.bbox_head: nn.Module = Head()

    def forward(self, frames: Tensor) -> Tensor:
        """Look at frames.

        Args:
            frames: float32 (n, 3, h, w), BGR, 0 to 255, h and w multiples of 32.

        Returns:
            float32 (n, priors, 16): class and objectness in [0, 1], box and landmarks relative to their prior.
        """
        out: Tensor = self.bbox_head(self.neck(self.backbone(frames)))
        return out


def merge_heads(module: YuNet) -> YuNet:
    """Put the four heads of each level into one; the same function in 18 convolutions fewer.

    Args:
        module: in evaluation mode; it is changed.

    Returns:
        The same module.
    """
    if isinstance(module.bbox_head, Head):
        module.bbox_head = MergedHead(module.bbox_head).eval()
    return module


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFaces:
    """The faces of one frame, the surest first, in pixels of the detector's input."""

    boxes: npt.NDArray[np.float32]
    """(n, 4): x, y, width, height."""
    landmarks: npt.NDArray[np.float32]
    """(n, 5, 2): right eye, left eye, nose tip, right and left mouth corner of the subject."""
    probabilities: npt.NDArray[np.float32]
    """(n,), in [0, 1]."""


def decode(
    output: npt.NDArray[np.float32],
    height_px: int,
    width_px: int,
    *,
    score_threshold: float = 0.7,
    nms_threshold: float = 0.3,
    top_k: int = 5000,
) -> DetectedFaces:
    """Turn the network's output for one frame into faces.

    Args:
        output: (priors, 16), what `YuNet` gave for this frame.
        height_px: of the network's input.
        width_px: of the network's input.
        score_threshold: faces at or below it are left out; the score is sqrt(class x objectness).
        nms_threshold: of two boxes with more intersection over union than this, the surer one stays.
        top_k: how many of the surest go into the suppression.

    Source: OpenCV, modules/objdetect/src/face_detect.cpp, `FaceDetectorYNImpl::postProcess`.
    """
    cells, strides = _priors(height_px, width_px)
    scores = prior_scores(output)
    candidates = np.flatnonzero(scores > score_threshold)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]
    raw, cell, stride = output[candidates], cells[candidates], strides[candidates, None]
    boxes = prior_boxes(output, candidates, height_px, width_px)
    landmarks = (raw[:, 6:].reshape(-1, LANDMARKS, 2) + cell[:, None]) * stride[:, None]
    # OpenCV suppresses on whole pixels; so do we, to give the same faces.
    kept = suppress(boxes.astype(np.int32).astype(np.float32), nms_threshold)
    return DetectedFaces(boxes[kept], landmarks[kept], scores[candidates][kept])


def prior_scores(output: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How sure the network is of a face at each prior: sqrt(class x objectness).

    Args:
        output: (priors, 16), of one frame.

    Returns:
        (priors,), in [0, 1].
    """
    scores: npt.NDArray[np.float32] = np.sqrt(np.clip(output[:, 0], 0.0, 1.0) * np.clip(output[:, 1], 0.0, 1.0))
    return scores


def prior_boxes(
    output: npt.NDArray[np.float32], at: npt.NDArray[np.intp], height_px: int, width_px: int
) -> npt.NDArray[np.float32]:
    """The boxes of some priors, before any suppression.

    Args:
        output: (priors, 16), of one frame.
        at: which priors, n indices.
        height_px: of the network's input.
        width_px: of the network's input.

    Returns:
        (n, 4): x, y, width, height in pixels of the network's input.
    """
    cells, strides = _priors(height_px, width_px)
    raw, stride = output[at], strides[at, None]
    centres = (cells[at] + raw[:, 2:4]) * stride
    sizes = np.exp(raw[:, 4:6]) * stride
    boxes: npt.NDArray[np.float32] = np.concatenate((centres - sizes / 2, sizes), axis=1)
    return boxes


def suppress(boxes: npt.NDArray[np.float32], nms_threshold: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4), x, y, width, height, the surest first.
        nms_threshold: a box stays when its intersection over union with each kept one is at most this.

    Returns:
        Indices of the boxes that stay, in order.
    """
    upper, lower = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        shared_sides = np.minimum(lower[left], lower[best]) - np.maximum(upper[left], upper[best])
        shared = np.prod(np.clip(shared_sides, 0.0, None), axis=1)
        union = areas[left] + areas[best] - shared
        left = left[shared <= nms_threshold * union]
    return np.asarray(kept, dtype=np.intp)


@lru_cache(maxsize=64)
def _priors(height_px: int, width_px: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : height_px // stride, 0 : width_px // stride]
        cells.append(np.stack((columns.ravel(), rows.ravel()), axis=1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def build_yunet(weights: Weights, source: str) -> YuNet:
    """A YuNet with these weights.

    Args:
        weights: of `face_detection_yunet_2023mar`, as `read_weights` gives them.
        source: their file, for the error.

    Raises:
        ArtifactError: they are not the weights of this network.
    """
    module = YuNet().eval()
    fill(module, weights, _onnx_names(module), _GRAPH_CONSTANTS, source)
    return module


def _onnx_names(module: YuNet) -> dict[str, str]:
    # The exporter fused the batch norms that followed these convolutions, and numbered the results in graph order.
    renamed = ["backbone.model0.conv1", "backbone.model0.conv2.conv2"]
    renamed += [f"backbone.model{stage}.conv{unit}.conv2" for stage in range(1, 6) for unit in (1, 2)]
    renamed += [f"neck.lateral_convs.{level}.conv2" for level in (2, 1, 0)]
    names = {key: key for key in module.state_dict()}
    for position, layer in enumerate(renamed):
        names[f"{layer}.weight"] = str(420 + 3 * position)
        names[f"{layer}.bias"] = str(421 + 3 * position)
    return names
