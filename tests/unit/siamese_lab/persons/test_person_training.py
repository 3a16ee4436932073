"""Training goes on where it was, and a run becomes an encoder that `tessera lab reid` judges."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from person_world import TINY, archive_of, crop_of
from torch import Tensor, nn

from siamese_lab.__main__ import lab
from siamese_lab.networks.mobilenet import mobilenet_trunk
from siamese_lab.persons.__main__ import load_recipe
from siamese_lab.persons.data import Split, read_con_reid
from siamese_lab.persons.export import calibration_people, export, load_run
from siamese_lab.persons.judging import Validation, embed_crops
from siamese_lab.persons.network import PersonNetwork
from siamese_lab.persons.training import train
from siamese_lab.training.strict_yaml import parse
from siamese_lab.training.typed_reading import plain
from tessera.chassis.encoder_folders import ENCODERS_DIR_VARIABLE
from tessera.domain.artifact import load_calibration_for, load_manifest
from tessera.domain.embedding import Modality
from tessera.nets.person import load_person_network


def _trunk() -> Mapping[str, Tensor]:
    """Of batch norms that know pictures: without them nothing of a picture would come through an untrained trunk."""
    torch.manual_seed(5)
    trunk = mobilenet_trunk(fine=True)
    for layer in trunk.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        trunk.train()(torch.randn(8, 3, 128, 64))
    made: Mapping[str, Tensor] = trunk.state_dict()
    return made


def _nothing(_: PersonNetwork) -> Mapping[str, float]:
    return {}


class _UnpluggedError(Exception):
    """Somebody pulled the plug."""


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Cut off after two of three steps, and taken up again: bit for bit what a run in one piece gives."""
    people = read_con_reid(archive_of(tmp_path, {Split.TRAIN: range(1, 4)}, 3), Split.TRAIN)

    def cut_off(line: str) -> None:
        if json.loads(line)["step"] == 2:
            raise _UnpluggedError

    whole = train(TINY, people, _trunk(), tmp_path / "whole", judge=_nothing, told=lambda _: None)
    with pytest.raises(_UnpluggedError):
        train(TINY, people, _trunk(), tmp_path / "cut", judge=_nothing, told=cut_off)
    resumed = train(TINY, people, _trunk(), tmp_path / "cut", judge=_nothing, told=lambda _: None)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "history.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_run_becomes_an_encoder_that_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifest, network and calibration are read by what serves; the lab's command finds it by name."""
    archive = archive_of(
        tmp_path, {Split.TRAIN: range(1, 4), Split.PROBES: range(7, 10), Split.GALLERY: range(7, 11)}, 4
    )
    one = replace(TINY, steps=1)
    people = read_con_reid(archive, Split.TRAIN)
    train(one, people, _trunk(), tmp_path / "run", judge=_nothing, told=lambda _: None)
    folders = tmp_path / "encoders"
    manifest, calibration = export(
        tmp_path / "run", tmp_path, "person-tiny-1", folders, datetime(2026, 11, 23, tzinfo=UTC)
    )
    read = load_manifest("person-tiny-1", (folders,))
    assert (read.model_id, read.modality, read.detector) == (manifest.model_id, Modality.PERSON, None)
    assert load_calibration_for("person-tiny-1", (folders,)) == calibration
    assert calibration.data.samples == len(calibration_people(archive).person) == 28

    trained, reached = load_run(tmp_path / "run", tmp_path)
    crops = np.stack([crop_of(person, np.random.default_rng(0)) for person in range(3)])
    served = embed_crops(load_person_network(read), crops)
    np.testing.assert_allclose(served, embed_crops(trained, crops), atol=1e-4)
    assert reached == "step 1 of 1, head in closed form"

    pictures = tmp_path / "pictures"
    shutil.unpack_archive(archive, pictures)
    monkeypatch.setenv(ENCODERS_DIR_VARIABLE, str(folders))
    command = ["reid", "con-reid", "--data", str(pictures / "con-reid"), "--threads", "1", "--rerank"]
    told = CliRunner().invoke(lab, [*command, "--encoder", "person-tiny-1", "--json", str(tmp_path / "figures.json")])
    assert told.exit_code == 0, told.output
    assert "12 probes in a gallery of 16" in told.output
    assert "re-ranked" in told.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["encoder"] == manifest.model_id
    assert figures["cross_domain"] is False
    unknown = CliRunner().invoke(lab, [*command, "--encoder", "person-nobody"])
    assert "person-tiny-1, imagenet" in str(unknown.exception)


def test_the_shipped_recipe_says_everything() -> None:
    """Every field stands in the file, so that a changed default changes no training that is repeated."""
    told = parse((files("siamese_lab") / "recipes/persons/con-reid.yaml").read_text(encoding="utf-8"), "con-reid.yaml")
    assert plain(load_recipe()) == told


def test_validation_looks_three_times(tmp_path: Path) -> None:
    """Crops as they are, without bars, and by other cameras, on pictures that are no probe and gallery at once."""
    people = read_con_reid(archive_of(tmp_path, {Split.TRAIN: range(1, 4)}, 6), Split.TRAIN)
    torch.manual_seed(1)
    told = Validation(people).judge(PersonNetwork(8).eval())
    assert set(told) == {"map", "map_unboxed", "map_shifted"}
    assert all(0.0 < rate <= 1.0 for rate in told.values())
