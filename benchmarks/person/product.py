"""The product's person encoder as the service loads it, for parts that measure it."""

from __future__ import annotations

from encoder_svc.loading import describe_encoder, load_pipeline
from encoder_svc.persons.pipeline import PersonPipeline
from encoder_svc.settings import DeviceChoice, EncoderSettings, RuntimeChoice
from tessera.chassis.pinned_files import default_cache_dir
from tessera.nets.compilation import compile_networks
from tessera.nets.runtime import Runtime

ENCODER = "person-mobilenet-1"


def load_eager() -> PersonPipeline:
    """On the CPU, layer by layer."""
    return _load(RuntimeChoice.EAGER)


def load_compiled() -> PersonPipeline:
    """On the CPU, compiled for this machine; the first time that takes a minute or two.

    Raises:
        SystemExit: it runs on something else: the service would do so without a word, a benchmark may not.
    """
    compile_networks(ENCODER, default_cache_dir())
    pipeline = _load(RuntimeChoice.AUTO)
    if pipeline.runtime != Runtime.COMPILED.value:
        raise SystemExit(f"{ENCODER} runs on {pipeline.runtime}, not compiled")
    return pipeline


def settings(runtime: RuntimeChoice = RuntimeChoice.AUTO) -> EncoderSettings:
    """Of the service: on the CPU, one lane."""
    return EncoderSettings(device=DeviceChoice.CPU, runtime=runtime, lanes=1)


def _load(runtime: RuntimeChoice) -> PersonPipeline:
    pipeline = load_pipeline(settings(runtime), describe_encoder(ENCODER).manifest)
    assert isinstance(pipeline, PersonPipeline)
    return pipeline
