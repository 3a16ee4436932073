"""Everything that a run is after an epoch, in one file: what comes after it is bit for bit what would have come.

Tensors are safetensors, the rest is JSON in that file's head: nothing in a checkpoint can run. A file is written whole
beside the old one and takes its place in one step, so that a run that is killed at any moment has the old or the new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tessera.domain.errors import ArtifactError

LAYOUT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What was read."""

    groups: Mapping[str, Mapping[str, Tensor]]
    """By module (`network`, `loss`, `average`, ...) the tensors of its `state_dict`."""
    facts: Mapping[str, Any]
    """Plain values."""


def write_checkpoint(path: Path, groups: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the one before.

    Args:
        path: of the file.
        groups: tensors by name by group; no group's name has a dot.
        facts: plain values.
    """
    tensors = {
        f"{group}.{name}": value.detach().cpu().contiguous().clone()
        for group, members in groups.items()
        for name, value in members.items()
    }
    told = {"facts": json.dumps({"layout": LAYOUT, **facts})}
    write_whole(path, safetensors.torch.save(tensors, told))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ArtifactError: it is none.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            groups: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 - no mapping
                group, _, name = key.partition(".")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(path.name, f"is no checkpoint: {error}; delete it to begin again") from error
    if facts.get("layout") != LAYOUT:
        raise ArtifactError(path.name, f"is of layout {facts.get('layout')}; this version has {LAYOUT}")
    return Checkpoint(groups, facts)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each weight, as `place.what`."""
    return {
        f"{place}.{what}": value
        for place, remembered in optimiser.state_dict()["state"].items()
        for what, value in remembered.items()
        if value is not None
    }


@torch.no_grad()
def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Let an optimiser remember what `optimiser_tensors` gave.

    Args:
        optimiser: newly made, over the same weights.
        tensors: by `place.what`.
    """
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for key, value in tensors.items():
        place, _, what = key.partition(".")
        weight = weights[int(place)]
        # Laid out in memory as the weight is: a fused optimiser walks through both side by side.
        whole = value.shape == weight.shape and value.ndim > 0
        optimiser.state[weight][what] = torch.empty_like(weight).copy_(value) if whole else value.to(weight.device)


@torch.no_grad()
def restore_module(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module the weights and statistics of a checkpoint; its memory layout stays.

    Raises:
        ArtifactError: they are not this module's.
    """
    own = module.state_dict()
    if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
        raise ArtifactError("weights", f"are not those of {type(module).__name__}")
    for name, value in own.items():
        value.copy_(tensors[name])


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the weights of one module and nothing else."""
    write_whole(path, safetensors.torch.save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what `write_weights` wrote.

    Raises:
        ArtifactError: it is not that.
    """
    try:
        made: dict[str, Tensor] = safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ArtifactError(path.name, f"cannot be read: {error}") from error
    return made


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever reads it at any moment, a power cut included, finds the old or the new."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
