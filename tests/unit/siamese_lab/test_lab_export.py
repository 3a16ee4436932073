"""An exported run: the service's embedding is the lab's, and `tessera encoder import` takes the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from unit.siamese_lab.lab_world import recipe, training_data

from encoder_svc.faces.pipeline import FacePipeline
from siamese_lab.evaluation.embedding import embed
from siamese_lab.export import export_run
from siamese_lab.networks import NETWORKS, Initialisation, build, initialise
from siamese_lab.tracing import trace
from siamese_lab.training.loop import Trained, train
from siamese_lab.training.run_folder import RunFolder
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.cli.__main__ import main
from tessera.domain.artifact import SourceFile, load_calibration_for, load_manifest
from tessera.domain.errors import ArtifactError, InvalidInputError
from tessera.nets.artifact import load_face_networks
from tessera.nets.graph import ImportedNetwork, dump_program, load_network


def _bring(source: SourceFile) -> Path:
    return bring_weights(default_cache_dir(), default_supplied_dir(), source)


def _run(root: Path, channels: int = 1, changes: dict[str, Any] | None = None) -> tuple[RunFolder, Trained]:
    # 16 pixels: an aligned face of 112 has seven times as many
    short = {"training": {"epochs": 1}, "data": {"channels": channels}}
    run = RunFolder.begin(root / "runs", recipe({**short, **(changes or {})}), 0)
    return run, train(run, training_data(channels))


def _crops(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    rng = np.random.default_rng(3)
    return [
        cv2.GaussianBlur(rng.uniform(0.0, 255.0, (112, 112, 3)), (5, 5), 2.0).astype(np.uint8) for _ in range(count)
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_service_embeds_as_the_lab_does(channels: int, tmp_path: Path) -> None:
    """The same aligned faces, through the service's own pipeline and through the trained network."""
    run, trained = _run(tmp_path, channels)
    made = export_run(run, training_data(channels), "face-lab-1", "MIT", tmp_path / "encoders")
    manifest = load_manifest("face-lab-1", [tmp_path / "encoders"])
    assert manifest == made.manifest
    pipeline = FacePipeline(manifest, load_face_networks(manifest, _bring, default_cache_dir()))
    crops = _crops(4)
    served = pipeline.embed(crops)

    seen = np.stack([crop[:, :, ::-1] for crop in crops]).astype(np.float64) / 255.0
    if channels == 1:
        seen = (seen * [0.299, 0.587, 0.114]).sum(axis=3, keepdims=True)
    small = seen.reshape(len(crops), 16, 7, 16, 7, channels).mean(axis=(2, 4))
    with torch.inference_mode():
        direct = trained.network(torch.from_numpy(small.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    direct /= np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(served, direct, atol=2e-5)
    assert np.ptp(served, axis=0).max() > 0.01


def test_a_calibration_and_a_card_lie_beside_it(tmp_path: Path) -> None:
    """Measured on the test part, under the encoder's model id; the card says what it is and what it is not."""
    run, trained = _run(tmp_path)
    made = export_run(run, training_data(), "face-lab-1", "MIT", tmp_path / "encoders")
    calibration = load_calibration_for("face-lab-1", [tmp_path / "encoders"])
    assert calibration is not None
    assert calibration.model_id == made.manifest.model_id
    test = training_data().test
    assert (calibration.data.samples, calibration.data.subjects) == (len(test), 4)
    vectors = embed(trained.network, test.images)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (vectors @ vectors.T)[np.triu_indices(len(test), 1)]
    others = (test.labels[:, None] != test.labels)[np.triu_indices(len(test), 1)]
    point = calibration.points[len(calibration.points) // 2]
    assert np.mean(scores[others] >= point.threshold) == pytest.approx(point.fmr, abs=0.01)
    card = (made.folder / "model_card.md").read_text("utf-8")
    for words in (made.manifest.model_id, "trial", "MIT", "not a person"):
        assert words in card
    assert sorted(path.name for path in (tmp_path / "encoders").iterdir()) == ["face-lab-1"]


def test_the_import_takes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of its files, checked; a second time, or with a byte changed, it is refused and nothing is left."""
    run, _ = _run(tmp_path)
    made = export_run(run, training_data(), "face-lab-1", "MIT", tmp_path / "encoders")
    into = tmp_path / "imported"
    command = ["encoder", "import", str(made.folder), "--into", str(into), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model_id"], told["calibrated"]) == (made.manifest.model_id, True)
    assert {path.name: path.read_bytes() for path in (into / "face-lab-1").iterdir()} == {
        path.name: path.read_bytes() for path in made.folder.iterdir()
    }
    assert main(command) == 3
    weights = made.folder / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    other = tmp_path / "other"
    assert main([*command[:4], str(other), "--json"]) == 3
    assert "sha256" in capsys.readouterr().err
    assert not other.exists() or not list(other.iterdir())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_written_down(name: str) -> None:
    """As steps that are saved, loaded and give the same numbers; also with everything that has an option."""
    shape = (3, 32, 32)
    options = {"lenet5": {"activation": "tanh", "pooling": "average", "batch_norm": True, "dropout": 0.3},
               "triplet-cnn": {"unit_length": True}, "dense": {"batch_norm": True, "hidden": 32},
               "wide-resnet": {"width": 8}, "vgg": {"width": 8}}.get(name, {})  # fmt: skip
    network = build(name, shape, options)  # type: ignore[arg-type]
    initialise(network, Initialisation.XAVIER, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.prepare(torch.rand(64, *shape, generator=generator))
        network.train()(torch.rand(8, *shape, generator=generator))
    network.eval()
    program, weights = trace(network)
    loaded = load_network(dump_program(program), safetensors.torch.save(weights), name)
    pictures = torch.rand(3, *shape, generator=generator)
    with torch.inference_mode():
        wanted = network(pictures)
        torch.testing.assert_close(loaded(pictures), wanted, atol=1e-4 * float(wanted.abs().max()), rtol=1e-3)


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    """A picture that cannot be brought to the network's size, steps that no service takes, a name that is taken."""
    network = build("lenet5", (1, 30, 30), {})
    with pytest.raises(InvalidInputError, match="whole multiples of 30 x 30"):
        trace(network, (3, 112, 112))
    run, _ = _run(tmp_path)
    with pytest.raises(InvalidInputError, match="--name"):
        export_run(run, training_data(), "Not A Name", "MIT", tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InvalidInputError, match="free"):
        export_run(run, training_data(), "taken", "MIT", tmp_path)
    unfinished = RunFolder.begin(tmp_path / "more", recipe(), 0)
    with pytest.raises(InvalidInputError, match="come to its end"):
        export_run(unfinished, training_data(), "face-lab-2", "MIT", tmp_path)
    prepared = RunFolder.begin(tmp_path / "more", recipe({"name": "other", "data": {"steps": ["otsu"]}}), 0)
    with pytest.raises(InvalidInputError, match="no service takes such steps"):
        export_run(prepared, training_data(), "face-lab-2", "MIT", tmp_path)


def test_a_layer_that_no_step_stands_for_is_named() -> None:
    """Rather than written down as something else."""
    network = build("lenet5", (1, 28, 28), {})
    network.layers.activation1 = torch.nn.Softsign()  # type: ignore[union-attr]
    with pytest.raises(ArtifactError, match="Softsign"):
        trace(network)


def test_a_gray_network_sees_luminance() -> None:
    """Colours of the same luminance are the same to it."""
    network = build("dense", (1, 28, 28), {"hidden": 16})
    initialise(network, Initialisation.XAVIER, torch.Generator().manual_seed(0))
    loaded = ImportedNetwork(*trace(network, (3, 28, 28)), "dense")
    gray = torch.full((1, 3, 28, 28), 0.587 * 0.4)
    green = torch.zeros(1, 3, 28, 28)
    green[:, 1] = 0.4
    torch.testing.assert_close(loaded(gray), loaded(green), atol=1e-6, rtol=1e-5)
