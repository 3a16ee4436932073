"""A compiled network, called through its C interface: many threads may run it at once, and none holds the interpreter.

The file is a shared library that AOTInductor made (`tessera.nets.compiler`). Torch's own Python loader holds the
interpreter's lock during a run, so that two lanes take turns; a plain foreign call lets go of it. Measured with two
lanes of one thread each on a busy machine: 1.0 times the work of one lane with that loader, 1.6 to 1.9 with this one.

The interface is that of one exact torch release, which pyproject.toml pins; another release is refused.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tessera.domain.artifact import CropSize
from tessera.nets.runtime import Network, Runtime, RuntimeUnavailableError
from tessera.nets.yunet import INPUT_MULTIPLE_PX

TORCH_RELEASE = "2.13.0"
"""Whose compiled libraries and tensor handles this module knows."""

MAX_BATCH = 64
"""Of every compiled network."""

# The two capsule calls keep the interpreter's lock: they are quick, and letting go of it means queueing for it again.
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class InputRange:
    """Which batches a network is compiled for; others go another way."""

    max_batch: int
    channels: int
    side_multiple_px: int
    min_side_px: int
    max_side_px: int
    only_px: tuple[int, int] | None = None
    """The one height and width that it is compiled for; None: all within the bounds."""

    def holds(self, shape: torch.Size) -> bool:
        """Whether a batch of this shape may be given to the compiled code, which does not check."""
        if len(shape) != 4 or not 1 <= shape[0] <= self.max_batch or shape[1] != self.channels:
            return False
        if self.only_px is not None:
            return tuple(shape[2:]) == self.only_px
        return all(
            self.min_side_px <= side <= self.max_side_px and side % self.side_multiple_px == 0 for side in shape[2:]
        )


def detector_range() -> InputRange:
    """Batches of a detector that are compiled: every size but the narrowest pictures, of one cell."""
    return InputRange(MAX_BATCH, 3, INPUT_MULTIPLE_PX, 2 * INPUT_MULTIPLE_PX, 128 * INPUT_MULTIPLE_PX)


def embedder_range(crop: CropSize) -> InputRange:
    """Batches of an embedder that are compiled: one size."""
    sides_px = (crop.height_px, crop.width_px)
    return InputRange(MAX_BATCH, 3, 1, min(sides_px), max(sides_px), sides_px)


class CompiledNetwork:
    """A network in machine code.

    Args:
        library: the file; the caller has checked its sha256.
        lanes: how many threads run it at once; one more waits for a free place.
        accepts: which batches it was compiled for.
        otherwise: runs every other batch, such as a picture narrower than two cells.

    Raises:
        RuntimeUnavailableError: this torch is another release, or the file cannot be loaded on this machine.
    """

    def __init__(self, library: Path, lanes: int, accepts: InputRange, otherwise: Network) -> None:
        require_known_torch()
        self._accepts = accepts
        self._otherwise = otherwise
        self._container = ctypes.c_void_p()
        try:
            self._library = ctypes.CDLL(str(library))
            create = self._library.AOTInductorModelContainerCreateWithDevice
            self._run = self._library.AOTInductorModelContainerRun
            self._delete = self._library.AOTInductorModelContainerDelete
        except (OSError, AttributeError) as error:
            raise RuntimeUnavailableError(Runtime.COMPILED, f"{library.name} cannot be loaded: {error}") from error
        create.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
        handles = ctypes.POINTER(ctypes.c_void_p)
        self._run.argtypes = [ctypes.c_void_p, handles, ctypes.c_size_t, handles, ctypes.c_size_t]
        self._run.argtypes += [ctypes.c_void_p, ctypes.c_void_p]
        self._delete.argtypes = [ctypes.c_void_p]
        if create(ctypes.byref(self._container), lanes, b"cpu", None) != 0:
            raise RuntimeUnavailableError(Runtime.COMPILED, f"{library.name} does not start: {self._last_error()}")

    def __call__(self, batch: Tensor, /) -> Tensor:
        """Run one batch on the calling thread, with as many threads of its own as `torch.set_num_threads` set there.

        Args:
            batch: float32 on the CPU; it is brought into channels-last order when it is not.

        Raises:
            ValueError: the batch is not float32 on the CPU.
            RuntimeError: the compiled code failed.
        """
        if batch.dtype is not torch.float32 or batch.device.type != "cpu":
            raise ValueError(f"needs float32 on the cpu; got {batch.dtype} on {batch.device}")
        if not self._accepts.holds(batch.shape):
            return self._otherwise(batch)
        batch = batch.detach().contiguous(memory_format=torch.channels_last)
        inputs = (ctypes.c_void_p * 1)(_handle_of(batch))  # its handle passes to the run, whatever comes of it
        outputs = (ctypes.c_void_p * 1)()
        if self._run(self._container, inputs, 1, outputs, 1, None, None) != 0:
            raise RuntimeError(f"the compiled network failed on {tuple(batch.shape)}: {self._last_error()}")
        return _tensor_of(outputs[0])

    def __del__(self) -> None:
        if getattr(self, "_container", None):
            self._delete(self._container)

    def _last_error(self) -> str:
        text = ctypes.c_char_p()
        tell: Callable[..., int] | None = getattr(self._library, "AOTInductorGetLastError", None)
        if tell is None or tell(ctypes.byref(text)) != 0 or not text.value:
            return "no reason given"
        return text.value.decode(errors="replace")


def require_known_torch() -> None:
    """Refuse a torch whose compiled libraries may look otherwise.

    Raises:
        RuntimeUnavailableError: it is another release than `TORCH_RELEASE`.
    """
    if torch.__version__.partition("+")[0] != TORCH_RELEASE:
        raise RuntimeUnavailableError(
            Runtime.COMPILED, f"torch is {torch.__version__}; compiled networks are known for {TORCH_RELEASE}"
        )


def _handle_of(tensor: Tensor) -> int:
    capsule = torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(tensor)
    handle: int = _capsule_pointer(capsule, None)
    return handle


def _tensor_of(handle: int | None) -> Tensor:
    # The call for several: torch 2.13's call for one never frees the tensor.
    tensors: list[Tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs([_new_capsule(handle, None, None)])
    return tensors[0]
