"""The device that networks run on, and the process around it made fit for that."""

from __future__ import annotations

import os
import sys

import cv2
import torch

from encoder_svc.settings import DeviceChoice
from tessera.domain.errors import InvalidInputError

_SWITCH_INTERVAL_S = 0.001


def choose_device(choice: DeviceChoice) -> torch.device:
    """The device that a setting means on this machine.

    Raises:
        InvalidInputError: CUDA was asked for and there is none.
    """
    if choice is DeviceChoice.CUDA and not torch.cuda.is_available():
        raise InvalidInputError("device", choice.value, "cpu or auto: no CUDA device is usable here")
    if choice is DeviceChoice.CPU or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", 0)


def choose_lanes(device: torch.device, wanted: int) -> int:
    """How many threads run networks: one on CUDA, whose graphs belong to the thread that recorded them.

    Args:
        device: that they run on.
        wanted: 0: one for each core that this process may use.
    """
    if device.type != "cpu":
        return 1
    return wanted or len(os.sched_getaffinity(0))


def choose_helpers(device: torch.device, wanted: int) -> int:
    """Threads beside the lanes that decode and measure.

    Args:
        device: of the lanes.
        wanted: 0: none beside a CPU, whose lanes do it themselves; beside CUDA one for each core that this process may
            use.
    """
    return wanted or (0 if device.type == "cpu" else len(os.sched_getaffinity(0)))


def tune_interpreter() -> None:
    """Let threads take turns at Python's lock more often: a lane that comes back from a network waits for it with its
    core idle, five times longer by default."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def prepare_inference_thread(threads: int) -> None:
    """Set how many CPU threads a network run takes; called on the thread that runs them."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    cv2.setNumThreads(1)
