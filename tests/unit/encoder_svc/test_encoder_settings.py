"""The encoder's settings and its device: wrong values are named, defaults serve."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from encoder_svc.device import choose_device, prepare_inference_thread
from encoder_svc.settings import PREFIX, DeviceChoice, EncoderSettings, parse_more_encoders
from tessera.chassis.allocator import tune_for_networks
from tessera.chassis.settings import load_settings
from tessera.domain.errors import InvalidInputError


def test_the_defaults_are_valid_and_one_may_be_changed() -> None:
    """Nothing needs to be set; what is set arrives with its type."""
    settings = load_settings(EncoderSettings, PREFIX, {"TESSERA_ENCODER_THREADS": "2", "TESSERA_ENCODER_DEVICE": "cpu"})
    assert (settings.threads, settings.device) == (2, DeviceChoice.CPU)
    assert load_settings(EncoderSettings, PREFIX, {}).limits.max_pixels == 50_000_000


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "70000", "0 to 65535"),
        ("THREADS", "0", "1 or more"),
        ("DEVICE", "tpu", "auto, cpu, cuda"),
        ("STREAM_CREDITS", "3", "1 or 2"),
        ("STREAM_MOST_CREDITS", "1", "2 (stream_credits) to 64"),
        ("DETECT_SIDE_PX", "10", "64 to 4096"),
        ("STREAM_IDLE_S", "0", "more than 0"),
        ("RUNTIME", "fast", "auto, eager"),
        ("SLICE_MS", "0", "more than 0"),
        ("STREAM_SHARE", "0.5", "0 to 0.4"),
        ("LANES", "-1", "0 or more"),
        ("DECODED_BYTES", "0", "1 or more"),
        ("MORE_ENCODERS", "face-x:soon", "NAME:PRIORITY"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("TREADS", "2", "TESSERA_ENCODER_THREADS"),
    ],
)
def test_a_wrong_setting_names_the_variable_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    """Also a misspelt name is an error, and not silently the default."""
    with pytest.raises(InvalidInputError, match=f"{PREFIX}{name}") as caught:
        load_settings(EncoderSettings, PREFIX, {PREFIX + name: value})
    assert allowed in caught.value.allowed


def test_faces_and_signatures_are_encoded_unless_told_otherwise() -> None:
    """Each modality's encoder at the first priority; one that is named twice is loaded once."""
    assert EncoderSettings().wanted_encoders == {"face-sface-2": 0, "signature-strokes-1": 0}
    assert EncoderSettings(signature_encoder="").wanted_encoders == {"face-sface-2": 0}
    told = EncoderSettings(encoder="face-a", signature_encoder="signature-a", more_encoders="face-a:7,face-b:3")
    assert told.wanted_encoders == {"face-a": 0, "signature-a": 0, "face-b": 3}


def test_more_encoders_are_named_with_their_priorities() -> None:
    """Without one it is 0; empty parts are nothing."""
    assert parse_more_encoders("") == ()
    assert parse_more_encoders(" face-a , face-b:3,") == (("face-a", 0), ("face-b", 3))


@pytest.mark.parametrize("text", [":3", "face-a:x", "face-a:-1", "face-a:1.5", "face-a:1:2"])
def test_a_wrong_list_of_encoders_names_what_is_allowed(text: str) -> None:
    """A name is needed, and a priority is a whole number from 0 up."""
    with pytest.raises(InvalidInputError, match="more_encoders"):
        EncoderSettings(more_encoders=text)


def test_folders_of_its_own_go_before_those_of_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared variables serve when the service has none of its own."""
    monkeypatch.setenv("TESSERA_CACHE_DIR", str(tmp_path / "shared"))
    assert EncoderSettings().weights_cache_dir == tmp_path / "shared"
    assert EncoderSettings(cache_dir=tmp_path / "own").weights_cache_dir == tmp_path / "own"


def test_cuda_is_refused_where_there_is_none() -> None:
    """Asked for by name it must be there; `auto` takes what is."""
    if torch.cuda.is_available():
        assert choose_device(DeviceChoice.CUDA).type == "cuda"
    else:
        with pytest.raises(InvalidInputError, match="device"):
            choose_device(DeviceChoice.CUDA)
    assert choose_device(DeviceChoice.CPU).type == "cpu"
    assert choose_device(DeviceChoice.AUTO).type in {"cpu", "cuda"}


def test_the_process_can_be_tuned() -> None:
    """glibc takes the allocator's settings, other systems are left alone; the thread count is what was asked."""
    assert tune_for_networks() is (platform.libc_ver()[0] == "glibc")
    before = torch.get_num_threads()
    prepare_inference_thread(1)
    try:
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
        torch.set_grad_enabled(True)
