"""MiniFASNet: does a camera see a live face, or a print or a screen? An adapter for weights that the user brings.

No weights come with Tessera, and none were at hand when this was written: the layouts are held by their published
sizes and by weights drawn at random. No error rate was measured, and this is no evaluation under ISO/IEC 30107-3. Off
unless somebody configures it.

Source: minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0), `MiniFASNetV2` and `MiniFASNetV1SE` for 80 x 80 pixels;
the parameters have the names of that project, so that its checkpoints load once they are converted to safetensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import safetensors
import safetensors.torch
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from tessera.domain.errors import ArtifactError

CROP_PX = 80
CLASSES = 3
"""Print or other flat attack, bona fide, replay."""
BONA_FIDE_CLASS = 1

_EMBEDDING = 128
_REDUCTION = 8
_STEM = 32
_END = 512
_END_KERNEL = 5
_MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """One published network."""

    name: str
    scale: float
    """Of the crop around the face's box."""
    widths: tuple[tuple[int, ...], ...]
    """Inner channels: of the step that halves, then of each residual block, in three stages."""
    squeezed: bool
    """Whether the last block of each stage weighs its channels (squeeze and excitation)."""


V2 = Layout(
    "MiniFASNetV2",
    2.7,
    ((103, 13, 13, 13, 13), (231, 231, 52, 26, 77, 26, 26), (308, 26, 26)),
    squeezed=False,
)
V1SE = Layout(
    "MiniFASNetV1SE",
    4.0,
    ((103, 13, 26, 13, 52), (231, 154, 52, 26, 52, 26, 26), (308, 26, 26)),
    squeezed=True,
)
_STAGE_CHANNELS = (64, 128, 128)


class ConvBlock(nn.Module):
    """A convolution, its batch norm, and a PReLU unless it is linear."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu: nn.Module | None = None if linear else nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        out: Tensor = self.bn(self.conv(x))
        return out if self.prelu is None else self.prelu(out)


class Squeeze(nn.Module):
    """Weighs channels by what the whole picture says of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // _REDUCTION)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape."""
        weight = torch.relu(self.bn1(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(self.bn2(self.fc2(weight)))


class Bottleneck(nn.Module):
    """Out to `inner` channels, a 3x3 convolution on each alone, and back."""

    def __init__(self, inputs: int, inner: int, outputs: int, *, halving: bool, squeezed: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, inner)
        self.conv_dw = ConvBlock(inner, inner, 3, stride=2 if halving else 1, padding=1, groups=inner)
        self.project = ConvBlock(inner, outputs, linear=True)
        self.halving = halving
        if squeezed:
            self.se_module = Squeeze(outputs)
        self.squeezed = squeezed

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w'); what does not halve adds to its input."""
        out: Tensor = self.project(self.conv_dw(self.conv(x)))
        if self.halving:
            return out
        return x + (self.se_module(out) if self.squeezed else out)


class Blocks(nn.Module):
    """Residual blocks at one resolution."""

    def __init__(self, channels: int, inner: Sequence[int], *, squeezed: bool) -> None:
        super().__init__()
        last = len(inner) - 1
        self.model = nn.Sequential(
            *(
                Bottleneck(channels, width, channels, halving=False, squeezed=squeezed and at == last)
                for at, width in enumerate(inner)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape."""
        out: Tensor = self.model(x)
        return out


class MiniFASNet(nn.Module):
    """The network of one layout."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, _STEM, 3, stride=2, padding=1)
        self.conv2_dw = ConvBlock(_STEM, _STEM, 3, padding=1, groups=_STEM)
        steps = zip(("23", "34", "45"), pairwise((_STEM, *_STAGE_CHANNELS)), layout.widths, strict=True)
        for name, (inputs, outputs), (halving, *inner) in steps:
            self.add_module(f"conv_{name}", Bottleneck(inputs, halving, outputs, halving=True))
            self.add_module(f"conv_{name[1]}", Blocks(outputs, inner, squeezed=layout.squeezed))
        self.conv_6_sep = ConvBlock(_STAGE_CHANNELS[-1], _END)
        self.conv_6_dw = ConvBlock(_END, _END, _END_KERNEL, groups=_END, linear=True)
        self.linear = nn.Linear(_END, _EMBEDDING, bias=False)
        self.bn = nn.BatchNorm1d(_EMBEDDING)
        self.prob = nn.Linear(_EMBEDDING, CLASSES, bias=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Look at crops.

        Args:
            crops: float32 (n, 3, 80, 80), BGR, 0 to 255.

        Returns:
            float32 (n, 3), before the softmax.
        """
        x = self.conv2_dw(self.conv1(crops))
        for name in ("conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5"):
            x = self.get_submodule(name)(x)
        x = self.conv_6_dw(self.conv_6_sep(x)).flatten(1)
        out: Tensor = self.prob(self.bn(self.linear(x)))
        return out


class PadNetwork:
    """A loaded network.

    Args:
        layout: of its weights.
        module: with its weights, in evaluation mode.
        sha256: of the file that the weights came from.
    """

    def __init__(self, layout: Layout, module: MiniFASNet, sha256: str) -> None:
        self.layout = layout
        self.sha256 = sha256
        self._module = module

    @property
    def scale(self) -> float:
        """What `tessera.imaging.pad_crop.crop_around` must be given."""
        return self.layout.scale

    def bona_fide(self, crops: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """The network's own estimate that each crop shows a live face; not calibrated.

        Args:
            crops: n of (80, 80, 3), blue, green, red, from `crop_around` at `scale`.

        Returns:
            float32 (n,), in [0, 1].
        """
        if not crops:
            return np.zeros(0, np.float32)
        values = np.stack(crops).astype(np.float32).transpose(0, 3, 1, 2)
        if values.shape[1:] != (3, CROP_PX, CROP_PX):
            raise ValueError(f"crops of {values.shape[1:]}; allowed: (3, {CROP_PX}, {CROP_PX})")
        with torch.inference_mode():
            scores = self._module(torch.from_numpy(np.ascontiguousarray(values)))
            chances: npt.NDArray[np.float32] = scores.softmax(1)[:, BONA_FIDE_CLASS].numpy()
        return chances


def load_pad(path: Path, sha256: str) -> PadNetwork:
    """Load weights that somebody brought; the layout is told by the parameters.

    Args:
        path: a safetensors file, or an ONNX file whose initialisers kept the names of the parameters.
        sha256: of the file, 64 hexadecimal digits; checked before anything is parsed.

    Raises:
        ArtifactError: the file is missing, is another one than the sha256 says, or holds no such network. Pickles
            (.pth, .pt) are never read.
    """
    content = _checked(path, sha256)
    state = {name.removeprefix("module."): value for name, value in _parsed(path, content).items()}
    layout = V1SE if any(".se_module." in name for name in state) else V2
    module = MiniFASNet(layout)
    _fill(module, state, layout, path.name)
    return PadNetwork(layout, module.eval().requires_grad_(False), sha256.lower())


def _checked(path: Path, sha256: str) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ArtifactError(path.name, f"has more than {_MAX_FILE_BYTES:,} bytes: no MiniFASNet")
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(path.name, f"cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise ArtifactError(path.name, f"its sha256 is {found}; expected: {sha256}")
    return content


def _parsed(path: Path, content: bytes) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise ArtifactError(path.name, f"is no safetensors file: {error}") from error
    if path.suffix == ".onnx":
        return _from_onnx(path, content)
    raise ArtifactError(path.name, "has an unknown ending; allowed: .safetensors, .onnx (pickles are never read)")


def _from_onnx(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        stored = onnx.load_model_from_string(content).graph.initializer
    except (DecodeError, ValueError) as error:
        raise ArtifactError(path.name, f"is no ONNX file: {error}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in stored):
        raise ArtifactError(path.name, "keeps weights in other files, which its sha256 does not cover")
    try:
        return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in stored}
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(path.name, f"holds a parameter that cannot be read: {error}") from error


def _fill(module: MiniFASNet, state: dict[str, Tensor], layout: Layout, file: str) -> None:
    expected = {name: value for name, value in module.state_dict().items() if "num_batches_tracked" not in name}
    given = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
    missing, left = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    if missing or left:
        raise ArtifactError(
            file,
            f"is no {layout.name}: {len(missing)} parameters missing (such as {missing[:2]}), "
            f"{len(left)} left over (such as {left[:2]}); an ONNX export with folded batch norms loses the names",
        )
    for name, value in given.items():
        if value.shape != expected[name].shape:
            raise ArtifactError(
                file, f"{name} has shape {tuple(value.shape)}; {layout.name} has {tuple(expected[name].shape)}"
            )
        if not value.isfinite().all():
            raise ArtifactError(file, f"{name} holds numbers that are not finite")
    module.load_state_dict({name: value.float() for name, value in given.items()}, strict=False)
