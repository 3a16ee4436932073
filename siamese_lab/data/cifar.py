"""CIFAR-10 as one `.npz` of JPEG files: bytes to pictures.

JPEG loses detail: whoever states a number from these pictures says that they are a lossy copy. Reads arrays alone: a
pickled object in the file is refused.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg

from tessera.domain.errors import InvalidInputError

SIDE_PX = 32


def read_cifar(path: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Decode one split.

    Args:
        path: of the `.npz`, with `{split}_jpeg` (uint8, all files in a row), `{split}_offsets` (int64, one more than
            there are files) and `{split}_labels` (uint8).
        split: `train` or `test`.

    Returns:
        Pictures, uint8 (n, 32, 32, 3), red, green, blue; and labels, int64 (n,).

    Raises:
        InvalidInputError: the file is not as described, or a picture in it is damaged or of another size.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data, offsets, labels = (file[f"{split}_{part}"] for part in ("jpeg", "offsets", "labels"))
        _require_rows(data, offsets, labels)
        return _decoded(data, offsets), labels.astype(np.int64)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInputError("cifar", str(path), f"an .npz of whole 32x32 JPEG files ({error})") from error


def _require_rows(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], labels: npt.NDArray[np.uint8]) -> None:
    if data.dtype != np.uint8 or data.ndim != 1 or offsets.shape != (len(labels) + 1,) or labels.ndim != 1:
        raise ValueError("the arrays do not belong together")
    if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) <= 0).any():
        raise ValueError("the offsets do not rise from 0 to the end of the bytes")


def _decoded(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    pictures = np.empty((len(offsets) - 1, SIDE_PX, SIDE_PX, 3), np.uint8)
    everything = data.tobytes()
    for row, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        picture = simplejpeg.decode_jpeg(everything[start:end], "RGB")
        if picture.shape != pictures.shape[1:]:  # a picture of one pixel would be spread over the row
            raise ValueError(f"picture {row} is of shape {picture.shape}")
        pictures[row] = picture
    return pictures
