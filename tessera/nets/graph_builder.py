"""Collects the steps of a program while a graph is read, and knows the shape of every value on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tessera.domain.errors import ArtifactError
from tessera.nets.graph import INPUT, PROBE_ROWS, Program, Step, bound, probe
from tessera.nets.graph_ops import Option
from tessera.nets.onnx_file import Array

MAX_NUMBERS = 1 << 28
"""Of all weights together: as float32 they fill the largest file that is read back."""


class UnfitNodeError(Exception):
    """A node asks for what an imported network may not do; the message says what and what is allowed."""


class GraphBuilder:
    """The steps so far.

    Args:
        input_shape: channels, height, width.
        source: for the errors.
    """

    def __init__(self, input_shape: tuple[int, int, int], source: str) -> None:
        self._source = source
        self._input_shape = input_shape
        self._steps: list[Step] = []
        self._weights: dict[str, Tensor] = {}
        self._numbers = 0
        self._shapes: dict[str, Tensor] = {INPUT: torch.empty(PROBE_ROWS, *input_shape, device="meta")}

    def row_shape(self, value: str) -> tuple[int, ...]:
        """The shape of a value without the batch's axis."""
        return tuple(self._shapes[value].shape[1:])

    def weight(self, values: Array) -> str:
        """Keep an array of numbers; returns its name.

        Raises:
            UnfitNodeError: there are too many by now; one array that many nodes take counts each time.
        """
        self._numbers += values.size
        if self._numbers > MAX_NUMBERS:
            raise UnfitNodeError(f"brings the weights to more than {MAX_NUMBERS:,} numbers")
        name = f"w{len(self._weights)}"
        self._weights[name] = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
        return name

    def step(self, op: str, inputs: Sequence[str], options: Mapping[str, Option] | None = None) -> str:
        """Add a step; returns the name of its output.

        Raises:
            ArtifactError: it cannot be taken.
        """
        step = Step(op, tuple(inputs), f"v{len(self._steps)}", dict(options or {}))
        weights = {name: self._weights[name].to("meta") for name in inputs if name not in self._shapes}
        self._shapes[step.output] = probe(step, bound(step), self._shapes, weights, self._source)
        self._steps.append(step)
        return step.output

    def finish(self, output: str) -> tuple[Program, dict[str, Tensor]]:
        """The program that makes `output`, and its weights: joined where two steps are one, freed of what is unused.

        Raises:
            ArtifactError: the output is not one row of numbers for each image.
        """
        shape = self.row_shape(output)
        if len(shape) != 1:
            raise ArtifactError(self._source, f"gives (n, {', '.join(map(str, shape))}); allowed: (n, d)")
        steps = _joined_activations(_folded(self._steps, self._weights, output), output)
        steps = _needed(steps, output)
        used = {name for step in steps for name in step.inputs}
        weights = {name: value for name, value in self._weights.items() if name in used}
        return Program(self._input_shape, shape[0], tuple(steps), output), weights


def _folded(steps: Sequence[Step], weights: dict[str, Tensor], output: str) -> list[Step]:
    """Every affine step that alone follows a convolution or a linear layer becomes part of its weights."""
    uses = _uses(steps, output)
    makers: dict[str, Step] = {}
    kept: list[Step] = []
    for step in steps:
        maker = makers.get(step.inputs[0])
        if step.op == "affine" and maker is not None and uses[maker.output] == 1:
            gain, shift = (weights[name].double() for name in step.inputs[1:])
            kept[kept.index(maker)] = made = _fold(maker, step.output, gain.flatten(), shift.flatten(), weights)
            makers[made.output] = made
            continue
        if step.op in {"conv2d", "linear"}:
            makers[step.output] = step
        kept.append(step)
    return kept


def _fold(maker: Step, output: str, gain: Tensor, shift: Tensor, weights: dict[str, Tensor]) -> Step:
    x, weight_name, *bias_name = maker.inputs
    weight = weights[weight_name].double()
    bias = weights[bias_name[0]].double() if bias_name else torch.zeros(len(weight), dtype=torch.float64)
    names = f"w{len(weights)}", f"w{len(weights) + 1}"
    weights[names[0]] = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1))).float().contiguous()
    weights[names[1]] = (bias * gain + shift).float()
    return Step(maker.op, (x, *names), output, maker.options)


def _joined_activations(steps: Sequence[Step], output: str) -> list[Step]:
    """x * sigmoid(x) becomes one step."""
    uses = _uses(steps, output)
    sigmoids = {step.output: step.inputs[0] for step in steps if step.op == "sigmoid" and uses[step.output] == 1}
    joined = []
    for step in steps:
        gate = next((name for name in step.inputs if name in sigmoids), None)
        if step.op == "mul" and gate is not None and set(step.inputs) == {gate, sigmoids[gate]}:
            joined.append(Step("silu", (sigmoids[gate],), step.output, {}))
        else:
            joined.append(step)
    return joined


def _needed(steps: Sequence[Step], output: str) -> list[Step]:
    wanted, kept = {output}, list[Step]()
    for step in reversed(steps):
        if step.output in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return kept[::-1]


def _uses(steps: Sequence[Step], output: str) -> dict[str, int]:
    uses = dict.fromkeys([output], 1)
    for step in steps:
        for name in step.inputs:
            uses[name] = uses.get(name, 0) + 1
    return uses
