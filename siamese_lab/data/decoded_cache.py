"""Pictures that were decoded once, kept as they are in memory; whatever is not what was written counts as absent.

A cache may be deleted at any moment. Its folder holds pictures of the data set and is as private as that is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_LAYOUT = 1
"""Raised when the same files would be decoded into other pictures."""

Decoded = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class DecodedCache:
    """The pictures and labels of one split of one source, as two `.npy` files and the digests of both."""

    folder: Path
    name: str
    files: Mapping[str, str]
    """sha256 of what was decoded, by name: pictures from other files are not taken for these."""

    def read(self) -> Decoded | None:
        """What was written, or None where anything about it is missing, damaged or of other files."""
        try:
            facts = json.loads(self._path("json").read_bytes())
            if facts["layout"] != _LAYOUT or facts["files"] != dict(self.files):
                return None
            images, labels = (self._checked(part, facts["sha256"][part]) for part in ("images", "labels"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return images.astype(np.uint8, copy=False), labels.astype(np.int64, copy=False)

    def write(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
        """Keep both; the facts come last, so that half a cache is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.int64]] = {"images": images, "labels": labels}
        digests = {part: self._put(f"{part}.npy", _npy(array)) for part, array in arrays.items()}
        facts = {"layout": _LAYOUT, "files": dict(self.files), "sha256": digests}
        self._put("json", json.dumps(facts, indent=1).encode())

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.name}.{ending}"

    def _checked(self, part: str, sha256: str) -> npt.NDArray[np.generic]:
        path = self._path(f"{part}.npy")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError(f"{path} is not what was written")
            file.seek(0)
            array: npt.NDArray[np.generic] = np.load(file, allow_pickle=False)
        return array

    def _put(self, ending: str, data: bytes | memoryview) -> str:
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{self.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(self._path(ending))  # two processes that write at once both leave a whole file
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        return hashlib.sha256(data).hexdigest()


def _npy(array: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> memoryview:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getbuffer()
