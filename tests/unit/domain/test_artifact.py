"""Manifests: the model id stands for every fact that decides an embedding."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.domain.artifact import (
    Channels,
    CropSize,
    ImportedGraph,
    available_encoders,
    load_calibration_for,
    load_manifest,
    model_id_of,
    parse_manifest,
    read_input,
)
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, InvalidInputError, NotFoundError
from tessera.domain.own_encoder import parse_own_encoder


def _shipped() -> str:
    return (resources.files("tessera") / "artifacts" / "face-sface-1" / "manifest.json").read_text(encoding="utf-8")


def test_the_shipped_encoder_can_be_read() -> None:
    """Its facts are those of the model card, and its id carries its name."""
    manifest = load_manifest("face-sface-1")
    assert "face-sface-1" in available_encoders()
    assert (manifest.modality, manifest.dimensions) == (Modality.FACE, 128)
    assert manifest.model_id.startswith("face-sface-1@")


def test_an_unknown_encoder_is_told_with_those_that_exist() -> None:
    """The error helps to correct a name."""
    with pytest.raises(NotFoundError, match="face-sface-1"):
        load_manifest("face-sface-0")


@pytest.mark.parametrize("fact", ["dimensions", "crop_px", "preprocessing", "detector", "embedder"])
def test_every_fact_is_part_of_the_model_id(fact: str) -> None:
    """Two encoders that differ in one fact never share an id."""
    raw = json.loads(_shipped())
    changed = raw | {fact: "another"}
    assert model_id_of(changed) != raw["model_id"]


def test_a_manifest_whose_facts_were_changed_is_refused() -> None:
    """The id is checked at load, so that a hand-edited manifest does not pass for the measured model."""
    raw = json.loads(_shipped()) | {"preprocessing": "face-112-9"}
    with pytest.raises(ArtifactError, match="model_id"):
        parse_manifest(json.dumps(raw), "manifest.json")


def _of_others(**changed: object) -> str:
    facts = {key: value for key, value in json.loads(_shipped()).items() if key not in {"detector", "template"}}
    facts |= {"schema": 3, "name": "signature-test", "modality": "SIGNATURE", "crop_px": [96, 256]} | changed
    return json.dumps(facts | {"model_id": model_id_of(facts)})


def test_an_encoder_without_a_detector_has_samples_of_any_shape() -> None:
    """Schema 3 is of encoders whose samples are no squares; what it leaves out is not asked for."""
    manifest = parse_manifest(_of_others(), "manifest.json")
    assert (manifest.crop, manifest.detector) == (CropSize(96, 256), None)
    assert manifest.sources == (manifest.embedder,)


@pytest.mark.parametrize("crop", [112, [96], [96, 0], [96, 256, 3], ["96", 256], None])
def test_a_crop_that_is_no_height_and_width_is_refused_by_name(crop: object) -> None:
    """The error names the field."""
    with pytest.raises(ArtifactError, match="crop_px"):
        parse_manifest(_of_others(crop_px=crop), "manifest.json")


def test_what_is_no_manifest_is_refused() -> None:
    """Missing facts and other schemas are named."""
    with pytest.raises(ArtifactError, match="schema"):
        parse_manifest('{"schema": 4}', "manifest.json")
    with pytest.raises(ArtifactError, match="schema"):
        parse_manifest("[]", "manifest.json")
    with pytest.raises(ArtifactError, match="name"):
        parse_manifest('{"schema": 1}', "manifest.json")


def test_a_shipped_calibration_belongs_to_the_shipped_model() -> None:
    """Where there is one, it was measured on exactly this model."""
    calibration = load_calibration_for("face-sface-1")
    assert calibration is None or calibration.model_id == load_manifest("face-sface-1").model_id


# ---- schema 2


def _raw(**changes: Any) -> dict[str, Any]:
    graph = {
        "network": "graph",
        "network_sha256": "a" * 64,
        "weights_sha256": "b" * 64,
        "licence": "MIT",
        "source": "mine.onnx",
    }
    facts = json.loads(_shipped()) | {"schema": 2, "name": "mine-1", "dimensions": 4, "embedder": graph} | changes
    return facts | {"model_id": model_id_of(facts)}


def _write(folder: Path, raw: dict[str, Any]) -> Path:
    (folder / "mine-1").mkdir(parents=True, exist_ok=True)
    (folder / "mine-1" / "manifest.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder


def _npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_the_shipped_encoder_keeps_its_model_id() -> None:
    """Templates that were enrolled under schema 1 stay comparable."""
    manifest = load_manifest("face-sface-1")
    assert manifest.model_id == "face-sface-1@3bef766d9363"
    assert (manifest.template.mirrored, manifest.template.refined, manifest.template.centre) == (False, False, None)


def test_an_encoder_in_a_folder_is_found(tmp_path: Path) -> None:
    """What was imported is there beside what ships, and knows where its network lies."""
    _write(tmp_path, _raw(input={"channels": "BGR", "offset": 127.5, "scale": [0.5, 0.25, 2]}))
    assert available_encoders([tmp_path, tmp_path / "nothing"]) == (
        "face-sface-1",
        "face-sface-2",
        "mine-1",
        "person-mobilenet-1",
        "signature-strokes-1",
    )
    manifest = load_manifest("mine-1", [tmp_path])
    assert isinstance(manifest.embedder, ImportedGraph)
    assert manifest.embedder.folder == tmp_path / "mine-1"
    assert manifest.input.channels is Channels.BGR
    assert (manifest.input.offset, manifest.input.scale) == ((127.5, 127.5, 127.5), (0.5, 0.25, 2.0))
    assert load_calibration_for("mine-1", [tmp_path]) is None


def test_no_folder_stands_in_for_a_shipped_encoder(tmp_path: Path) -> None:
    """A folder of the same name changes nothing of what ships."""
    (tmp_path / "face-sface-1").mkdir()
    (tmp_path / "face-sface-1" / "manifest.json").write_text("{}", encoding="utf-8")
    assert load_manifest("face-sface-1", [tmp_path]).model_id == "face-sface-1@3bef766d9363"


def test_a_folder_with_another_name_than_its_manifest_is_refused(tmp_path: Path) -> None:
    """A copied folder does not pass for a second encoder."""
    _write(tmp_path, _raw()).joinpath("mine-1").rename(tmp_path / "mine-2")
    with pytest.raises(ArtifactError, match="mine-1"):
        load_manifest("mine-2", [tmp_path])


def test_folders_of_an_unfinished_import_are_not_seen(tmp_path: Path) -> None:
    """What is written to a hidden name is no encoder yet."""
    _write(tmp_path, _raw()).joinpath("mine-1").rename(tmp_path / ".part-mine-1")
    assert "mine-1" not in available_encoders([tmp_path])
    assert available_encoders([tmp_path]) == available_encoders()


def test_the_centre_is_read_and_belongs_to_the_model_id(tmp_path: Path) -> None:
    """Its sha256 is one of the facts, and the file has to be the one that was meant."""
    content = _npy(np.array([0, 0.5, -1, 2], dtype=np.float32))
    digest = hashlib.sha256(content).hexdigest()
    raw = _raw(template={"mirrored": True, "refined": True, "centre_sha256": digest})
    _write(tmp_path, raw).joinpath("mine-1", "centre.npy").write_bytes(content)
    template = load_manifest("mine-1", [tmp_path]).template
    assert (template.mirrored, template.refined) == (True, True)
    assert template.centre is not None
    assert template.centre.tolist() == [0, 0.5, -1, 2]
    assert not template.centre.flags.writeable
    assert model_id_of(raw) != model_id_of(raw | {"template": {"mirrored": True, "refined": True}})

    (tmp_path / "mine-1" / "centre.npy").write_bytes(_npy(np.ones(4, dtype=np.float32)))
    with pytest.raises(ArtifactError, match="centre_sha256"):
        load_manifest("mine-1", [tmp_path])
    (tmp_path / "mine-1" / "centre.npy").unlink()
    with pytest.raises(ArtifactError, match="not there"):
        load_manifest("mine-1", [tmp_path])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04", id="zip"),
        pytest.param(_npy(np.ones(3, dtype=np.float32)), id="too short"),
        pytest.param(_npy(np.ones(4)), id="float64"),
        pytest.param(_npy(np.ones((4, 1), dtype=np.float32)), id="two axes"),
        pytest.param(_npy(np.array([1, np.nan, 1, 1], dtype=np.float32)), id="not finite"),
        pytest.param(_npy(np.ones(4, dtype=np.float32))[:-4], id="cut"),
        pytest.param(_npy(np.array([None] * 4, dtype=object)), id="pickle"),
    ],
)
def test_a_centre_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """The right sum does not help a file that holds something else; a pickle is never opened."""
    raw = _raw(template={"centre_sha256": hashlib.sha256(content).hexdigest()})
    _write(tmp_path, raw).joinpath("mine-1", "centre.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match="mine-1"):
        load_manifest("mine-1", [tmp_path])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Mine/1"}, "name"),
        ({"dimensions": 0}, "dimensions.*1 to 4096"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": "4"}, "dimensions"),
        ({"modality": "VOICE"}, "modality.*FACE"),
        ({"licence": "MIT"}, "licence.*no such field"),
        ({"input": {"channels": "GRAY"}}, r"input\.channels.*RGB, BGR"),
        ({"input": {"scale": 0}}, r"input\.scale.*other than 0"),
        ({"input": {"offset": [1, 2]}}, r"input\.offset.*three"),
        ({"input": {"offset": float("nan")}}, r"input\.offset"),
        ({"input": []}, "input.*object"),
        ({"template": {"mirrored": 1}}, r"template\.mirrored.*true or false"),
        ({"template": {"centre_sha256": "../x"}}, r"template\.centre_sha256.*64 hex"),
        ({"embedder": {"network": "graph"}}, r"embedder\.network_sha256.*64 hex"),
        ({"embedder": None}, "embedder.*object"),
    ],
)
def test_a_wrong_field_is_told_with_what_is_allowed(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Field, value and what would have been right."""
    with pytest.raises(ArtifactError, match=told):
        load_manifest("mine-1", [_write(tmp_path, _raw(**changes))])


def test_schema_1_has_no_graph_of_its_own(tmp_path: Path) -> None:
    """An old manifest cannot be turned into one that loads files from its folder."""
    with pytest.raises(ArtifactError, match=r"embedder\.network"):
        load_manifest("mine-1", [_write(tmp_path, _raw(schema=1))])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe{}", "cannot be read"),
        (b"[" * 100_000, "not a manifest"),
        (b"{" + b" " * (1 << 20), "more than"),
    ],
)
def test_a_manifest_of_any_content_is_told_by_name(tmp_path: Path, content: bytes, told: str) -> None:
    """No text, nested without end, or without an end: an encoder that was brought takes no service down."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=f"mine/manifest.json: .*{told}"):
        load_manifest("mine", [tmp_path])


def test_numbers_that_no_float_holds_are_refused() -> None:
    """A whole number in JSON may have any length."""
    for value in (10**400, -(10**400), 1e39, float("inf"), float("nan")):
        with pytest.raises(InvalidInputError, match=r"input\.offset"):
            read_input({"offset": value})


def test_statements_nested_without_end_are_told() -> None:
    """As the JSON that they are not."""
    with pytest.raises(InvalidInputError, match="manifest"):
        parse_own_encoder("[" * 60_000)
