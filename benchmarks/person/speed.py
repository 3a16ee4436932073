"""What a 720p frame with five persons costs: the product at batch, against a plain pipeline of the same networks.

    TESSERA_DATA=DIR make bench-person ARGS="speed"

Both find and embed the same persons on one thread of a process of their own, in turns; counted is the processor time
that a frame takes from its JPEG to its embeddings, so that what else runs on the machine matters little. The plain
pipeline is what one writes first: OpenCV decodes in full, NanoDet as it was published (eighty classes) and the embedder
run in eager PyTorch, picture by picture, person by person.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.figures import Figure
from benchmarks.person.detected import frames_of
from benchmarks.person.plan import Context, figure
from benchmarks.person.product import ENCODER, load_compiled, load_eager
from encoder_svc.frames import EncodeOptions
from encoder_svc.persons.pipeline import SURE_OF_A_PERSON, PersonPipeline
from encoder_svc.pipeline import EMBED_BATCH
from tessera.chassis.allocator import tune_for_networks
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.domain.artifact import load_manifest
from tessera.domain.embedding import Vector
from tessera.domain.person_detector import PERSON_DETECTOR
from tessera.imaging.decode import Image
from tessera.imaging.person import crop_person, person_input
from tessera.imaging.preprocess import detector_input
from tessera.nets.nanodet import CLASSES, PERSON_CLASS, build_nanodet, decode
from tessera.nets.person import load_person_network

CLIP = "vtest.avi"
PERSONS = 5
FRAMES = 16
BATCH = 8
CPU_BAR_MS = 120.0
RATIO_BAR = 1.5
_SIZE_PX = (1280, 720)
_EVEN_THE_DOUBTFUL = EncodeOptions(min_detection_probability=0.37, with_embedding=False)
_SURE = 0.5
_CUT = slice(72, 504)
"""Of the clip's 576 rows: the 16:9 in their middle."""

Work = Callable[[Sequence[bytes]], list[list[Vector]]]
"""The embeddings of the persons of each picture, the largest person first."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of one pipeline over all frames."""

    cpu_ms: float
    """Of the process, a frame."""
    wall_ms: float
    """A frame."""


def pictures(clip: Path, pipeline: PersonPipeline) -> list[bytes]:
    """720p JPEGs of exactly five persons, none of whom is doubtful, spread over the clip."""
    return list(islice(_with_five(clip, pipeline), FRAMES))


def _with_five(clip: Path, pipeline: PersonPipeline) -> Iterator[bytes]:
    for at, image in enumerate(frames_of(clip)):
        if at % 4 == 0:
            wide = cv2.resize(image[_CUT], _SIZE_PX, interpolation=cv2.INTER_CUBIC)
            data = cv2.imencode(".jpg", wide, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            seen = pipeline.run(data, _EVEN_THE_DOUBTFUL).observations
            if len(seen) == PERSONS and all(one.detection_probability > _SURE for one in seen):
                yield data


# ---- the two pipelines


def product() -> Work:
    """Batches of frames for the detector, full batches of persons for the embedder, compiled networks."""
    tune_for_networks()
    pipeline, options = load_compiled(), EncodeOptions()

    def work(data: Sequence[bytes]) -> list[list[Vector]]:
        found = []
        for first in range(0, len(data), BATCH):
            frames = [pipeline.prepare(one) for one in data[first : first + BATCH]]
            outputs = pipeline.detect([frame.detector for frame in frames])
            found += [pipeline.find(frame, output, options) for frame, output in zip(frames, outputs, strict=True)]
        wanted = [person for persons in found for person in persons.wanted]
        for first in range(0, len(wanted), EMBED_BATCH):
            batch = wanted[first : first + EMBED_BATCH]
            pipeline.give_embeddings(batch, pipeline.embed([person.crop for person in batch]))
        return [[p.embedding.vector for p in persons.candidates if p.embedding] for persons in found]

    return work


def plain() -> Work:
    """One picture after the other, one person after the other, in eager PyTorch."""
    path = bring_weights(default_cache_dir(), default_supplied_dir(), PERSON_DETECTOR)
    detector, embedder = build_nanodet(path.read_bytes(), path.name), load_person_network(load_manifest(ENCODER))

    def embed(image: Image, box: Sequence[float]) -> Vector:
        crop = crop_person(image, (box[0], box[1], box[2], box[3]))
        row: Vector = embedder(torch.from_numpy(np.ascontiguousarray(person_input([crop])))).numpy()[0]
        unit: Vector = row / np.float32(np.linalg.norm(row))
        return unit

    def work(data: Sequence[bytes]) -> list[list[Vector]]:
        rows = []
        for one in data:
            image = np.asarray(cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR), np.uint8)
            seen = detector_input(image)
            raw = detector(torch.from_numpy(np.ascontiguousarray(seen.values)))[0]
            chances = raw[:, CLASSES:].reshape(len(raw), 4, -1).softmax(2)
            distances = (chances * torch.arange(chances.shape[2])).sum(2)
            persons = torch.cat((raw[:, PERSON_CLASS : PERSON_CLASS + 1].sigmoid(), distances), 1).numpy()
            boxes = decode(persons, *seen.shape, score_threshold=SURE_OF_A_PERSON).boxes / np.float32(seen.scale)
            largest = boxes[np.argsort(-boxes[:, 2] * boxes[:, 3])]
            rows.append([embed(image, [float(side) for side in box]) for box in largest])
        return rows

    return work


# ---- in turns


class Runner:
    """A pipeline in a process of its own, on one thread.

    Args:
        make: builds it there.
        data: the pictures.
    """

    def __init__(self, make: Callable[[], Work], data: Sequence[bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, list(data), there), daemon=True)
        self._process.start()
        self.answers: list[list[Vector]] = self._here.recv()

    def turn(self) -> Round:
        """Once over all pictures."""
        self._here.send("turn")
        made: Round = self._here.recv()
        return made

    def close(self) -> None:
        """End the process."""
        self._here.send("end")
        self._process.join()


def _serve(make: Callable[[], Work], data: Sequence[bytes], there: Connection) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.set_grad_enabled(False)
    work = make()
    work(data)  # buffers, kernels
    there.send(work(data))
    while there.recv() == "turn":
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        work(data)
        spent_s = (time.process_time() - cpu_s, time.perf_counter() - wall_s)
        there.send(Round(*(1e3 * one / len(data) for one in spent_s)))


def run(context: Context) -> list[Figure]:
    """Milliseconds a frame, and how much more the product does than the plain pipeline in the same time."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # of the two processes
    data = pictures(context.videos() / CLIP, load_eager())
    runners = {"product": Runner(product, data), "plain": Runner(plain, data)}
    lowest = _lowest_cosine(runners["product"].answers, runners["plain"].answers)
    rounds = [{name: runner.turn() for name, runner in runners.items()} for _ in range(context.count(15, 3))]
    for runner in runners.values():
        runner.close()
    cpu_ms = {name: statistics.median(one[name].cpu_ms for one in rounds) for name in runners}
    ratio = statistics.median(one["plain"].cpu_ms / one["product"].cpu_ms for one in rounds)
    walls = statistics.median(one["plain"].wall_ms / one["product"].wall_ms for one in rounds)
    context.note(
        f"speed: {len(data)} frames. The two decode differently, so that boxes differ by a pixel or so: the lowest "
        f"cosine between their embeddings of one person is {lowest:.3f}."
    )
    name = "speed: 720p, 5 persons, one thread"
    return [
        figure(f"{name}, product at batch", round(cpu_ms["product"], 1), "ms CPU a frame",
               f"under {CPU_BAR_MS:g}", cpu_ms["product"] < CPU_BAR_MS),
        figure(f"{name}, plain eager pipeline", round(cpu_ms["plain"], 1), "ms CPU a frame"),
        figure(f"{name}, throughput against the plain pipeline", round(ratio, 2), "x, CPU time",
               f"at least {RATIO_BAR:g}", ratio >= RATIO_BAR),
        figure(f"{name}, the same by wall time", round(walls, 2), "x, wall time"),
    ]  # fmt: skip


def _lowest_cosine(one: Sequence[Sequence[Vector]], other: Sequence[Sequence[Vector]]) -> float:
    """Between the embeddings of one person; each is looked for among those of the other pipeline, whose order of two
    boxes of one size may differ.

    Raises:
        SystemExit: they found another number of persons.
    """
    if [len(rows) for rows in one] != [len(rows) for rows in other]:
        raise SystemExit("the two pipelines do not find as many persons in each picture")
    pairs = ((row, np.stack(others)) for rows, others in zip(one, other, strict=True) for row in rows)
    return min(float((others @ row).max()) for row, others in pairs)
