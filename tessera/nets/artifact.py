"""From a manifest to networks that are ready to run: converted once, checked at every start, fused.

The converted weights lie in the cache as safetensors beside a sha256 sidecar. What fails the check is converted again
from the pinned file. Pickles are never read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from torch import nn

from tessera.domain.artifact import ImportedGraph, Manifest, SourceFile
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError
from tessera.domain.person_detector import PERSON_DETECTOR, detector_of
from tessera.nets.imported import load_imported
from tessera.nets.nanodet import PersonDetector, build_nanodet, keep_persons
from tessera.nets.onnx_weights import read_weights
from tessera.nets.person import load_person_network
from tessera.nets.runtime import Network, Runtime
from tessera.nets.sface import SFace, build_sface, fuse
from tessera.nets.yunet import YuNet, build_yunet, merge_heads

BringFile = Callable[[SourceFile], Path]
"""Gives the path of a weight file whose sha256 has been checked; called only when the cache has no conversion."""

CONVERSION = 1
"""Raised whenever the conversion or a network's parameter names change."""

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class SampleNetworks:
    """The two networks of an encoder of faces or persons, in evaluation mode, fused, channels last, on their device."""

    detector: Network
    embedder: Network
    device: torch.device
    runtime: Runtime = Runtime.EAGER


def load_face_networks(
    manifest: Manifest, bring: BringFile, cache_dir: Path, device: torch.device | None = None
) -> SampleNetworks:
    """Load the networks that a manifest names.

    Args:
        manifest: of a face encoder.
        bring: fetches a pinned weight file.
        cache_dir: where converted weights are kept.
        device: where they shall run; the CPU by default.

    Raises:
        ArtifactError: a network is unknown, or its weights are not those of the manifest.
    """
    device = device or torch.device("cpu")
    source = manifest.detector
    if source is None:
        raise ArtifactError(manifest.name, "has no detector; a face encoder needs one")
    _require_network(source, "yunet")
    detector = merge_heads(_load(source, _read_yunet, YuNet, bring, cache_dir))
    embedder = _load_embedder(manifest, bring, cache_dir)
    return SampleNetworks(_for_inference(detector, device), _for_inference(embedder, device), device)


def load_person_networks(
    manifest: Manifest, bring: BringFile, cache_dir: Path, device: torch.device | None = None
) -> SampleNetworks:
    """Load the networks that the manifest of a person encoder names; the arguments are those of `load_face_networks`.

    Raises:
        ArtifactError: a network is unknown, or its weights are not those of the manifest.
    """
    device = device or torch.device("cpu")
    source = detector_of(manifest) or PERSON_DETECTOR
    _require_network(source, "nanodet")
    detector = _load(source, _read_nanodet, PersonDetector, bring, cache_dir)
    embedder = load_person_network(manifest, device)
    return SampleNetworks(_for_inference(detector, device), embedder, device)


def load_sample_networks(
    manifest: Manifest, bring: BringFile, cache_dir: Path, device: torch.device | None = None
) -> SampleNetworks:
    """Load the networks of an encoder of faces or persons; as `load_face_networks`."""
    load = load_person_networks if manifest.modality is Modality.PERSON else load_face_networks
    return load(manifest, bring, cache_dir, device)


def _read_yunet(path: Path, source: str) -> YuNet:
    return build_yunet(read_weights(path), source)


def _read_sface(path: Path, source: str) -> SFace:
    return build_sface(read_weights(path), source)


def _read_nanodet(path: Path, source: str) -> PersonDetector:
    return keep_persons(build_nanodet(path.read_bytes(), source))


def _load_embedder(manifest: Manifest, bring: BringFile, cache_dir: Path) -> nn.Module:
    """The embedder that ships, or the one that somebody brought; both take RGB crops from 0 to 255."""
    source = manifest.embedder
    if isinstance(source, ImportedGraph):
        return load_imported(source, manifest.input)
    _require_network(source, "sface")
    return fuse(_load(source, _read_sface, SFace, bring, cache_dir))


def _require_network(source: SourceFile, known: str) -> None:
    if source.network != known:
        raise ArtifactError(source.file, f"needs a network {source.network!r}; known: {known!r}")


def _load(
    source: SourceFile,
    read: Callable[[Path, str], _Network],
    kind: type[_Network],
    bring: BringFile,
    cache_dir: Path,
) -> _Network:
    path = cache_dir / "converted" / f"{source.network}-{source.sha256[:16]}-{CONVERSION}.safetensors"
    content = _read_checked(path)
    if content is None:
        module = read(bring(source), source.file)
        _write_checked(path, safetensors.torch.save(module.state_dict()))
        return module
    module = kind().eval()
    module.load_state_dict(safetensors.torch.load(content))
    return module


def _for_inference(module: _Network, device: torch.device) -> _Network:
    return module.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_checked(path: Path) -> bytes | None:
    """The bytes of a conversion, or None when there is none or it is damaged."""
    try:
        content = path.read_bytes()
        expected = _sidecar(path).read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return content if hashlib.sha256(content).hexdigest() == expected else None


def _write_checked(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, content)
    _write_whole(_sidecar(path), hashlib.sha256(content).hexdigest().encode("ascii"))


def _write_whole(path: Path, content: bytes) -> None:
    # Two processes that start together write the same bytes; whoever renames last changes nothing.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        part.write(content)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(path)
