"""SFace: what an aligned face looks like, as 128 numbers. Unit length and centring are the caller's.

Source: Zhong et al., "SFace: Sigmoid-constrained Hypersphere Loss for Robust Face Recognition", IEEE TIP 30 (2021); the
network is a MobileNet v1 with PReLU and a fully connected end, as in OpenCV Zoo's `face_recognition_sface_2021dec`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tessera.nets.onnx_weights import Weights, fill

CROP_PX = 112
DIMENSIONS = 128

_CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_HALVING_STAGES = frozenset({3, 5, 7, 13})
_FIRST_STAGE = 2
_CONV_EPSILON = 1e-3
_END_EPSILON = 2e-5
_END_SIDE = CROP_PX >> len(_HALVING_STAGES)


class ConvBlock(nn.Module):
    """A convolution without bias, its batch norm, and a PReLU with one slope per channel."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=_CONV_EPSILON)
        self.activation = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h/stride, w/stride)."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class Stage(nn.Module):
    """A 3x3 convolution on each channel alone, then a 1x1 one across them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvBlock(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvBlock(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h/stride, w/stride)."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class SFace(nn.Module):
    """The network."""

    offset: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("scale", torch.ones(1))
        self.stem = ConvBlock(3, _CHANNELS[0], 3)
        numbered = enumerate(pairwise(_CHANNELS), start=_FIRST_STAGE)
        self.stages = nn.Sequential(
            *(Stage(a, b, 2 if number in _HALVING_STAGES else 1) for number, (a, b) in numbered)
        )
        self.end_norm: nn.Module = nn.BatchNorm2d(_CHANNELS[-1], eps=_END_EPSILON)
        self.project = nn.Linear(_CHANNELS[-1] * _END_SIDE**2, DIMENSIONS)
        self.embedding_norm: nn.Module = nn.BatchNorm1d(DIMENSIONS, eps=_END_EPSILON)

    def forward(self, crops: Tensor) -> Tensor:
        """Embed aligned faces.

        Args:
            crops: float32 (n, 3, 112, 112), RGB, 0 to 255.

        Returns:
            float32 (n, 128), of any length.
        """
        x = self.end_norm(self.stages(self.stem((crops - self.offset) * self.scale)))
        # Contiguous first: the weights count channels before places, whatever the memory order of x.
        out: Tensor = self.embedding_norm(self.project(x.contiguous().flatten(1)))
        return out


def fuse(module: SFace) -> SFace:
    """Fold every batch norm into the layer beside it; the same function in 29 layers fewer.

    Args:
        module: in evaluation mode; it is changed.

    Returns:
        The same module.
    """
    for block in [m for m in module.modules() if isinstance(m, ConvBlock)]:
        if isinstance(block.norm, nn.BatchNorm2d):
            block.conv, block.norm = fuse_conv_bn_eval(block.conv, block.norm), nn.Identity()
    if isinstance(module.end_norm, nn.BatchNorm2d) and isinstance(module.embedding_norm, nn.BatchNorm1d):
        _fuse_end(module, module.end_norm, module.embedding_norm)
    return module


@torch.no_grad()
def _fuse_end(module: SFace, before: nn.BatchNorm2d, after: nn.BatchNorm1d) -> None:
    gain, shift = (v.repeat_interleave(_END_SIDE**2) for v in _affine(before))
    weight, bias = module.project.weight.double(), module.project.bias.double()
    bias = bias + weight @ shift
    out_gain, out_shift = _affine(after)
    module.project.weight.copy_(weight * gain * out_gain[:, None])
    module.project.bias.copy_(bias * out_gain + out_shift)
    module.end_norm, module.embedding_norm = nn.Identity(), nn.Identity()


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    gain = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - mean.double() * gain


def build_sface(weights: Weights, source: str) -> SFace:
    """An SFace with these weights, not yet fused.

    Args:
        weights: of `face_recognition_sface_2021dec`, as `read_weights` gives them.
        source: their file, for the error.

    Raises:
        ArtifactError: they are not the weights of this network.
    """
    module = SFace().eval()
    fill(module, weights, _onnx_names(), (), source)
    return module


def _onnx_names() -> dict[str, str]:
    blocks = {"stem": "conv_1"}
    for number in range(_FIRST_STAGE, len(_CHANNELS) + 1):
        blocks[f"stages.{number - _FIRST_STAGE}.depthwise"] = f"conv_{number}_dw"
        blocks[f"stages.{number - _FIRST_STAGE}.pointwise"] = f"conv_{number}"
    names = {"offset": "scalar_op1", "scale": "scalar_op2"}
    names |= {"project.weight": "pre_fc1_weight", "project.bias": "pre_fc1_bias"}
    names |= _norm_names("end_norm", "bn1") | _norm_names("embedding_norm", "fc1")
    for block, onnx_name in blocks.items():
        names[f"{block}.conv.weight"] = f"{onnx_name}_conv2d_weight"
        names[f"{block}.activation.weight"] = f"{onnx_name}_relu_gamma"
        names |= _norm_names(f"{block}.norm", f"{onnx_name}_batchnorm")
    return names


def _norm_names(layer: str, onnx_name: str) -> dict[str, str]:
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    return {f"{layer}.{key}": f"{onnx_name}_{value}" for key, value in parts.items()}
