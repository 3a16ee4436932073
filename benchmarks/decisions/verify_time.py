"""What the issue cost `Verify`: galleries of three commits side by side, asked in turn.

`BEFORE` is the commit before the issue, `BEFORE_PARTS` the one before the gallery decided in its way (thresholds by the
number of templates, calibrations that are chosen, policies of cameras), and `after` is HEAD. Each is taken out of git
into a folder of its own and runs there with the same interpreter, a store of its own and the same people; one encoder,
of the working tree, answers all of them. They are asked in turn, A B C C B A, so that whatever else the machine does
meets all of them.

Between `BEFORE` and HEAD the path of a call was made faster, too: that ratio contains both. What the decisions alone
cost is closer to the second ratio, whose commit has most of the faster path. Nothing here says what `Verify` takes on a
quiet machine: that is `benchmarks.gallery.verify`.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np

from benchmarks.decisions.plan import Plan, Story
from benchmarks.encoder.arithmetic import percentile_interval
from benchmarks.encoder.pictures import pictures_240p
from benchmarks.encoder.plan import PREFIX as ENCODER_PREFIX
from benchmarks.figures import ROOT
from benchmarks.gallery import data
from benchmarks.gallery.filling import KEYS, keys_environ
from benchmarks.gallery.plan import PREFIX
from benchmarks.gallery.store_server import store_server
from benchmarks.process_group import server_group
from benchmarks.services import END_S, service, wait_ready
from gallery_svc.rows import HalfVectors
from gallery_svc.thresholds import shipped_thresholds
from tessera.chassis.ports import free_port
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.ids import ModelId
from tessera.v1 import biometrics_pb2, gallery_pb2_grpc, matching_pb2, subject_pb2

BEFORE, BEFORE_PARTS, AFTER = "4ee315c", "42e4f88", "HEAD"
VERSIONS = (BEFORE, BEFORE_PARTS, AFTER)
PACKAGES = ("gallery_svc", "tessera")
BAR = 1.05
SUBJECTS = 2000
ROUNDS = {"embedding": 150, "picture": 50}
CALLS = {"embedding": 10, "picture": 2}
"""Of each gallery, twice a round."""
_METHOD = "/tessera.v1.GalleryService/Verify"
_PICTURED = "pictured"
_AT_ONCE = 16
_PROBES = 256
_CHECKED = 16


class Call(Protocol):
    """A method of a gallery, from bytes to bytes."""

    def __call__(self, request: bytes, *, timeout: float) -> object:
        """Ask."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """A gallery of one commit."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds that all of its threads have had of a processor."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


@dataclass(frozen=True, slots=True)
class Block:
    """Some calls one after the other."""

    cpu_s: float
    latencies_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw of one gallery."""

    cpu_ms: float
    """Of the gallery, for each call."""
    latency_ms: float
    """The median of all calls."""


def verify_time(plan: Plan) -> Story:
    """By embedding and by picture."""
    story = Story()
    missing = [commit for commit in VERSIONS if not _is_there(commit)]
    if missing:
        story.note(f"verify-time: {', '.join(missing)} is not in this clone; its figures are left out.")
        return story
    rows = data.templates(plan.count(SUBJECTS, 100))
    picture = pictures_240p()[0]
    numbers, probes = data.mated_probes(rows, _PROBES)
    asked = {"embedding": _by_embedding(numbers, probes), "picture": [_by_picture(picture)]}
    with galleries() as running:
        for gallery in running.values():
            _enrol(gallery, rows, picture)
        for kind, bodies in asked.items():
            for commit, gallery in running.items():
                wrong = _wrong(gallery, bodies[:_CHECKED])
                name = f"verify-time: by {kind}, {commit}: mated probes that do not match"
                story.add(name, wrong, f"of {len(bodies[:_CHECKED])}", "0", wrong == 0)
            rounds = in_turn(running, bodies, CALLS[kind], plan.count(ROUNDS[kind], 3))
            _tell(story, kind, rounds)
    story.note("verify-time: since the commit before the issue calls were made faster, too: the ratio contains both.")
    return story


# ---- galleries of several commits


@contextmanager
def galleries() -> Iterator[dict[str, Running]]:
    """One of each commit, with an encoder that answers all of them."""
    os.environ.update(keys_environ())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tessera-bench-verify-")))
        encoder = stack.enter_context(service("encoder_svc", ENCODER_PREFIX, {"LOG_LEVEL": "warning"}))
        running: dict[str, Running] = {}
        for commit in VERSIONS:
            store = stack.enter_context(store_server("--appendfsync", "everysec"))
            settings = {"STORE": store.url, "ENCODER": encoder.address, "KEYS": KEYS, "DURABILITY": "everysec"}
            code = taken_out(commit, folder / commit)
            running[commit] = stack.enter_context(gallery_of(code, {**settings, "LOG_LEVEL": "warning"}))
        yield running


def taken_out(commit: str, folder: Path) -> Path:
    """A commit's packages in a folder.

    Returns:
        The folder.
    """
    command = ["git", "archive", "--format=tar", commit, *PACKAGES]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def gallery_of(code: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    """A gallery that runs the code of a folder.

    Raises:
        RuntimeError: it would run other code, or does not get ready.
    """
    own = {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}  # else the working tree would come first
    for package in PACKAGES:
        shown = [sys.executable, "-c", f"import {package}; print({package}.__file__)"]
        file = subprocess.run(
            shown, cwd=ROOT, env={**os.environ, **own}, capture_output=True, check=True, text=True
        ).stdout.strip()
        if not Path(file).is_relative_to(code):
            raise RuntimeError(f"{package} comes from {file}, not from {code}")
    address = f"127.0.0.1:{free_port()}"
    ours = {**settings, "PORT": address.rpartition(":")[2], "METRICS_PORT": str(free_port())}
    environ = own | {PREFIX + name: value for name, value in ours.items()}
    command = [sys.executable, "-m", "gallery_svc"]
    with server_group("gallery_svc", command, environ, partial(wait_ready, address), grace_s=END_S) as process:
        yield Running(address, process.pid)


def _is_there(commit: str) -> bool:
    done = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False)
    return done.returncode == 0


# ---- who is enrolled, and what is asked


def _enrol(gallery: Running, rows: HalfVectors, picture: bytes) -> None:
    requests = [
        subject_pb2.EnrollSubjectRequest(subject_id=data.subject_name(number), samples=[_embedded(row)])
        for number, row in enumerate(rows.astype(np.float32))
    ]
    pictured = biometrics_pb2.Probe(image=biometrics_pb2.Image(data=picture))
    requests.append(subject_pb2.EnrollSubjectRequest(subject_id=_PICTURED, samples=[pictured]))
    with grpc.insecure_channel(gallery.address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        for first in range(0, len(requests), _AT_ONCE):
            for answer in [stub.EnrollSubject.future(one) for one in requests[first : first + _AT_ONCE]]:
                answer.result()


def _by_embedding(numbers: Sequence[int], probes: Vectors) -> list[bytes]:
    return [
        matching_pb2.VerifyRequest(subject_id=data.subject_name(number), probe=_embedded(row)).SerializeToString()
        for number, row in zip(numbers, probes, strict=True)
    ]


def _by_picture(picture: bytes) -> bytes:
    probe = biometrics_pb2.Probe(image=biometrics_pb2.Image(data=picture))
    return matching_pb2.VerifyRequest(subject_id=_PICTURED, probe=probe).SerializeToString()


def _embedded(row: Vectors) -> biometrics_pb2.Probe:
    return biometrics_pb2.Probe(embedding=biometrics_pb2.Embedding(values=row.tolist(), model_id=_model()))


@cache
def _model() -> ModelId:
    """What the vectors are said to be of."""
    return shipped_thresholds().default_model(Modality.FACE)


def _wrong(gallery: Running, bodies: Sequence[bytes]) -> int:
    with grpc.insecure_channel(gallery.address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        answers = [stub.Verify(matching_pb2.VerifyRequest.FromString(body)) for body in bodies]
    return sum(answer.decision.outcome != biometrics_pb2.OUTCOME_MATCH for answer in answers)


# ---- measuring


def in_turn(running: Mapping[str, Running], bodies: Sequence[bytes], calls: int, rounds: int) -> dict[str, list[Round]]:
    """Ask each gallery so many times, there and back, in each of so many rounds.

    Returns:
        By commit: what each round saw.
    """
    seen: dict[str, list[Round]] = {commit: [] for commit in running}
    with ExitStack() as stack:
        channels = {c: stack.enter_context(grpc.insecure_channel(g.address)) for c, g in running.items()}
        verify: dict[str, Call] = {c: channel.unary_unary(_METHOD) for c, channel in channels.items()}
        at = 0
        for number in range(-1, rounds):  # the first one warms
            blocks: dict[str, list[Block]] = {commit: [] for commit in running}
            order = list(running)[:: 1 if number % 2 else -1]
            for commit in (*order, *reversed(order)):
                chosen = [bodies[(at + step) % len(bodies)] for step in range(calls)]
                blocks[commit].append(_block(running[commit], verify[commit], chosen))
                at += calls
            if number >= 0:
                for commit, both in blocks.items():
                    seen[commit].append(joined(both))
    return seen


def _block(gallery: Running, call: Call, bodies: Sequence[bytes]) -> Block:
    latencies, cpu_s = [], gallery.cpu_s()
    for body in bodies:
        sent_s = time.perf_counter()
        call(body, timeout=30.0)
        latencies.append(time.perf_counter() - sent_s)
    return Block(gallery.cpu_s() - cpu_s, tuple(latencies))


def joined(blocks: Sequence[Block]) -> Round:
    """A round from its blocks."""
    latencies = [latency for block in blocks for latency in block.latencies_s]
    cpu_s = sum(block.cpu_s for block in blocks)
    return Round(1e3 * cpu_s / len(latencies), 1e3 * float(np.median(latencies)))


def ratio(after: Sequence[float], before: Sequence[float]) -> tuple[float, float, float]:
    """The median over rounds of one over the other, and its 95 % interval.

    Args:
        after: one value for each round.
        before: of the same rounds.

    Returns:
        (ratio, low, high).
    """
    ratios = [mine / other for mine, other in zip(after, before, strict=True)]
    return float(np.median(ratios)), *percentile_interval(ratios, 0.5)


def _tell(story: Story, kind: str, rounds: Mapping[str, Sequence[Round]]) -> None:
    for what, values in (
        ("latency", {commit: [one.latency_ms for one in seen] for commit, seen in rounds.items()}),
        ("processor time of the gallery", {commit: [one.cpu_ms for one in seen] for commit, seen in rounds.items()}),
    ):
        name = f"verify-time: by {kind}, {what}"
        for reference, words in ((BEFORE, "before the issue"), (BEFORE_PARTS, "before its parts of the gallery")):
            value, low, high = ratio(values[AFTER], values[reference])
            asked = reference == BEFORE
            bar, holds = (f"at most {BAR:g}", value <= BAR) if asked else ("", None)
            story.add(f"{name}, after over {words}", value, "ratio", bar, holds)
            story.add(f"{name}, after over {words}, 95 % interval", f"{low:.3f} to {high:.3f}", "ratio")
        for commit, seen in values.items():
            story.add(f"{name}, {commit}", float(np.median(seen)), "ms a call")
