"""What an imported encoder may decide in a gallery: for its own model, once it has a calibration, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from gallery_svc.thresholds import shipped_thresholds
from tessera.domain.artifact import load_calibration_for, model_id_of
from tessera.domain.calibration import dump_calibration
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import InvalidInputError, NoCalibrationError
from tessera.domain.ids import CalibrationId, ModelId


def _bring(folder: Path, name: str, *, calibrated: bool) -> ModelId:
    shipped = resources.files("tessera") / "artifacts" / "face-sface-1" / "manifest.json"
    facts: dict[str, Any] = json.loads(shipped.read_text(encoding="utf-8")) | {"schema": 2, "name": name}
    model_id = model_id_of(facts)
    (folder / name).mkdir()
    (folder / name / "manifest.json").write_text(json.dumps(facts | {"model_id": model_id}), encoding="utf-8")
    if calibrated:
        measured = load_calibration_for("face-sface-1")
        assert measured is not None
        own = replace(measured, model_id=model_id, calibration_id=CalibrationId(f"{name}-lfw"))
        (folder / name / "calibration.json").write_text(dump_calibration(own), encoding="utf-8")
    return model_id


def test_an_import_without_a_calibration_decides_nothing(tmp_path: Path) -> None:
    """A threshold would be a guess; its embeddings are checked all the same."""
    model_id = _bring(tmp_path, "aaa-1", calibrated=False)
    thresholds = shipped_thresholds([tmp_path])
    with pytest.raises(NoCalibrationError, match="aaa-1"):
        thresholds.for_comparison(model_id, 1e-3)
    with pytest.raises(InvalidInputError, match="128 numbers"):
        thresholds.require_dimensions(Embedding.from_raw([1, 2], model_id), "probe")


def test_an_import_with_a_calibration_decides_for_its_own_model(tmp_path: Path) -> None:
    """And does not become the default of new collections, whatever its name."""
    model_id = _bring(tmp_path, "aaa-1", calibrated=True)
    thresholds = shipped_thresholds([tmp_path])
    assert thresholds.for_comparison(model_id, 1e-3).calibration_id == "aaa-1-lfw"
    assert thresholds.default_model(Modality.FACE) == shipped_thresholds().default_model(Modality.FACE)


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 2, "name": "bbb-1"}'])
def test_a_damaged_import_takes_no_gallery_away(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is left out and told; the others decide as before."""
    model_id = _bring(tmp_path, "aaa-1", calibrated=True)
    (tmp_path / "bbb-1").mkdir()
    (tmp_path / "bbb-1" / "manifest.json").write_text(content, encoding="utf-8")
    assert shipped_thresholds([tmp_path]).for_comparison(model_id, 1e-3)
    captured = capsys.readouterr()
    assert "encoder.unreadable" in captured.out + captured.err
