"""Every runtime against plain float32 torch, unfused, on real portraits: the same faces, wherever they are computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tessera.chassis.pinned_files import default_cache_dir
from tessera.domain.artifact import Manifest, SourceFile
from tessera.imaging.align import align
from tessera.imaging.decode import decode
from tessera.imaging.preprocess import detector_input, embedder_input
from tessera.nets.artifact import SampleNetworks, load_face_networks
from tessera.nets.compilation import compile_networks, load_compiled
from tessera.nets.cuda_graphs import BATCH_BUCKETS, bucket_of, load_cuda_graphs
from tessera.nets.onnx_weights import read_weights
from tessera.nets.parity import MAX_BOX_PX, MIN_COSINE, parity, sample_crops
from tessera.nets.runtime import Runtime, RuntimeUnavailableError
from tessera.nets.sface import build_sface
from tessera.nets.yunet import build_yunet
from tessera.nets.yunet import decode as decode_faces

LANES = 2
COMPILE_LIMIT_S = 600

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no CUDA device: unproved that recorded launches run at all, and give what eager layers give",
)


@pytest.fixture(scope="module")
def plain(face_weights: Mapping[str, Path]) -> SampleNetworks:
    """The networks as they were published: float32, no layer fused or merged, torch's usual memory order."""
    detector = build_yunet(read_weights(face_weights["yunet"]), "yunet")
    embedder = build_sface(read_weights(face_weights["sface"]), "sface")
    return SampleNetworks(detector, embedder, torch.device("cpu"))


@pytest.fixture(scope="module")
def eager(face_manifest: Manifest, face_weights: Mapping[str, Path]) -> SampleNetworks:
    """The networks as a service starts with them; their conversion lies in the user's cache."""

    def bring(source: SourceFile) -> Path:
        return face_weights[source.network]

    return load_face_networks(face_manifest, bring, default_cache_dir())


@pytest.fixture(scope="module")
def compiled(face_manifest: Manifest, eager: SampleNetworks) -> SampleNetworks:
    """Compiled for this machine; a minute or two the first time, kept in the user's cache."""
    compile_networks(face_manifest.name, default_cache_dir(), limit_s=COMPILE_LIMIT_S)
    networks = load_compiled(eager, face_manifest.crop, default_cache_dir(), LANES)
    assert networks is not None
    return networks


@pytest.fixture(scope="module")
def frames(portraits: Mapping[str, bytes]) -> list[Tensor]:
    """The portraits as the detector sees them, each of its own shape."""
    return [torch.from_numpy(detector_input(decode(data)).values) for data in portraits.values()]


@pytest.fixture(scope="module")
def crops(portraits: Mapping[str, bytes], plain: SampleNetworks) -> Tensor:
    """The faces of the portraits as the embedder sees them."""
    aligned = []
    for data in portraits.values():
        image = decode(data)
        seen = detector_input(image)
        with torch.inference_mode():
            output = plain.detector(torch.from_numpy(seen.values))[0].numpy()
        found = decode_faces(output, seen.height_px, seen.width_px)
        aligned += [align(image, landmarks / seen.scale) for landmarks in found.landmarks]
    assert len(aligned) >= 5
    return torch.from_numpy(embedder_input(aligned))


def _assert_stands_in(plain: SampleNetworks, candidate: SampleNetworks, frames: list[Tensor], crops: Tensor) -> None:
    """The bar, on portraits and on the drawn faces that a service compares with."""
    for measured in (parity(plain, candidate, frames, crops), parity(plain, candidate)):
        assert measured.min_cosine >= MIN_COSINE
        assert measured.max_box_px <= MAX_BOX_PX
        assert measured.holds


def test_eager_gives_what_the_plain_networks_give(
    plain: SampleNetworks, eager: SampleNetworks, frames: list[Tensor], crops: Tensor
) -> None:
    """Fused batch norms, merged heads and channels last change nothing that matters."""
    assert eager.runtime is Runtime.EAGER
    _assert_stands_in(plain, eager, frames, crops)


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
def test_compiled_gives_what_the_plain_networks_give(
    plain: SampleNetworks, compiled: SampleNetworks, frames: list[Tensor], crops: Tensor
) -> None:
    """Machine code for this processor gives the same faces and the same embeddings."""
    assert compiled.runtime is Runtime.COMPILED
    _assert_stands_in(plain, compiled, frames, crops)


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 96, 640), (5, 640, 64), (1, 32, 640), (2, 32, 32), (65, 64, 64)])
def test_compiled_takes_every_shape(
    eager: SampleNetworks, compiled: SampleNetworks, shape: tuple[int, int, int]
) -> None:
    """Any batch and any multiple of 32 pixels; what was not compiled for runs eager, in any memory order."""
    n, height_px, width_px = shape
    values = torch.rand(n, 3, height_px, width_px, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        expected = eager.detector(values)
        for batch in (values, values.contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(compiled.detector(batch), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
def test_compiled_refuses_what_it_would_misread(compiled: SampleNetworks) -> None:
    """Machine code reads numbers as float32, whatever they are; another type must not reach it."""
    with pytest.raises(ValueError, match="float64"):
        compiled.embedder(torch.zeros(1, 3, 112, 112, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
def test_two_lanes_at_once_do_not_disturb_each_other(compiled: SampleNetworks) -> None:
    """Each thread gets the embeddings of its own crops, run after run."""
    crops = [sample_crops(count=2), sample_crops(count=4)[2:]]
    expected = [compiled.embedder(batch) for batch in crops]
    wrong: list[int] = []

    def lane(batch: Tensor, right: Tensor) -> None:
        torch.set_num_threads(1)
        for run in range(20):
            if not torch.equal(compiled.embedder(batch), right):
                wrong.append(run)

    lanes = [threading.Thread(target=lane, args=pair) for pair in zip(crops * 2, expected * 2, strict=True)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
def test_a_compiled_run_leaves_the_interpreter_to_others(compiled: SampleNetworks) -> None:
    """While one thread is inside a run, another goes on with Python: two lanes need that to work side by side."""
    batch = sample_crops(count=16)
    spans: list[tuple[float, float]] = []

    def lane() -> None:
        for _ in range(4):
            started_s = time.monotonic()
            compiled.embedder(batch)
            spans.append((started_s, time.monotonic()))

    thread = threading.Thread(target=lane)
    thread.start()
    seen_s: list[float] = []
    while thread.is_alive():
        seen_s.append(time.monotonic())
    shares = []
    for started_s, ended_s in spans:
        inside = [at for at in seen_s if started_s < at < ended_s]
        shares.append(np.diff([started_s, *inside, ended_s]).max() / (ended_s - started_s))
    # A busy machine may keep a thread waiting in one run; who holds the interpreter keeps it in each.
    assert min(shares) < 0.7


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
def test_a_compiled_run_takes_the_threads_that_its_lane_has(compiled: SampleNetworks) -> None:
    """With one thread, all time that the process spends is the calling thread's."""
    batch, spent = sample_crops(count=16), []

    def lane() -> None:
        torch.set_num_threads(1)
        compiled.embedder(batch)
        before = (time.process_time(), time.thread_time())
        for _ in range(3):
            compiled.embedder(batch)
        spent.append((time.process_time() - before[0], time.thread_time() - before[1]))

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    assert spent[0][0] < 1.2 * spent[0][1]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.timeout(COMPILE_LIMIT_S)
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc: leaves leaks of tensor handles unseen")
def test_runs_do_not_leak(compiled: SampleNetworks) -> None:
    """Handles of inputs and outputs are given back: 1,000 runs of 86 KB output do not grow the process by 20 MB."""
    batch = torch.zeros(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    for _ in range(200):
        compiled.detector(batch)
    before = _resident_bytes()
    for _ in range(1000):
        compiled.detector(batch)
    assert _resident_bytes() - before < 20e6


def test_a_network_that_answers_otherwise_does_not_stand_in(eager: SampleNetworks) -> None:
    """The bar notices a wrong embedding, a moved box, and an answer that is not a number."""

    def shuffled(batch: Tensor, /) -> Tensor:
        return eager.embedder(batch).roll(1, dims=1)

    def moved(batch: Tensor, /) -> Tensor:
        output = eager.detector(batch).clone()
        output[:, :, 2] += 0.1
        return output

    def broken(batch: Tensor, /) -> Tensor:
        return eager.detector(batch) * float("nan")

    for detector, embedder in ((eager.detector, shuffled), (moved, eager.embedder), (broken, eager.embedder)):
        with np.errstate(all="ignore"):
            assert not parity(eager, SampleNetworks(detector, embedder, eager.device)).holds


def test_a_batch_goes_into_the_smallest_bucket_that_holds_it() -> None:
    """No bucket is smaller than its batch, none wastes more than half, and beyond the largest there is none."""
    for rows in range(1, BATCH_BUCKETS[-1] + 1):
        bucket = bucket_of(rows)
        assert bucket in BATCH_BUCKETS
        assert rows <= bucket < 2 * rows
    for rows in (0, BATCH_BUCKETS[-1] + 1):
        with pytest.raises(ValueError, match="allowed: 1 to 64"):
            bucket_of(rows)


def test_half_precision_keeps_the_embedding(eager: SampleNetworks, crops: Tensor) -> None:
    """What CUDA computes the embedder in holds the bar; computed here on the CPU, one crop, slowly."""
    import copy

    assert isinstance(eager.embedder, torch.nn.Module)
    half = copy.deepcopy(eager.embedder).half()
    with torch.inference_mode():
        expected, found = eager.embedder(crops[:1]), half(crops[:1].half()).float()
    assert torch.nn.functional.cosine_similarity(expected, found).item() >= MIN_COSINE


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device: nothing to refuse")
def test_recorded_launches_are_refused_without_a_device(eager: SampleNetworks) -> None:
    """The error says what is missing; the caller goes on with what it has."""
    with pytest.raises(RuntimeUnavailableError, match="no CUDA device"):
        load_cuda_graphs(eager, torch.device("cuda", 0))


@needs_cuda
def test_cuda_graphs_give_what_the_plain_networks_give(
    plain: SampleNetworks, eager: SampleNetworks, frames: list[Tensor], crops: Tensor
) -> None:
    """Recorded launches, the embedder in half precision, hold the bar."""
    _assert_stands_in(plain, load_cuda_graphs(eager, torch.device("cuda", 0)), frames, crops)


@needs_cuda
def test_cuda_graphs_take_any_batch_on_one_thread(eager: SampleNetworks) -> None:
    """Every batch from 1 to more than the largest bucket gives each row its own answer; another thread is refused."""
    recorded = load_cuda_graphs(eager, torch.device("cuda", 0))
    crops = sample_crops(count=70)
    together = recorded.embedder(crops)
    for rows in (1, 3, 64, 65):
        torch.testing.assert_close(recorded.embedder(crops[:rows]), together[:rows], atol=1e-2, rtol=1e-2)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            recorded.embedder(crops[:1])
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
