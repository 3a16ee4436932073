"""An imported network: a list of steps as data, and the module that takes them.

It is kept as `network.json` (the steps, no code) beside `weights.safetensors` (the numbers, no pickle). The schema of
`network.json`, version 1:

    {"schema": 1,
     "input": [3, 112, 112],          channels, height and width of one row of the batch
     "dimensions": 128,               length of one row of the output
     "steps": [{"op": "conv2d",       a key of `tessera.nets.graph_ops.OPERATIONS`
                "inputs": ["input", "w0", "w1"],
                                      "input", the output of an earlier step, or the name of a weight
                "output": "v0",       a name of its own
                "options": {"stride": [1, 1], ...}}],
     "output": "v41"}                 what the network answers

Whatever reads one checks it wholly, shapes included, before a number is computed: a file of any origin can only name
operations of that table, and cannot make them work on more than `MAX_ELEMENTS` numbers a row.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tessera.domain.errors import ArtifactError
from tessera.nets.graph_ops import MAX_WHOLE_NUMBER, OPERATIONS, Option, OptionKind
from tessera.nets.graph_rows import require_apart, require_window

SCHEMA = 1
INPUT = "input"
MAX_STEPS = 5000
MAX_ELEMENTS = 1 << 24
"""Of one value, for one row of the batch."""
PROBE_ROWS = 3
"""Of the tensors without numbers that steps are tried on."""

_NAME = re.compile(r"[vw][0-9]{1,6}")
_STEP_KEYS = {"op", "inputs", "output", "options"}
_KEYS = {"schema", "input", "dimensions", "steps", "output"}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on values that are there."""

    op: str
    """A key of `OPERATIONS`."""
    inputs: tuple[str, ...]
    """Names of earlier values and of weights."""
    output: str
    options: Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Program:
    """What a network does, in order."""

    input_shape: tuple[int, int, int]
    """Channels, height, width."""
    dimensions: int
    """Length of one row of the output."""
    steps: tuple[Step, ...]
    output: str


class ImportedNetwork(nn.Module):
    """A module that takes the steps of a program.

    Args:
        program: what to do.
        weights: float32, by the names that the steps use.
        source: for the errors.
        is_known: it ships with this version, whose tests have taken every step: that is not done once more, since torch
            loads 90 MB of modules for it.

    Raises:
        ArtifactError: a step cannot be taken, or the output is not (n, d).
    """

    def __init__(self, program: Program, weights: Mapping[str, Tensor], source: str, *, is_known: bool = False) -> None:
        super().__init__()
        _require_names(program, weights, source)
        self.program = program
        # In an order of their own: safetensors gives another one in each process, and what was compiled is found by it.
        for name in sorted(weights):
            self.register_parameter(name, nn.Parameter(weights[name], requires_grad=False))
        self._calls = [bound(step) for step in program.steps]
        self._spent = _last_uses(program)
        self.eval()
        if not is_known:
            self._probe(source)

    def forward(self, x: Tensor) -> Tensor:
        """Embed.

        Args:
            x: float32 (n, channels, height, width), as the program's input is.

        Returns:
            float32 (n, d), of any length.
        """
        values = {INPUT: x}
        for step, call, spent in zip(self.program.steps, self._calls, self._spent, strict=True):
            values[step.output] = call(*(self._value(name, values) for name in step.inputs))
            for name in spent:
                del values[name]
        return values[self.program.output]

    def extra_repr(self) -> str:
        """The digest of its program: networks that differ in it alone never share what was compiled."""
        return hashlib.sha256(dump_program(self.program)).hexdigest()

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return values[name] if name in values else self.get_parameter(name)

    def _probe(self, source: str) -> None:
        """Take every step without numbers, to know that shapes fit and sizes stay within bounds."""
        weights = {name: value.to("meta") for name, value in self.named_parameters()}
        values = {INPUT: torch.empty(PROBE_ROWS, *self.program.input_shape, device="meta")}
        for position, (step, call) in enumerate(zip(self.program.steps, self._calls, strict=True)):
            told = f"{source}: step {position}"
            values[step.output] = probe(step, call, values, weights, told)
        shape = tuple(values[self.program.output].shape)
        if shape != (PROBE_ROWS, self.program.dimensions):
            raise ArtifactError(source, f"gives {_rows(shape)}; the manifest says (n, {self.program.dimensions})")


def probe(
    step: Step, call: partial[Tensor], values: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str
) -> Tensor:
    """Take one step on tensors without numbers.

    Args:
        step: its inputs are among `values` or `weights`.
        call: what runs it.
        values: what there is that depends on the picture.
        weights: the constants.
        source: for the error.

    Raises:
        ArtifactError: it cannot be taken, mixes the rows of a batch, or makes too much of them.
    """
    inputs = [values[name] if name in values else weights[name] for name in step.inputs]
    try:
        seen = [tuple(values[name].shape) if name in values else None for name in step.inputs]
        constants = [tuple(weights[name].shape) for name in step.inputs if name not in values]
        require_apart(step.op, step.options, seen, constants)
        require_window(step.op, step.options, tuple(inputs[0].shape), MAX_ELEMENTS)
        made = call(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        reason = str(error).partition("\n")[0]
        raise ArtifactError(source, f"{step.op} cannot take inputs of shape {shapes}: {reason}") from error
    if made.ndim < 2 or made.shape[0] != PROBE_ROWS:
        raise ArtifactError(source, f"{step.op} gives {_rows(tuple(made.shape))}; the first axis must stay the batch")
    if made.numel() > MAX_ELEMENTS * PROBE_ROWS:
        raise ArtifactError(source, f"{step.op} makes more than {MAX_ELEMENTS:,} numbers a row")
    return made


def bound(step: Step) -> partial[Tensor]:
    """The function of a step, its options in place."""
    return partial(OPERATIONS[step.op].run, **step.options)


def dump_program(program: Program) -> bytes:
    """A program as the content of `network.json`."""
    steps = [
        {"op": s.op, "inputs": list(s.inputs), "output": s.output, "options": _plain(s.options)} for s in program.steps
    ]
    told = {
        "schema": SCHEMA,
        "input": list(program.input_shape),
        "dimensions": program.dimensions,
        "steps": steps,
        "output": program.output,
    }
    return (json.dumps(told, indent=1) + "\n").encode("ascii")


def parse_program(content: bytes, source: str) -> Program:
    """Read the content of `network.json`.

    Raises:
        ArtifactError: it is not of schema 1, or a step is none of the table's.
    """
    try:
        return _parse(json.loads(content))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ArtifactError(source, f"not a network of schema {SCHEMA}: {error}") from error


def load_network(program: bytes, weights: bytes, source: str, *, is_known: bool = False) -> ImportedNetwork:
    """The module of an imported network, on the CPU.

    Args:
        program: content of `network.json`, whose sha256 has been checked.
        weights: content of `weights.safetensors`, likewise.
        source: for the errors.
        is_known: it ships with this version.

    Raises:
        ArtifactError: they are not a network.
    """
    try:
        tensors = safetensors.torch.load(weights)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(source, f"not weights: {error}") from error
    return ImportedNetwork(parse_program(program, source), tensors, source, is_known=is_known)


def _require_names(program: Program, weights: Mapping[str, Tensor], source: str) -> None:
    known, used = {INPUT, *weights}, set[str]()
    for position, step in enumerate(program.steps):
        missing = [name for name in step.inputs if name not in known]
        if missing or step.output in known:
            raise ArtifactError(source, f"step {position}: {missing or step.output} is not there, or is there twice")
        known.add(step.output)
        used.update(step.inputs)
    if weights.keys() - used or program.output not in known - weights.keys():
        raise ArtifactError(source, f"weights that nothing uses: {sorted(weights.keys() - used)}, or no output")
    for name, value in weights.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise ArtifactError(source, f"weight {name} is not finite float32")


def _last_uses(program: Program) -> list[list[str]]:
    """For each step the values that nothing needs after it."""
    last = {name: at for at, step in enumerate(program.steps) for name in (*step.inputs, step.output)}
    made = {INPUT, *(step.output for step in program.steps)} - {program.output}
    return [[name for name in sorted(made) if last.get(name) == at] for at in range(len(program.steps))]


def _parse(raw: Any) -> Program:  # noqa: ANN401 - JSON holds anything
    if not isinstance(raw, dict) or set(raw) != _KEYS or raw["schema"] != SCHEMA or len(raw["steps"]) > MAX_STEPS:
        raise ValueError(f"needs {', '.join(sorted(_KEYS))}, and at most {MAX_STEPS} steps")
    channels, height_px, width_px = _wholes("input", raw["input"])
    if min(channels, height_px, width_px) < 1 or channels * height_px * width_px > MAX_ELEMENTS:
        raise ValueError(f"input is {raw['input']}; allowed: 1 or more each, {MAX_ELEMENTS:,} in all")
    steps = tuple(_parse_step(position, step) for position, step in enumerate(raw["steps"]))
    dimensions = _whole("dimensions", raw["dimensions"])
    return Program((channels, height_px, width_px), dimensions, steps, _name(raw["output"]))


def _parse_step(position: int, raw: Any) -> Step:  # noqa: ANN401 - JSON holds anything
    if not isinstance(raw, dict) or set(raw) != _STEP_KEYS or raw["op"] not in OPERATIONS:
        raise ValueError(f"step {position} is none; operations: {', '.join(OPERATIONS)}")
    operation = OPERATIONS[raw["op"]]
    least, most = operation.inputs
    if not least <= len(raw["inputs"]) <= most or set(raw["options"]) != set(operation.options):
        raise ValueError(f"step {position}: {raw['op']} takes {least} to {most} inputs, options {[*operation.options]}")
    options = {key: _option(key, raw["options"][key], kind) for key, kind in operation.options.items()}
    return Step(raw["op"], tuple(_name(name) for name in raw["inputs"]), _name(raw["output"]), options)


def _option(key: str, value: object, kind: OptionKind) -> Option:
    if kind is OptionKind.WHOLES:
        return _wholes(key, value)
    if kind is OptionKind.WHOLE:
        return _whole(key, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}; allowed: {kind}")
    return float(value)


def _wholes(key: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 16:
        raise ValueError(f"{key} is {value!r}; allowed: {OptionKind.WHOLES}")
    return tuple(_whole(key, member) for member in value)


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_WHOLE_NUMBER:
        raise ValueError(f"{key} holds {value!r}; allowed: {OptionKind.WHOLE}")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or (value != INPUT and not _NAME.fullmatch(value)):
        raise ValueError(f"{value!r} is no name")
    return value


def _plain(options: Mapping[str, Option]) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def _rows(shape: tuple[int, ...]) -> str:
    """A shape of the probe, with its number of rows shown as n."""
    return "(" + ", ".join("n" if at == 0 and size == PROBE_ROWS else str(size) for at, size in enumerate(shape)) + ")"
