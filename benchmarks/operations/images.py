"""How large each image is: what its Dockerfile copies and installs, added up from the same files on this machine.

There is no container engine here. The base image is left out: it is the same for all, and shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import ROOT, Figure
from benchmarks.operations.distributions import distributions_of, size_bytes
from benchmarks.operations.dockerfile import IMAGES, Image, read_image
from benchmarks.parts import Context
from encoder_svc.settings import EncoderSettings
from tessera.chassis.pinned_files import default_cache_dir
from tessera.domain.artifact import SourceFile, load_manifest

MB = 1e6
LARGEST_MB = {"encoder": 1150.0, "gallery": 225.0, "ingest": 450.0, "gateway": 180.0, "tools": 175.0}
"""What an image may add to its base, in megabytes (docs/deploy.md)."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of one image above its base, in bytes."""

    packages: int
    """Installed from the package index."""
    ours: int
    """Tessera itself."""
    networks: int
    """Converted and compiled, in the encoder's."""
    largest: tuple[tuple[str, int], ...]
    """The three packages that weigh most."""

    @property
    def total(self) -> int:
        """Together."""
        return self.packages + self.ours + self.networks


def size_of(image: Image) -> Size:
    """Add up an image.

    Raises:
        PackageNotFoundError: something of it is not installed here.
    """
    sizes = {str(one.metadata["Name"]): size_bytes(one, image.removed) for one in distributions_of(image.extras)}
    largest = sorted(sizes.items(), key=lambda row: -row[1])[:3]
    ours = sum(_folder_bytes(ROOT / package) for package in image.packages)
    networks = 0
    if any("encoder_svc.prepare" in run for run in image.build.runs):
        networks = sum(_networks_bytes(default_cache_dir() / name) for name in ("converted", "compiled"))
    return Size(sum(sizes.values()), ours, networks, tuple(largest))


def run(context: Context) -> list[Figure]:
    """One row for each image."""
    rows = []
    for name in IMAGES:
        size, limit = size_of(read_image(name)), LARGEST_MB[name]
        what = ", ".join(f"{package} {bytes_ / MB:.0f}" for package, bytes_ in size.largest)
        label = f"image {name}: what it adds to its base ({what})"
        rows.append(
            context.figure(label, size.total / MB, "MB", f"at most {limit:.0f} MB", holds=size.total <= limit * MB)
        )
    return rows


def _networks_bytes(folder: Path) -> int:
    """Of the networks of the encoders that an image is prepared for; this machine may have others in its cache."""
    names = {
        source.network
        for encoder in EncoderSettings().wanted_encoders
        for source in load_manifest(encoder).sources
        if isinstance(source, SourceFile)
    }
    return sum(
        _folder_bytes(path) if path.is_dir() else path.stat().st_size
        for path in folder.glob("*")
        if path.name.partition("-")[0] in names
    )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
