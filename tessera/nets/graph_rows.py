"""What a step may do with the shapes that it gets: no row of a batch meets another, and no padding grows past bounds.

Shapes alone cannot tell a batch of three from three channels, so each operation says which inputs come from the picture
and along which axes it works, and that is held here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from tessera.nets.graph_ops import OPERATIONS, Joins, Option

Shape = tuple[int, ...]

_WINDOW_AXES = 4


def require_apart(
    op: str, options: Mapping[str, Option], values: Sequence[Shape | None], weights: Sequence[Shape]
) -> None:
    """Refuse a step that could mix the rows of a batch.

    Args:
        op: a key of `OPERATIONS`.
        options: its options.
        values: for each input its shape with the batch's axis; None where the input is a weight.
        weights: the shapes of the others.

    Raises:
        ValueError: it could.
    """
    joins = OPERATIONS[op].joins
    seen = [shape for shape in values if shape is not None]
    if values[0] is None and joins is not Joins.PAIRS:
        raise ValueError("the first input is a weight")
    if (weights and joins is Joins.VALUES) or (len(seen) != 1 and joins is Joins.WEIGHTS) or not seen:
        raise ValueError("weights and what depends on the picture are in each other's place")
    axes = max(map(len, seen))
    if any(len(shape) != axes for shape in seen):
        raise ValueError("what depends on the picture has different numbers of axes")
    if op == "matmul" and axes < 3:
        raise ValueError("rows would be multiplied with rows")
    if OPERATIONS[op].broadcasts and any(
        len(shape) > axes or (len(shape) == axes and shape[0] != 1) for shape in weights
    ):
        raise ValueError("a weight has an axis for the batch")
    if not _beside_the_batch(options, axes):
        raise ValueError("it works along axis 0, which is the batch")


def require_window(op: str, options: Mapping[str, Option], shape: Shape, most: int) -> None:
    """Refuse a window over anything but pictures, and padding that makes one too large.

    Args:
        op: a key of `OPERATIONS`.
        options: its options.
        shape: of the first input, with the batch's axis.
        most: numbers that a padded row may have.

    Raises:
        ValueError: it is one of these.
    """
    pads = options.get("pads")
    if op == "pad" or not isinstance(pads, tuple):
        return
    top, left, bottom, right = pads
    if len(shape) != _WINDOW_AXES or min(pads) < 0:
        raise ValueError(f"pads {pads} on {len(shape)} axes; allowed: 0 or more, on {_WINDOW_AXES}")
    _, channels, height, width = shape
    if prod((channels, height + top + bottom, width + left + right)) > most:
        raise ValueError(f"pads {pads} make more than {most:,} numbers a row")


def _beside_the_batch(options: Mapping[str, Option], axes: int) -> bool:
    """Whether none of the axes that options name is the first."""
    named = options.get("axes", options.get("axis"))
    along = named if isinstance(named, tuple) else () if named is None else (named,)
    order = options.get("order")
    kept = not isinstance(order, tuple) or not order or order[0] % axes == 0
    pads = options.get("pads")
    behind = not isinstance(pads, tuple) or len(pads) <= 2 * (axes - 1)
    return kept and behind and all(int(axis) % axes != 0 for axis in along)
