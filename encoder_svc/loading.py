"""From the name of an encoder to a pipeline that is ready to run, on the best runtime that this machine has.

On a CPU that is machine code compiled from the networks. Compiling takes minutes, so a service that finds none starts
on eager networks and changes over later: `compile_and_replace` does it beside the serving, and only when the compiled
networks give what the eager ones give.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import torch

from encoder_svc.device import choose_device, choose_lanes
from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.persons.pipeline import PersonPipeline
from encoder_svc.pipeline import Pipeline
from encoder_svc.settings import EncoderSettings, RuntimeChoice
from encoder_svc.signatures.pipeline import SignaturePipeline
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.logs import get_logger
from tessera.chassis.weight_files import bring_weights
from tessera.domain.artifact import Manifest, load_calibration_for, load_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, NotFoundError
from tessera.nets.artifact import SampleNetworks, load_sample_networks
from tessera.nets.compilation import compile_networks, load_compiled
from tessera.nets.cuda_graphs import load_cuda_graphs
from tessera.nets.minifasnet import load_pad
from tessera.nets.parity import drawn_samples, parity
from tessera.nets.runtime import Runtime, RuntimeUnavailableError
from tessera.nets.signature import load_signature_networks


def describe_encoder(name: str) -> EncoderFacts:
    """The facts of an encoder that ships with Tessera or was imported.

    Raises:
        NotFoundError: there is no such encoder; it names those that there are.
        ArtifactError: its manifest or calibration cannot be read.
    """
    calibration = load_calibration_for(name, encoder_folders())
    return EncoderFacts(load_manifest(name, encoder_folders()), calibration.calibration_id if calibration else "")


def load_pipeline(settings: EncoderSettings, manifest: Manifest) -> Pipeline:
    """The pipeline of an encoder, with real weights, ready to run.

    Args:
        settings: which device, runtime, cache and limits.
        manifest: of that encoder.

    Raises:
        ArtifactError: the weights cannot be had, or there is nothing here that runs such an encoder.
    """
    match manifest.modality:
        case Modality.FACE | Modality.PERSON:
            return _load_two_stages(settings, manifest)
        case Modality.SIGNATURE:
            return SignaturePipeline(manifest, load_signature_networks(manifest), limits=settings.limits)
        case _:
            raise ArtifactError(manifest.name, f"is of modality {manifest.modality}, which nothing here runs yet")


def load_face_pipeline(settings: EncoderSettings, manifest: Manifest | None = None) -> FacePipeline:
    """The face pipeline that settings name, with real weights, ready to run.

    Args:
        settings: which encoder, device, runtime, cache and limits.
        manifest: of that encoder, when the caller has it already.

    Raises:
        ArtifactError: the weights cannot be had.
    """
    manifest = manifest or load_manifest(settings.encoder, encoder_folders())
    return _face_pipeline(settings, manifest, _load_networks(settings, manifest))


def _load_two_stages(settings: EncoderSettings, manifest: Manifest) -> Pipeline:
    return _pipeline(settings, manifest, _load_networks(settings, manifest))


def _load_networks(settings: EncoderSettings, manifest: Manifest) -> SampleNetworks:
    """The networks of an encoder of faces or persons, on the best runtime that there is at once."""
    networks = _load_eager(settings, manifest)
    try:
        if may_compile(settings, networks.device):
            networks = _compiled(settings, manifest, networks) or networks
        elif settings.runtime is RuntimeChoice.AUTO and networks.device.type == "cuda":
            networks = load_cuda_graphs(networks, networks.device)
    except RuntimeUnavailableError as error:
        get_logger().warning("runtime.stays_eager", encoder=manifest.name, error=str(error))
    return networks


def may_compile(settings: EncoderSettings, device: torch.device) -> bool:
    """Whether compiled networks are wanted: on the CPU, unless a lane has several threads, which they would not use."""
    return settings.runtime is RuntimeChoice.AUTO and device.type == "cpu" and settings.threads == 1


async def compile_and_replace(settings: EncoderSettings, encoders: Encoders) -> None:
    """Compile what serves on eager networks, one encoder after the other, and let the compiled ones take over.

    What cannot be compiled here stays as it is, and the log says why.
    """
    for status in encoders.statuses():
        manifest = status.facts.manifest
        worth_it = manifest.modality is not Modality.SIGNATURE and status.runtime == Runtime.EAGER.value
        if not worth_it or not may_compile(settings, torch.device(status.device)):
            continue
        try:
            await encoders.replace(manifest.name, await _compile_off_the_loop(settings, manifest))
        except (RuntimeUnavailableError, ArtifactError, NotFoundError) as error:
            get_logger().warning("runtime.stays_eager", encoder=manifest.name, error=str(error))


async def _compile_off_the_loop(settings: EncoderSettings, manifest: Manifest) -> Pipeline:
    cancelled = threading.Event()
    work = asyncio.create_task(asyncio.to_thread(_compile, settings, manifest, cancelled))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()  # a thread cannot be cancelled; it is told, and has ended when we go on
        await asyncio.wait((work,))
        work.exception()  # that it was cancelled; asked for, or asyncio tells of it as of a defect
        raise


def _compile(settings: EncoderSettings, manifest: Manifest, cancelled: threading.Event) -> Pipeline:
    eager = _load_eager(settings, manifest)
    get_logger().info("runtime.compiling", encoder=manifest.name)
    compile_networks(manifest.name, settings.weights_cache_dir, folders=encoder_folders(), cancelled=cancelled)
    compiled = _compiled(settings, manifest, eager)
    if compiled is None:
        raise RuntimeUnavailableError(Runtime.COMPILED, "what was compiled is not in the cache")
    torch.set_num_threads(settings.threads)
    samples = drawn_samples(manifest)
    measured = parity(eager, compiled, samples.frames, samples.crops, samples.reading)
    if not measured.holds:
        raise RuntimeUnavailableError(Runtime.COMPILED, f"it does not give what eager networks give: {measured}")
    get_logger().info("runtime.compiled", encoder=manifest.name, min_cosine=measured.min_cosine)
    return _pipeline(settings, manifest, compiled)


def _load_eager(settings: EncoderSettings, manifest: Manifest) -> SampleNetworks:
    bring = partial(bring_weights, settings.weights_cache_dir, settings.weights_supplied_dir)
    return load_sample_networks(manifest, bring, settings.weights_cache_dir, choose_device(settings.device))


def _compiled(settings: EncoderSettings, manifest: Manifest, eager: SampleNetworks) -> SampleNetworks | None:
    lanes = choose_lanes(eager.device, settings.lanes)
    return load_compiled(eager, manifest.crop, settings.weights_cache_dir, lanes)


def _pipeline(settings: EncoderSettings, manifest: Manifest, networks: SampleNetworks) -> Pipeline:
    if manifest.modality is Modality.PERSON:
        side_px, limits = settings.detect_side_px, settings.limits
        return PersonPipeline(manifest, networks, detect_side_px=side_px, limits=limits)
    return _face_pipeline(settings, manifest, networks)


def _face_pipeline(settings: EncoderSettings, manifest: Manifest, networks: SampleNetworks) -> FacePipeline:
    pad = load_pad(settings.pad_weights, settings.pad_sha256) if settings.pad_weights else None
    return FacePipeline(manifest, networks, detect_side_px=settings.detect_side_px, limits=settings.limits, pad=pad)
