"""MiniFASNet: the published layouts, loaded from files that are checked. Weights are drawn at random: none are at hand.

What stays unproved: that published weights load, and everything about error rates.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import helper, numpy_helper

from tessera.domain.errors import ArtifactError
from tessera.domain.observation import Box
from tessera.imaging.pad_crop import PAD_CROP_PX, crop_around
from tessera.nets.minifasnet import CROP_PX, V1SE, V2, Layout, MiniFASNet, load_pad


def _random(layout: Layout) -> MiniFASNet:
    torch.manual_seed(3)
    module = MiniFASNet(layout).eval()
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bn.bias")):
            value.normal_(0, 0.1)
    return module


def _written(path: Path, content: bytes) -> tuple[Path, str]:
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def _as_onnx(state: dict[str, torch.Tensor]) -> bytes:
    initializers = [numpy_helper.from_array(value.numpy(), name) for name, value in state.items()]
    graph = helper.make_graph([], "weights", [], [], initializers)
    return helper.make_model(graph).SerializeToString()


def _crops(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (CROP_PX, CROP_PX, 3)).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("layout", "millions"), [(V2, 0.43), (V1SE, 0.41)])
def test_the_layouts_have_their_published_size(layout: Layout, millions: float) -> None:
    """The project states 0.43 and 0.41 million parameters; squeeze and excitation add 10,000 to the latter."""
    count = sum(value.numel() for value in MiniFASNet(layout).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.015)


def test_the_parameters_have_the_projects_names() -> None:
    """A few from each part; a checkpoint's names decide which layout it is."""
    names = set(MiniFASNet(V1SE).state_dict())
    assert {
        "conv1.conv.weight",
        "conv2_dw.prelu.weight",
        "conv_23.conv_dw.bn.running_mean",
        "conv_3.model.3.se_module.fc1.weight",
        "conv_4.model.5.project.bn.bias",
        "conv_5.model.1.se_module.bn2.weight",
        "conv_6_sep.conv.weight",
        "conv_6_dw.bn.weight",
        "linear.weight",
        "bn.running_var",
        "prob.weight",
    } <= names
    assert "conv_3.model.2.se_module.fc1.weight" not in names


@pytest.mark.parametrize("layout", [V2, V1SE])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_come_back_from_both_kinds_of_file(tmp_path: Path, layout: Layout, prefix: str) -> None:
    """The same chances from safetensors, from ONNX, and from the network itself; also with a trainer's prefix."""
    module = _random(layout)
    state = {prefix + name: value for name, value in module.state_dict().items()}
    files = {
        "weights.safetensors": safetensors.torch.save(state),
        "weights.onnx": _as_onnx({name: value for name, value in state.items() if "num_batches" not in name}),
    }
    crops = _crops()
    with torch.inference_mode():
        values = torch.from_numpy(np.stack(crops).astype(np.float32).transpose(0, 3, 1, 2).copy())
        expected = module(values).softmax(1)[:, 1].numpy()
    for name, content in files.items():
        network = load_pad(*_written(tmp_path / name, content))
        found = network.bona_fide(crops)
        assert (network.layout, network.scale) == (layout, layout.scale)
        assert found.dtype == np.float32
        assert found.shape == (3,)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_crops_have_no_chances(tmp_path: Path) -> None:
    """And a crop of another size is refused."""
    state = safetensors.torch.save(_random(V2).state_dict())
    network = load_pad(*_written(tmp_path / "weights.safetensors", state))
    assert network.bona_fide([]).shape == (0,)
    with pytest.raises(ValueError, match="80"):
        network.bona_fide([np.zeros((112, 112, 3), np.uint8)])


def test_another_file_than_was_meant_is_never_parsed(tmp_path: Path) -> None:
    """The sha256 decides before a byte is interpreted; the error names both."""
    path, sha256 = _written(tmp_path / "weights.onnx", b"anything")
    with pytest.raises(ArtifactError, match=f"sha256 is {sha256}; expected: {'0' * 64}"):
        load_pad(path, "0" * 64)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("weights.pth", b"\x80\x02", "pickles are never read"),
        ("weights.safetensors", b"\x00" * 40, "is no safetensors file"),
        ("weights.onnx", b"\xff\xff\xff", "is no ONNX file"),
    ],
)
def test_what_is_no_weight_file_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """Each by what is wrong with it."""
    with pytest.raises(ArtifactError, match=told):
        load_pad(*_written(tmp_path / name, content))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(ArtifactError, match=r"absent\.onnx.*cannot be read"):
        load_pad(tmp_path / "absent.onnx", "0" * 64)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s | {"extra": torch.zeros(1)}, r"1 left over \(such as \['extra'\]\)"),
        (lambda s: {k: v for k, v in s.items() if k != "prob.weight"}, r"1 parameters missing .*prob\.weight"),
        (lambda s: s | {"prob.weight": torch.zeros(2, 128)}, r"prob\.weight has shape \(2, 128\)"),
        (lambda s: s | {"prob.weight": torch.full((3, 128), float("nan"))}, "not finite"),
    ],
)
def test_weights_of_another_network_are_told(tmp_path: Path, change: object, told: str) -> None:
    """The parameter that does not fit is named."""
    state = change(dict(_random(V2).state_dict()))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=told):
        load_pad(*_written(tmp_path / "weights.safetensors", safetensors.torch.save(state)))


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    """An ONNX file may point to others, which nobody has checked."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "prob.weight")
    onnx.external_data_helper.set_external_data(tensor, "elsewhere.bin")
    graph = helper.make_graph([], "weights", [], [], [tensor])
    with pytest.raises(ArtifactError, match="other files"):
        load_pad(*_written(tmp_path / "weights.onnx", helper.make_model(graph).SerializeToString()))


def _cut_short() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "prob.weight")
    tensor.raw_data = tensor.raw_data[:-1]
    return tensor


@pytest.mark.parametrize("tensor", [_cut_short(), numpy_helper.from_array(np.array(["x"], object), "prob.weight")])
def test_a_parameter_that_cannot_be_read_is_told(tmp_path: Path, tensor: onnx.TensorProto) -> None:
    """Bytes that are missing, and text: the sha256 tells whose file it is, not that it is whole."""
    graph = helper.make_graph([], "weights", [], [], [tensor])
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_pad(*_written(tmp_path / "weights.onnx", helper.make_model(graph).SerializeToString()))


def test_the_crop_surrounds_the_face() -> None:
    """At scale 2.7 a 40 pixel box in the middle of a picture shows 108 pixels, centred."""
    assert PAD_CROP_PX == CROP_PX
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, :] = np.arange(400)[None, :, None] // 2
    crop = crop_around(image, Box(180, 180, 40, 40), 2.7)
    assert crop.shape == (80, 80, 3)
    assert crop[40, 0, 0] * 2 == pytest.approx(146, abs=4)
    assert crop[40, -1, 0] * 2 == pytest.approx(254, abs=4)


@pytest.mark.parametrize("box", [Box(-30, -30, 60, 60), Box(380, 390, 60, 60), Box(0, 0, 400, 300), Box(10, 10, 0, 0)])
def test_the_crop_stays_inside_the_picture(box: Box) -> None:
    """At an edge it is shifted, and for a face as large as the picture it is made smaller: no black is seen."""
    crop = crop_around(np.full((300, 400, 3), 9, np.uint8), box, 4.0)
    assert crop.shape == (80, 80, 3)
    assert crop.min() == 9
