"""The connected marks of a mask, against a flood fill."""

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tessera.imaging.pixels import connected

_masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 255]))


@given(_masks)
def test_marks_are_those_of_a_flood_fill(mask: npt.NDArray[np.uint8]) -> None:
    """Two places have one label exactly when a path of neighbours, corners among them, joins them; the facts of a label
    are those of its places."""
    labels, facts = connected(mask)
    filled = _flooded(mask)
    assert (labels > 0).tolist() == (filled > 0).tolist()
    assert len({*zip(labels.flat, filled.flat, strict=True)}) == len(set(labels.flat)) == len(set(filled.flat))
    for label in range(1, len(facts)):
        rows, columns = np.nonzero(labels == label)
        left, top, width, height, area = facts[label]
        assert (left, top, area) == (columns.min(), rows.min(), rows.size)
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)


def test_labels_are_those_of_opencv_default() -> None:
    """The faster algorithm numbers marks as the usual one does, so that nothing measured before changes."""
    mask = (np.random.default_rng(0).random((200, 300)) < 0.2).astype(np.uint8)
    labels, facts = connected(mask)
    _, usual, usual_facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    assert (labels == usual).all()
    assert (facts == usual_facts).all()


def _flooded(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    filled = np.zeros(mask.shape, np.int64)
    for start in zip(*np.nonzero(mask), strict=True):
        left = [start] if not filled[start] else []
        number = filled.max() + 1
        while left:
            row, column = left.pop()
            if (
                0 <= row < mask.shape[0]
                and 0 <= column < mask.shape[1]
                and mask[row, column]
                and not filled[row, column]
            ):
                filled[row, column] = number
                left += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return filled
