"""A head: the small function that brings the vectors of one encoder into a space of a deployment's own.

Runs in numpy, without torch: whoever applies a head needs no more than the two files. A head belongs to one encoder and
says which; the vectors that come out are of another model, so thresholds of the encoder do not hold for them, and both
sides of every comparison must have gone through the same head.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from tessera.domain.embedding import MAX_DIMENSIONS, Vectors
from tessera.domain.errors import ArtifactError, InvalidInputError
from tessera.domain.manifest_fields import read_object, read_sha256, read_text, read_whole_number

HEAD_FILE = "head.json"
WEIGHTS_FILE = "head.safetensors"
SCHEMA = 1
MAX_HIDDEN = 4096

Weights = npt.NDArray[np.float32]

_FIELDS = ("schema", "name", "encoder", "dimensions", "hidden", "weights_sha256")
_MAX_BYTES = 4 * (MAX_DIMENSIONS * (MAX_DIMENSIONS + 2 * MAX_HIDDEN + 2) + MAX_HIDDEN) + 4096
_SMALLEST_LENGTH = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """unit(z @ matrix + bias + tanh(z @ inward + inner_bias) @ outward), z = unit(x - centre).

    With no hidden unit the last term is left out, and the head is affine.
    """

    name: str
    """How it was made, in words."""
    encoder: str
    """The model id of the encoder whose vectors it takes."""
    centre: Weights
    """Shape (d,)."""
    matrix: Weights
    """Shape (d, d)."""
    bias: Weights
    """Shape (d,)."""
    inward: Weights
    """Shape (d, hidden); hidden may be 0."""
    inner_bias: Weights
    """Shape (hidden,)."""
    outward: Weights
    """Shape (hidden, d)."""

    def apply(self, vectors: npt.ArrayLike) -> Vectors:
        """Bring vectors through the head.

        Args:
            vectors: shape (n, d), unit rows of the head's encoder.

        Returns:
            float32 (n, d), unit rows.

        Raises:
            InvalidInputError: another length, a number that is not finite, or a vector that the head takes to nothing.
        """
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.centre.size or not bool(np.isfinite(rows).all()):
            raise InvalidInputError("vectors", rows.shape, f"(n, {self.centre.size}) finite numbers")
        centred = _unit(rows - self.centre)
        out = centred @ self.matrix + self.bias
        if self.inner_bias.size:
            out += np.tanh(centred @ self.inward + self.inner_bias) @ self.outward
        return _unit(out)


def affine_head(
    name: str, encoder: str, matrix: npt.ArrayLike, centre: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> Head:
    """A head without hidden units.

    Args:
        name: how it was made.
        encoder: a model id.
        matrix: shape (d, d); its scale does not matter where there is no bias.
        centre: shape (d,).
        bias: shape (d,); None: 0.
    """
    middle = np.asarray(centre, dtype=np.float32)
    d = middle.size
    return checked(
        Head(
            name,
            encoder,
            middle,
            np.asarray(matrix, dtype=np.float32),
            np.zeros(d, np.float32) if bias is None else np.asarray(bias, dtype=np.float32),
            np.zeros((d, 0), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, d), np.float32),
        )
    )


def identity_head(encoder: str, dimensions: int) -> Head:
    """The head that leaves every unit vector as it is."""
    return affine_head("as served", encoder, np.eye(dimensions), np.zeros(dimensions))


def checked(head: Head) -> Head:
    """The head, if its parts fit each other.

    Raises:
        InvalidInputError: a shape or a number is wrong.
    """
    d, hidden = head.centre.size, head.inner_bias.size
    wanted = {
        "centre": (d,),
        "matrix": (d, d),
        "bias": (d,),
        "inward": (d, hidden),
        "inner_bias": (hidden,),
        "outward": (hidden, d),
    }
    for part, shape in wanted.items():
        values = getattr(head, part)
        if values.shape != shape or values.dtype != np.float32 or not bool(np.isfinite(values).all()):
            raise InvalidInputError(f"head.{part}", f"{values.dtype} {values.shape}", f"finite float32 {shape}")
    if not 1 <= d <= MAX_DIMENSIONS or hidden > MAX_HIDDEN:
        raise InvalidInputError("head.dimensions", (d, hidden), f"1 to {MAX_DIMENSIONS}, hidden to {MAX_HIDDEN}")
    return head


def save_head(head: Head, folder: Path) -> None:
    """Write `head.safetensors` and `head.json` into a folder."""
    tensors = {part: np.ascontiguousarray(getattr(head, part)) for part in _parts(head.inner_bias.size)}
    weights: bytes = save_tensors(tensors)
    facts = {
        "schema": SCHEMA,
        "name": head.name,
        "encoder": head.encoder,
        "dimensions": int(head.centre.size),
        "hidden": int(head.inner_bias.size),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / HEAD_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_head(folder: Path) -> Head:
    """Read a head that `save_head` wrote; nothing in its files is ever run.

    Raises:
        ArtifactError: a file is missing, damaged, or not the one that the other names.
    """
    try:
        return _read_head(json.loads((folder / HEAD_FILE).read_text(encoding="utf-8")), folder)
    except (OSError, ValueError, RecursionError, InvalidInputError, SafetensorError) as error:
        raise ArtifactError(str(folder), f"holds no head of schema {SCHEMA}: {error}") from error


def _read_head(raw: object, folder: Path) -> Head:
    facts = read_object(raw, HEAD_FILE, _FIELDS)
    read_whole_number(facts, "schema", SCHEMA, SCHEMA)
    hidden = read_whole_number(facts, "hidden", 0, MAX_HIDDEN)
    dimensions = read_whole_number(facts, "dimensions", 1, MAX_DIMENSIONS)
    weights = _read_weights(folder / WEIGHTS_FILE, read_sha256(facts, "weights_sha256"))
    if set(weights) != set(_parts(hidden)):
        raise InvalidInputError("weights", sorted(weights), f"{sorted(_parts(hidden))}")
    no_layer = {
        "inward": np.zeros((dimensions, 0), np.float32),
        "inner_bias": np.zeros(0, np.float32),
        "outward": np.zeros((0, dimensions), np.float32),
    }
    head = checked(Head(read_text(facts, "name"), read_text(facts, "encoder"), **(no_layer | weights)))
    if (head.centre.size, head.inner_bias.size) != (dimensions, hidden):
        raise InvalidInputError("dimensions", head.centre.size, f"{dimensions}, hidden {hidden}")
    return head


def _read_weights(path: Path, sha256: str) -> dict[str, Weights]:
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidInputError("weights", path.stat().st_size, f"at most {_MAX_BYTES} bytes")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidInputError("weights_sha256", sha256, f"that of {WEIGHTS_FILE}")
    weights: dict[str, Weights] = load_tensors(content)
    return weights


def _parts(hidden: int) -> tuple[str, ...]:
    outer = ("centre", "matrix", "bias")
    return (*outer, "inward", "inner_bias", "outward") if hidden else outer


def _unit(rows: Weights) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if bool((lengths < _SMALLEST_LENGTH).any()):
        raise InvalidInputError("vectors", "one that the head takes to nothing", "vectors apart from its centre")
    unit: Vectors = (rows / lengths).astype(np.float32, copy=False)
    return unit
