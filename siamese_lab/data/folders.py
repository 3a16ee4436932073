"""Pictures that lie in one folder for each class (subject, person): whole, or the folder is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from siamese_lab.data.sources import LabelledImages
from tessera.domain.errors import ImageRejectedError, InvalidInputError
from tessera.imaging.decode import decode

_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def load_folders(root: Path, side_px: int, channels: int) -> LabelledImages:
    """Read a folder with one folder for each class.

    Pictures are decoded as the services decode them, and brought to a square; one that is not square is stretched, so
    that nothing of it is lost. Other files and hidden ones are passed over.

    Args:
        root: holds a folder for each class; classes and pictures come in the order of their names.
        side_px: of the squares, 1 to 1024.
        channels: 1 (gray) or 3 (red, green, blue).

    Raises:
        InvalidInputError: there is no picture in such a folder, or an argument is out of range.
        ImageRejectedError: a picture is damaged; its field says which.
    """
    if not 1 <= side_px <= 1024:
        raise InvalidInputError("side_px", side_px, "1 to 1024")
    if channels not in (1, 3):
        raise InvalidInputError("channels", channels, "1 (gray) or 3 (red, green, blue)")
    classes = _classes(root)
    paths = [path for pictures in classes.values() for path in pictures]
    images = np.empty((len(paths), side_px, side_px, channels), np.uint8)
    for row, path in enumerate(paths):
        images[row] = _squared(path, side_px, channels)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(pictures) for pictures in classes.values()])
    return LabelledImages(images, labels, tuple(classes))


def _classes(root: Path) -> dict[str, list[Path]]:
    folders = sorted(one for one in root.iterdir() if _is_class(one)) if root.is_dir() else []
    found = {folder.name: _pictures(folder) for folder in folders}
    classes = {name: pictures for name, pictures in found.items() if pictures}
    if not classes:
        raise InvalidInputError(
            "data", str(root), f"a folder of folders with pictures ({', '.join(sorted(_PICTURES))})"
        )
    return classes


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in _PICTURES and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _squared(path: Path, side_px: int, channels: int) -> npt.NDArray[np.uint8]:
    try:
        image = decode(path.read_bytes())
    except ImageRejectedError as error:
        raise error.in_field(f"{path.parent.name}/{path.name}") from error
    shrinks = max(image.shape[:2]) > side_px
    square = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    colour = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(square, colour).reshape(side_px, side_px, channels).astype(np.uint8, copy=False)
