"""The labelled pictures that the papers use: where they come from, their checksums, and reading them from a folder.

Nothing is fetched: whoever trains names a folder. A file that is not the stated one, byte for byte, is refused, since a
number is worth nothing when the data behind it is in doubt; MNIST and Fashion-MNIST even share their file names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from siamese_lab.data.cifar import read_cifar
from siamese_lab.data.decoded_cache import DecodedCache
from siamese_lab.data.idx import read_bytes, read_idx
from tessera.domain.errors import InvalidInputError

Indices = npt.NDArray[np.int64] | npt.NDArray[np.bool_] | Sequence[int]


class Split(StrEnum):
    """The two parts that a source is published in."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Pictures of one size, and what each shows."""

    images: npt.NDArray[np.uint8]
    """(n, height, width, channels); one channel is gray, three are red, green, blue."""
    labels: npt.NDArray[np.int64]
    """(n,); each indexes `names`."""
    names: tuple[str, ...]
    """Of the classes."""

    def __post_init__(self) -> None:
        """Refuse pictures and labels that do not belong together."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise InvalidInputError(
                "images", f"{self.images.dtype} {self.images.shape}", "uint8 (n, height, width, 1 or 3)"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise InvalidInputError(
                "labels", f"{self.labels.dtype} {self.labels.shape}", f"int64 ({len(self.images)},)"
            )
        if len(self.labels) and (self.labels.min() < 0 or self.labels.max() >= len(self.names)):
            raise InvalidInputError(
                "labels", (self.labels.min(), self.labels.max()), f"0 to {len(self.names) - 1}, one for each name"
            )

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.images)

    def subset(self, indices: Indices) -> LabelledImages:
        """Some of the pictures, in the order asked for; the classes keep their numbers.

        Args:
            indices: (k,) of numbers, or (n,) of bool.
        """
        chosen = np.asarray(indices)
        chosen = chosen if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return LabelledImages(self.images[chosen], self.labels[chosen], self.names)


@dataclass(frozen=True, slots=True)
class Source:
    """A published set of labelled pictures."""

    name: str
    title: str
    origin: str
    """Where it can be had, in words."""
    licence: str
    files: Mapping[str, str]
    """sha256 of each file, by its name."""
    classes: tuple[str, ...]
    caveat: str = ""
    """What must stand beside every number that is measured on it."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """sha256 of what is inside each compressed file: packed by another `gzip`, it is the same data."""
    installed: str = ""
    """The folder in which its package puts it; empty where there is none."""


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_MNIST = Source(
    name="mnist",
    title="MNIST handwritten digits, 60,000 + 10,000, 28x28 gray",
    origin="yann.lecun.com/exdb/mnist and its mirrors: the four .gz files, byte for byte",
    licence="stated as MIT by the mirror that this copy is from; LeCun, Cortes and Burges",
    files=MappingProxyType({
        "train-images-idx3-ubyte.gz": "7ff28fd295f802eefc6d40e461175dfe4b969b1842b2abc8c6dc8c20711cf79f",
        "train-labels-idx1-ubyte.gz": "81a978ae83d39ffdba0db3ce2fcaf80a8921e9629e874428996a2b03242d4b2a",
        "t10k-images-idx3-ubyte.gz": "197e111ae341b0770be9011ac5e622d0e6cd1c640b32eb0de5dc1dd26cc6e182",
        "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
    }),
    contents=MappingProxyType({
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }),
    classes=_DIGITS,
)  # fmt: skip
_FASHION_MNIST = Source(
    name="fashion-mnist",
    title="Fashion-MNIST, 60,000 + 10,000 pieces of clothing, 28x28 gray",
    origin="the Debian package dataset-fashion-mnist, which puts it into /usr/share/datasets/fashion-mnist",
    licence="MIT (Zalando SE)",
    files=MappingProxyType({
        "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    }),
    contents=MappingProxyType({
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }),
    classes=_CLOTHES,
    installed="/usr/share/datasets/fashion-mnist",
)  # fmt: skip
_CIFAR10_JPEG = Source(
    name="cifar10-jpeg",
    title="CIFAR-10, 50,000 + 10,000 things, 32x32 colour, kept as JPEG",
    origin="a copy of www.cs.toronto.edu/~kriz/cifar.html, saved as JPEG in one file cifar10-jpeg.npz",
    licence="none stated (Krizhevsky, 2009)",
    files=MappingProxyType({
        "cifar10-jpeg.npz": "a04e5bfc645b3eb3b4fd8ddbd152438b2f41e8d178c4a1ff27682bbfa52b21a8",
    }),
    classes=_THINGS,
    caveat="The pictures are a lossy (JPEG) copy of CIFAR-10.",
)  # fmt: skip

SOURCES: Mapping[str, Source] = MappingProxyType(
    {source.name: source for source in (_MNIST, _FASHION_MNIST, _CIFAR10_JPEG)}
)


def load(name: str, folder: Path, split: Split, cache: Path | None = None) -> LabelledImages:
    """Read one split of a source.

    Args:
        name: a key of `SOURCES`.
        folder: holds the source's files, or a folder of its name that does. A source that was installed by its
            package is found without.
        split: which part.
        cache: a folder for decoded pictures, made where it is missing; None: decoded anew each time.

    Raises:
        InvalidInputError: no such source; a file is missing, or is not the stated one, with where it comes from.
    """
    source = SOURCES.get(name)
    if source is None:
        raise InvalidInputError("source", name, f"one of {', '.join(SOURCES)}")
    kept = DecodedCache(cache, f"{name}-{split}", _needed(source, split)) if cache is not None else None
    found = kept.read() if kept is not None else None
    images, labels = found or _decoded(source, folder, split)
    if kept is not None and found is None:
        kept.write(images, labels)
    return LabelledImages(images, labels, source.classes)


def _needed(source: Source, split: Split) -> dict[str, str]:
    prefix = "t10k" if split is Split.TEST else "train"
    return {file: digest for file, digest in source.files.items() if file.endswith(".npz") or file.startswith(prefix)}


def _decoded(source: Source, folder: Path, split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    needed = _needed(source, split)
    paths = [_verified(source, folder, file, digest) for file, digest in needed.items()]
    if source is _CIFAR10_JPEG:
        return read_cifar(paths[0], split.value)
    images, labels = (read_idx(path) for path in paths)
    return images[..., None], labels.astype(np.int64)


def _verified(source: Source, folder: Path, file: str, sha256: str) -> Path:
    places = [folder / source.name / file, folder / file]
    places += [Path(source.installed) / file] if source.installed else []
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InvalidInputError("data", str(folder), f"a folder with {file} of {source.name}; from {source.origin}")
    with path.open("rb") as opened:
        actual = hashlib.file_digest(opened, "sha256").hexdigest()
    if actual != sha256 and not _same_inside(path, source.contents.get(file)):
        allowed = f"{file} of {source.name} with sha256 {sha256} (this one has {actual}); from {source.origin}"
        raise InvalidInputError("data", str(path), allowed)
    return path


def _same_inside(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and hashlib.sha256(read_bytes(path)).hexdigest() == sha256
