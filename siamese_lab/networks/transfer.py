"""Transfer: weights of an earlier training, and parts of a network that stay as they are for a while.

It loads safetensors whose sha256 is known, and nothing else: no pickle, no address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tessera.domain.errors import ArtifactError, InvalidInputError


@dataclass(frozen=True, slots=True)
class Freezing:
    """Which parts of a network stay as they are, and for how long."""

    prefixes: tuple[str, ...]
    """Names of modules or weights, such as `layers.conv1`; all below them stay too."""
    until_epoch: int | None = None
    """The first epoch, counted from 0, in which they learn again; None: never."""

    def apply(self, network: nn.Module, epoch: int) -> tuple[str, ...]:
        """Freeze or thaw for an epoch; to be called in every epoch, after `network.train()`.

        A frozen batch norm neither learns nor updates its statistics, and a frozen dropout drops nothing.

        Args:
            network: it is changed.
            epoch: counted from 0.

        Returns:
            The names of the weights that are frozen now.

        Raises:
            InvalidInputError: a prefix names nothing in the network.
        """
        chosen = _chosen(network, self.prefixes)
        if self.until_epoch is not None and epoch >= self.until_epoch:
            if epoch == self.until_epoch:
                _set_learning(network, chosen, learning=True)
            return ()
        _set_learning(network, chosen, learning=False)
        for name, module in network.named_modules():
            if _is_below(name, self.prefixes):
                module.eval()
        return chosen


def load_weights(network: nn.Module, path: Path, sha256: str, only: Sequence[str] = ()) -> tuple[str, ...]:
    """Load the weights of an earlier training.

    Args:
        network: it is changed, or left wholly as it was where something is wrong.
        path: of a safetensors file.
        sha256: of the file, 64 hex digits.
        only: names of the modules or weights to load; all where empty, and then the file must hold nothing else.

    Returns:
        The names of what was loaded.

    Raises:
        ArtifactError: the file cannot be read, is not the one that was named, or does not fit the network.
        InvalidInputError: a name of `only` is nowhere in the network.
    """
    there = network.state_dict()
    wanted = _below(there, only, "only")
    given = _read_checked(path, sha256)
    if not only and given.keys() != there.keys():
        odd = sorted(given.keys() ^ there.keys())
        raise ArtifactError(path.name, f"does not hold the weights of this network; first difference: {odd[0]}")
    for name in wanted:
        if name not in given:
            raise ArtifactError(path.name, f"has no {name}")
        if given[name].shape != there[name].shape:
            shapes = tuple(given[name].shape), tuple(there[name].shape)
            raise ArtifactError(path.name, f"{name} has shape {shapes[0]}; the network's has {shapes[1]}")
    with torch.no_grad():
        for name in wanted:
            there[name].copy_(given[name])
    return wanted


def _read_checked(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(path.name, f"cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise ArtifactError(path.name, f"has sha256 {found}; the recipe names {sha256}")
    try:
        read: dict[str, Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ArtifactError(path.name, "is no safetensors file") from error
    return read


def _chosen(network: nn.Module, prefixes: Sequence[str]) -> tuple[str, ...]:
    return _below((name for name, _ in network.named_parameters()), prefixes, "freeze") if prefixes else ()


def _below(names: Iterable[str], prefixes: Sequence[str], field: str) -> tuple[str, ...]:
    all_names = tuple(names)
    for prefix in prefixes:
        if not any(_is_below(name, (prefix,)) for name in all_names):
            raise InvalidInputError(field, prefix, f"the beginning of a weight's name, such as {all_names[0]}")
    return tuple(name for name in all_names if not prefixes or _is_below(name, prefixes))


def _is_below(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _set_learning(network: nn.Module, names: Sequence[str], *, learning: bool) -> None:
    for name in names:
        network.get_parameter(name).requires_grad_(learning)
