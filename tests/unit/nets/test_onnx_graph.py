"""Imported graphs: each operator says what `onnx.reference` says, and whatever is not allowed is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from unit.nets.onnx_models import Array, model, node, random, refer, small_embedder, with_external_data, write

from tessera.domain.errors import ArtifactError
from tessera.nets.compiled_files import network_key
from tessera.nets.graph import ImportedNetwork, dump_program, load_network
from tessera.nets.onnx_file import open_onnx
from tessera.nets.onnx_graph import convert
from tessera.nets.onnx_weights import read_weights
from tessera.nets.sface import build_sface, fuse

_ROWS = node("Flatten", "v", "y")
_NORM = {"g": random(3, seed=1), "b": random(3, seed=2), "m": random(3, seed=3), "s": np.abs(random(3, seed=4)) + 1}


def _convert(tmp_path: Path, made: Any, side_px: int = 8) -> ImportedNetwork:
    return convert(open_onnx(write(tmp_path / "tiny.onnx", made)), side_px)


def _ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


CASES: dict[str, tuple[list[Any], dict[str, Array]]] = {
    "conv": (
        [node("Conv", "x w b", "v", pads=[1, 1, 1, 1], strides=[2, 2])], {"w": random(4, 3, 3, 3), "b": random(4)},
    ),
    "conv groups": ([node("Conv", "x w", "v", group=3)], {"w": random(6, 1, 3, 3)}),
    "conv dilated": ([node("Conv", "x w", "v", dilations=[2, 3])], {"w": random(4, 3, 3, 2)}),
    "conv uneven pads": ([node("Conv", "x w", "v", pads=[0, 1, 2, 3])], {"w": random(4, 3, 3, 3)}),
    "conv same upper": ([node("Conv", "x w", "v", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": random(4, 3, 3, 3)}),
    "conv same lower": ([node("Conv", "x w", "v", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": random(4, 3, 3, 3)}),
    "conv valid": ([node("Conv", "x w", "v", auto_pad="VALID")], {"w": random(4, 3, 3, 3)}),
    "batch norm": ([node("BatchNormalization", "x g b m s", "v", epsilon=1e-3)], _NORM),
    "conv and batch norm": (
        [node("Conv", "x w", "u"), node("BatchNormalization", "u g b m s", "v")],
        {"w": random(3, 3, 3, 3), **_NORM},
    ),
    "conv used twice": (
        [node("Conv", "x w", "u"), node("BatchNormalization", "u g b m s", "t"), node("Add", "u t", "v")],
        {"w": random(3, 3, 3, 3), **_NORM},
    ),
    "relu": ([node("Relu", "x", "v")], {}),
    "prelu per channel": ([node("PRelu", "x s", "v")], {"s": random(3, 1, 1)}),
    "prelu one slope": ([node("PRelu", "x s", "v")], {"s": random(1)}),
    "prelu broadcast": ([node("PRelu", "x s", "v")], {"s": random(3, 8, 8)}),
    "prelu last axis": ([node("PRelu", "x s", "v")], {"s": random(8)}),
    "leaky relu": ([node("LeakyRelu", "x", "v", alpha=0.2)], {}),
    "clip": ([node("Clip", "x low high", "v")], {"low": np.float32(0), "high": np.float32(0.5)}),
    "clip one side": ([node("Clip", "x - high", "v")], {"high": np.float32(0.5)}),
    "sigmoid": ([node("Sigmoid", "x", "v")], {}),
    "hard sigmoid": ([node("HardSigmoid", "x", "v", alpha=0.3, beta=0.4)], {}),
    "hard swish": ([node("HardSwish", "x", "v")], {}),
    "swish": ([node("Sigmoid", "x", "u"), node("Mul", "x u", "v")], {}),
    "add": ([node("Add", "x c", "v")], {"c": random(3, 1, 1)}),
    "sub from a constant": ([node("Sub", "c x", "v")], {"c": random(1, 3, 1, 8)}),
    "mul": ([node("Mul", "x c", "v")], {"c": np.float32(2)}),
    "div of two values": ([node("Exp", "x", "u"), node("Div", "x u", "v")], {}),
    "pow": ([node("Exp", "x", "u"), node("Pow", "u c", "v")], {"c": np.float32(1.5)}),
    "sqrt": ([node("Exp", "x", "u"), node("Sqrt", "u", "v")], {}),
    "gemm": (
        [node("Flatten", "x", "u"), node("Gemm", "u w b", "v", alpha=0.5, beta=2.0, transB=1)],
        {"w": random(5, 192), "b": random(5)},
    ),
    "gemm and batch norm": (
        [node("Flatten", "x", "u"), node("Gemm", "u w b", "t"), node("BatchNormalization", "t g b m s", "v")],
        {"w": random(192, 3), **_NORM},
    ),
    "matmul": ([node("Flatten", "x", "u"), node("MatMul", "u w", "v")], {"w": random(192, 5)}),
    "matmul of values": ([node("Transpose", "x", "u", perm=[0, 1, 3, 2]), node("MatMul", "x u", "v")], {}),
    "max pool": ([node("MaxPool", "x", "v", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "max pool uneven": ([node("MaxPool", "x", "v", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    "max pool ceil": ([node("MaxPool", "x", "v", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}),
    "average pool": ([node("AveragePool", "x", "v", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "average pool of zeros too": (
        [node("AveragePool", "x", "v", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 0], count_include_pad=1)],
        {},
    ),
    "global average pool": ([node("GlobalAveragePool", "x", "v")], {}),
    "flatten": ([node("Flatten", "x", "v", axis=1)], {}),
    "reshape -1 first": ([node("Reshape", "x s", "v")], {"s": _ints(-1, 3, 64)}),
    "reshape of the example's 1": ([node("Reshape", "x s", "v")], {"s": _ints(1, -1)}),
    "reshape with 0": ([node("Reshape", "x s", "v")], {"s": _ints(0, 0, -1)}),
    "transpose": ([node("Transpose", "x", "v", perm=[0, 2, 3, 1])], {}),
    "concat": ([node("Relu", "x", "u"), node("Concat", "x u", "v", axis=1)], {}),
    "concat from the end": ([node("Relu", "x", "u"), node("Concat", "x u", "v", axis=-1)], {}),
    "pad": ([node("Pad", "x p c", "v")], {"p": _ints(0, 0, 1, 2, 0, 1, 0, 3), "c": np.float32(0.5)}),
    "pad of axes": ([node("Pad", "x p - a", "v")], {"p": _ints(1, 2), "a": _ints(-1)}),
    "unsqueeze and squeeze": (
        [node("Unsqueeze", "x a", "u"), node("Squeeze", "u a", "v")], {"a": _ints(2)},
    ),
    "unsqueeze at the end": ([node("Unsqueeze", "x a", "v")], {"a": _ints(-1, 1)}),
    "reduce mean": ([node("ReduceMean", "x a", "v", keepdims=0)], {"a": _ints(2, -1)}),
    "reduce sum": ([node("ReduceSum", "x a", "v")], {"a": _ints(1)}),
    "reduce l2": ([node("ReduceL2", "x a", "u"), node("Div", "x u", "v")], {"a": _ints(1)}),
    "lp normalization": ([node("LpNormalization", "x", "v", axis=1, p=2)], {}),
    "softmax": ([node("Softmax", "x", "v", axis=1)], {}),
    "expand": (
        [node("ReduceL2", "x a", "u"), node("Expand", "u s", "t"), node("Div", "x t", "v")],
        {"a": _ints(1), "s": _ints(1, 3, 8, 8)},
    ),
    "dropout and identity": ([node("Dropout", "x", "u"), node("Identity", "u", "v")], {}),
    "cast to what it is": ([node("Cast", "x", "v", to=TensorProto.FLOAT)], {}),
    "constant node": (
        [node("Constant", "", "c", value=helper.make_tensor("", 1, [3, 1, 1], [1, 2, 3])), node("Mul", "x c", "v")], {},
    ),
    "weights worked out": (
        [node("Unsqueeze", "s a", "t"), node("Transpose", "t", "u", perm=[0, 2, 1]), node("Add", "x u", "v")],
        {"s": random(3, 1), "a": _ints(2)},
    ),
    "weights in blocks": (
        [
            node("DequantizeLinear", "q s z", "w", axis=1, block_size=4),
            node("Flatten", "x", "u"),
            node("MatMul", "u w", "v"),
        ],
        {
            "q": np.arange(192 * 6, dtype=np.uint8).astype(np.int8).reshape(192, 6),
            "s": np.abs(random(192, 2)), "z": np.full((192, 2), 3, np.int8),
        },
    ),
    "weights with one scale each": (
        [node("DequantizeLinear", "q s z", "w", axis=0), node("Conv", "x w", "v")],
        {
            "q": np.arange(4 * 27, dtype=np.int8).reshape(4, 3, 3, 3),
            "s": np.abs(random(4)), "z": np.arange(4, dtype=np.int8),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operator_says_what_the_reference_says(tmp_path: Path, case: str) -> None:
    """For several images, in a batch and alone, and again after it was saved and loaded."""
    nodes, constants = CASES[case]
    made = model([*nodes, _ROWS], constants)
    network = _convert(tmp_path, made)
    values = random(4, 3, 8, 8, seed=9)
    expected = refer(made, values)
    with torch.inference_mode():
        found = network(torch.from_numpy(values))
        alone = torch.cat([network(torch.from_numpy(row[None])) for row in values])
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(alone.numpy(), expected, rtol=2e-4, atol=2e-5)
    again = load_network(dump_program(network.program), safetensors.torch.save(network.state_dict()), "again")
    assert again.program == network.program
    with torch.inference_mode():
        assert torch.equal(again(torch.from_numpy(values)), found)


OLDER_CASES: dict[str, tuple[int, list[Any], dict[str, Array]]] = {
    "clip": (10, [node("Clip", "x", "v", min=0.0, max=0.5)], {}),
    "pad": (10, [node("Pad", "x", "v", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=1.0)], {}),
    "squeeze": (11, [node("Unsqueeze", "x", "u", axes=[1]), node("Squeeze", "u", "v", axes=[1])], {}),
    "reduce mean": (11, [node("ReduceMean", "x", "v", axes=[2, 3])], {}),
    "softmax": (11, [node("Softmax", "x", "v", axis=3)], {}),
}


@pytest.mark.parametrize("case", OLDER_CASES)
def test_older_files_keep_their_meaning(tmp_path: Path, case: str) -> None:
    """Where an operator took attributes before it took inputs, both are read."""
    opset, nodes, constants = OLDER_CASES[case]
    made = model([*nodes, _ROWS], constants, opset=opset)
    values = random(2, 3, 8, 8, seed=9)
    with torch.inference_mode():
        found = _convert(tmp_path, made)(torch.from_numpy(values))
    np.testing.assert_allclose(found.numpy(), refer(made, values), rtol=1e-5, atol=1e-6)


REFUSED: dict[str, tuple[list[Any], dict[str, Array], str]] = {
    "unknown operator": ([node("Gelu", "x", "v")], {}, r"node 'gelu-v' \(Gelu\).*allowed: Add, .*Unsqueeze"),
    "another domain": ([node("Relu", "x", "v", domain="com.example")], {}, "com.example.Relu"),
    "shape arithmetic": ([node("Shape", "x", "v")], {}, r"node 'shape-v' \(Shape\)"),
    "a shape worked out": ([node("Reshape", "x x", "v")], {}, "works out its input 1 while it runs"),
    "mixing the batch": ([node("ReduceMean", "x a", "v")], {"a": _ints(0)}, "0 is the batch"),
    "moving the batch": ([node("Transpose", "x", "v", perm=[1, 0, 2, 3])], {}, "0 first"),
    "joining images": ([node("Reshape", "x s", "v")], {"s": _ints(1, 3, 4)}, "keeps each row whole"),
    "batches joined": ([node("Concat", "x x", "v", axis=0)], {}, "0 is the batch"),
    "a constant for each image": ([node("Add", "x c", "v")], {"c": random(3, 3, 8, 8)}, "fit every row"),
    "quantised at run time": ([node("DequantizeLinear", "x s", "v")], {"s": np.float32(1)}, "weights alone"),
    "weights that are not there": ([node("Conv", "x w", "v")], {}, "no node before it makes"),
    "weights that do not fit": ([node("Conv", "x w", "v")], {"w": random(4, 5, 3, 3)}, "conv2d cannot take"),
    "too large a value": ([node("Pad", "x p", "v")], {"p": _ints(0, 0, 0, 0, 0, 0, 9000, 9000)}, "16,777,216"),
    "averages rounded up": (
        [node("AveragePool", "x", "v", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}, "floor",
    ),
    "training": ([node("BatchNormalization", "x g b m s", "v", training_mode=1)], _NORM, "inference mode"),
    "a graph inside": (
        [node("If", "c", "v", then_branch=model([], {}).graph, else_branch=model([], {}).graph)], {"c": np.array(True)},
        "graph of its own",
    ),
    "blocks that do not fit": (
        [node("DequantizeLinear", "q s", "w", axis=0, block_size=1 << 30), node("Add", "x w", "v")],
        {"q": np.zeros(8, np.int8), "s": random(8)}, "block_size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_allowed_is_refused_by_name(tmp_path: Path, case: str) -> None:
    """The error names the node, its operator, and what would be allowed."""
    nodes, constants, told = REFUSED[case]
    with pytest.raises(ArtifactError, match=told):
        _convert(tmp_path, model([*nodes, _ROWS], constants))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (model([_ROWS], {"v": random(2, 2)}), "does not depend on the picture|one of each"),
        (model([node("Relu", "x", "y")], {}), r"gives \(n, 3, 8, 8\)"),
        (model([node("Flatten", "x", "y")], {}, ("n", 8, 8, 3)), "batch, channels, height, width"),
        (model([node("Flatten", "x", "y")], {}, (4, 3, 8, 8)), "1 or any"),
        (model([node("Flatten", "x", "y")], {}, ("n", 3, 16, 16)), "3, 8, 8"),
        (model([node("Flatten", "x", "y")], {}, kind=TensorProto.DOUBLE), "float32"),
        (model([node("Flatten", "x", "y")], {}, opset=6), "opset 6; allowed: 7 to 24"),
        (model([node("Flatten", "x", "y")], {}, output="z"), "does not depend"),
    ],
)
def test_only_one_image_in_and_one_row_out(tmp_path: Path, made: Any, told: str) -> None:
    """Other inputs and outputs are told with their shape."""
    with pytest.raises(ArtifactError, match=told):
        _convert(tmp_path, made)


def test_sizes_that_the_file_leaves_open_are_those_of_the_crop(tmp_path: Path) -> None:
    """A file exported with free axes is taken as well."""
    network = _convert(tmp_path, model([node("Flatten", "x", "y")], {}, ("n", 3, "h", "w")))
    assert network.program.dimensions == 192


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x80\x04K\x01.", b"\xff" * 64])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Also an empty one, and a pickle."""
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx"):
        open_onnx(tmp_path / "x.onnx")


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="no /proc: a file that cannot be read stays untried")
def test_a_file_that_cannot_be_read_is_told() -> None:
    """It is there, and reading fails: a disk that is broken, or somebody else's file."""
    with pytest.raises(ArtifactError, match="mem: cannot be read"):
        open_onnx(Path("/proc/self/mem"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(sorted(CASES)), at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_file_is_converted_or_refused(tmp_path: Path, case: str, at: float, byte: int) -> None:
    """Whatever one byte is changed to: our own error comes out, or a network that gives each image a row of its own."""
    nodes, constants = CASES[case]
    content = bytearray(model([*nodes, _ROWS], constants).SerializeToString())
    content[int(at * len(content))] = byte
    (tmp_path / "x.onnx").write_bytes(content)
    try:
        network = convert(open_onnx(tmp_path / "x.onnx"), 8)
    except ArtifactError as error:
        assert error.args[0].startswith("x.onnx")  # noqa: PT017 - either end is right
        return
    values = torch.from_numpy(random(2, 3, 8, 8))
    with torch.inference_mode():
        together, alone = network(values), network(values[1:])
    assert together.shape == (2, network.program.dimensions)
    torch.testing.assert_close(together[1:], alone, equal_nan=True, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "sub/w.bin", "", "link.bin"])
def test_weights_elsewhere_are_never_read(tmp_path: Path, location: str) -> None:
    """Neither above the file's folder nor below it, nor through a link."""
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = write(folder / "x.onnx", with_external_data(small_embedder(), "w", location))
    with pytest.raises(ArtifactError, match="weight 'w' cannot be read"):
        open_onnx(path)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    """The usual way to keep a large network."""
    made = small_embedder()
    expected = next(t for t in made.graph.initializer if t.name == "bias").raw_data
    (tmp_path / "weights.bin").write_bytes(expected)
    graph = open_onnx(write(tmp_path / "x.onnx", with_external_data(made, "bias", "weights.bin")))
    assert graph.constants["bias"].tobytes() == expected


def test_the_general_way_gives_our_own_sface(face_weights: Mapping[str, Path]) -> None:
    """The converter and the port by hand agree on faces, so neither has a mistake that the other lacks."""
    path = face_weights["sface"]
    ours = convert(open_onnx(path), 112)
    by_hand = fuse(build_sface(read_weights(path), path.name))
    crops = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        cosine = torch.cosine_similarity(ours(crops), by_hand(crops))
    assert cosine.min() >= 0.99999
    assert {step.op for step in ours.program.steps} == {"sub", "mul", "conv2d", "prelu", "affine", "reshape", "linear"}


def test_an_imported_network_can_be_exported_with_any_batch(tmp_path: Path) -> None:
    """Compilers need nothing but the module."""
    network = _convert(tmp_path, small_embedder(), 112)
    values = torch.from_numpy(random(3, 3, 112, 112))
    exported = torch.export.export(network, (values,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    torch.testing.assert_close(exported.module()(values[:2]), network(values[:2]))


def test_batch_norms_are_folded_and_unused_weights_left_out(tmp_path: Path) -> None:
    """What is kept is what runs."""
    network = _convert(tmp_path, small_embedder(), 112)
    assert [step.op for step in network.program.steps] == ["conv2d", "relu", "average_pool", "reshape", "linear"]
    assert len(network.state_dict()) == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"conv2d"', '"eval"'),
        ('"relu"', '"__class__"'),
        ('"schema": 1', '"schema": 2'),
        ('"groups": 1', '"groups": 1.5'),
        ('"groups": 1', '"groups": true'),
        ('"groups": 1', '"groups": 99999999999'),
        ('"groups": 1', '"groups": 1, "out": 1'),
        ('"input",\n', '"v99",\n'),
        ('"output": "v1"', '"output": "v0"'),
        ('"output": "v1"', '"output": "self"'),
        ('"dimensions": 16', '"dimensions": 17'),
        ('"steps": [', '"steps": [[],'),
        ("{", "["),
    ],
)
def test_a_program_that_was_changed_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """Nothing outside of the table can be named, and shapes are checked before anything is computed."""
    network = _convert(tmp_path, small_embedder(), 112)
    text = dump_program(network.program).decode("ascii")
    assert old in text
    with pytest.raises(ArtifactError, match=r"network\.json"):
        load_network(text.replace(old, new, 1).encode(), safetensors.torch.save(network.state_dict()), "network.json")


def _step(op: str, inputs: str, **options: object) -> dict[str, Any]:
    return {"op": op, "inputs": inputs.split(), "output": "", "options": options}


def _conv(**changes: object) -> dict[str, Any]:
    return _step(
        "conv2d", "input w0", **{"stride": [1, 1], "pads": [0] * 4, "dilation": [1, 1], "groups": 1, **changes}
    )


_MEAN = _step("mean", "input", axes=[2, 3], keep=0)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([_MEAN, _step("softmax", "v0", axis=0)], "axis 0, which is the batch"),
        ([_MEAN, _step("softmax", "v0", axis=-2)], "axis 0, which is the batch"),
        ([_MEAN, _step("transpose", "v0", order=[1, 0])], "axis 0, which is the batch"),
        ([_MEAN, _step("pad", "v0", pads=[0, 0, 1, -1], value=0.0)], "axis 0, which is the batch"),
        ([_MEAN, _step("matmul", "v0 v0")], "rows would be multiplied"),
        ([_MEAN, _step("matmul", "w0 v0")], "the first input is a weight"),
        ([_MEAN, _step("linear", "v0 v0")], "each other's place"),
        ([_MEAN, _step("add", "v0 w0")], "an axis for the batch"),
        ([_MEAN, _step("concat", "v0 w0", axis=1)], "each other's place"),
        (
            [_MEAN, _step("sum", "input", axes=[3], keep=0), _step("add", "v0 v1")],
            "different numbers of axes",
        ),
        (
            [_step("sum", "input", axes=[1], keep=0),
             _step("max_pool", "v0", kernel=[1, 3], stride=[1, 1], pads=[0, 0, 0, 0], dilation=[1, 1]),
             _step("reshape", "v1", shape=[3])],
            "on 3 axes",
        ),
    ],
)  # fmt: skip
def test_a_program_that_mixes_the_faces_of_a_batch_is_refused(steps: list[dict[str, Any]], told: str) -> None:
    """Also one whose shapes fit by chance: three channels look like a batch of three."""
    named = [step | {"output": f"v{at}"} for at, step in enumerate(steps)]
    told_of = {"schema": 1, "input": [3, 1, 3], "dimensions": 3, "steps": named, "output": named[-1]["output"]}
    used = any("w0" in step["inputs"] for step in named)
    weights = safetensors.torch.save({"w0": torch.ones(3, 3)} if used else {})
    with pytest.raises(ArtifactError, match=told):
        load_network(json.dumps(told_of).encode(), weights, "network.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input": [-3, 8, 8]}, "1 or more each"),
        ({"input": [3, 1 << 23, 8]}, "in all"),
        ({"steps": [_step("clip", "input", low=10**400, high=1)]}, "too large"),
        ({"steps": [_conv(stride=[0, 0])]}, "conv2d"),
        ({"steps": [_conv(stride=[1 << 24] * 2, pads=[1 << 22, 0, 1, 0])]}, "numbers a row"),
        ({"steps": [_conv(pads=[-1] * 4)]}, "0 or more"),
    ],
)
def test_a_program_with_senseless_numbers_is_refused(change: dict[str, Any], told: str) -> None:
    """Sizes, strides and paddings that no network has: our own error, and no memory is taken."""
    program = {"schema": 1, "input": [3, 8, 8], "dimensions": 4, "steps": [_MEAN], "output": "v0"} | change
    program["steps"] = [step | {"output": "v0"} for step in program["steps"]]
    weights = safetensors.torch.save({"w0": torch.ones(4, 3, 2, 2)})
    with pytest.raises(ArtifactError, match=told):
        load_network(json.dumps(program).encode(), weights, "network.json")


def test_constants_that_double_at_every_node_are_refused(tmp_path: Path) -> None:
    """Forty nodes of a small file would fill any memory."""
    nodes = [node("Concat", f"c{at} c{at}", f"c{at + 1}", axis=0) for at in range(40)]
    with pytest.raises(ArtifactError, match="numbers"):
        _convert(tmp_path, model([*nodes, node("Add", "x c40", "v"), _ROWS], {"c0": random(4096)}))


def test_constants_that_many_nodes_make_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is small enough, and all of them are not; views of one array are no new ones."""
    monkeypatch.setattr("tessera.nets.onnx_graph.MAX_ELEMENTS", 1000)
    constants, used = {"c": random(8, 8)}, node("Add", "x t0", "v")
    views = [node("Transpose", "c", f"t{at}") for at in range(20)]
    sums = [node("Add", f"t{at} c", f"s{at}") for at in range(20)]
    assert _convert(tmp_path, model([*views, used, _ROWS], constants)).program.dimensions == 192
    with pytest.raises(ArtifactError, match=r"add-s15.*brings the constants to more than 1,000"):
        _convert(tmp_path, model([*views, *sums, used, _ROWS], constants))


def test_one_weight_that_many_nodes_take_counts_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them keeps a copy of its own."""
    monkeypatch.setattr("tessera.nets.graph_builder.MAX_NUMBERS", 200)
    constants = {"c": random(3, 8, 8)}
    assert _convert(tmp_path, model([node("Add", "x c", "v"), _ROWS], constants)).program.dimensions == 192
    with pytest.raises(ArtifactError, match=r"mul-v.*brings the weights to more than 200"):
        _convert(tmp_path, model([node("Add", "x c", "u"), node("Mul", "u c", "v"), _ROWS], constants))


@pytest.mark.parametrize(("count", "fits"), [(2, True), (3, False)])
def test_the_weights_of_a_file_have_a_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, *, fits: bool
) -> None:
    """A thousand weights may name the one large file beside the network."""
    monkeypatch.setattr("tessera.nets.onnx_file.MAX_FILE_BYTES", 10_000)
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    made = model([node("Flatten", "x", "y")], {f"w{at}": random(1024) for at in range(count)})
    for at in range(count):
        made = with_external_data(made, f"w{at}", "w.bin")
    path = write(tmp_path / "x.onnx", made)
    if fits:
        assert len(open_onnx(path).constants) == count
    else:
        with pytest.raises(ArtifactError, match="more than 10,000 bytes together"):
            open_onnx(path)


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    """A pickle is not opened; numbers that are not finite, or that nothing uses, are told."""
    network = _convert(tmp_path, small_embedder(), 112)
    program, weights = dump_program(network.program), network.state_dict()
    first = next(iter(weights))
    for wrong in (
        b"\x80\x04K\x01.",
        safetensors.torch.save({**weights, "w999": torch.ones(1)}),
        safetensors.torch.save({key: value for key, value in weights.items() if key != first}),
        safetensors.torch.save({**weights, first: weights[first] * float("nan")}),
        safetensors.torch.save({**weights, first: weights[first].double()}),
    ):
        with pytest.raises(ArtifactError, match="mine"):
            load_network(program, wrong, "mine")


def test_networks_with_the_same_weights_and_other_steps_are_told_apart(tmp_path: Path) -> None:
    """What was compiled for one is never taken for the other: its key is the module's text and weights."""
    relu = _convert(tmp_path, model([node("Relu", "x", "v"), _ROWS], {}))
    sigmoid = _convert(tmp_path, model([node("Sigmoid", "x", "v"), _ROWS], {}))
    assert repr(relu) != repr(sigmoid)
    assert repr(relu) == repr(_convert(tmp_path, model([node("Relu", "x", "v"), _ROWS], {})))


def test_the_order_in_which_weights_are_read_says_nothing(tmp_path: Path) -> None:
    """Safetensors gives them in another order in each process: what was compiled by one is found by all."""
    network = _convert(tmp_path, small_embedder(), 112)
    weights = dict(network.state_dict())
    either = [ImportedNetwork(network.program, given, "x") for given in (weights, dict(reversed(weights.items())))]
    assert list(either[0].state_dict()) == list(either[1].state_dict())
    assert network_key(either[0]) == network_key(either[1])
