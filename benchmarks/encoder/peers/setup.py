"""How a peer's server is set up: read from the environment, since both peers start their workers as new processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoder.faces import load, run_batch
from benchmarks.encoder.pictures import pictures_720p
from encoder_svc.faces.found import FoundFaces
from encoder_svc.faces.pipeline import FacePipeline
from tessera.chassis.allocator import tune_for_networks

PREFIX = "TESSERA_PEER_"
READY_DIR = "TESSERA_PEER_READY_DIR"
"""Names the folder in which each worker leaves a file once its networks are warm."""


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """One way to run it."""

    workers: int = 1
    """Processes that hold the networks."""
    batch: int = 8
    """At most so many pictures at a time."""
    wait_ms: int = 10
    """How long a batch waits to be filled."""
    threads: int = 0
    """Of torch in each worker; 0: as torch chooses."""
    tuned: bool = False
    """Our allocator settings, and with one thread, which is what they are made for, our compiled networks."""

    @property
    def compiled(self) -> bool:
        """Whether it runs compiled networks in place of plain float32 modules."""
        return self.tuned and self.threads == 1

    @property
    def environ(self) -> dict[str, str]:
        """For the process."""
        return {f"{PREFIX}{name.upper()}": str(int(getattr(self, name))) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        """For people."""
        threads = f"{self.threads} threads each" if self.threads else "torch's own number of threads"
        networks = "compiled" if self.compiled else "eager float32"
        return f"{self.workers} workers, {threads}, batch {self.batch}, wait {self.wait_ms} ms, {networks}"


def setup_from_environ() -> PeerSetup:
    """What the environment says."""
    told = {name: int(os.environ[f"{PREFIX}{name.upper()}"]) for name in PeerSetup.__dataclass_fields__}
    return PeerSetup(told["workers"], told["batch"], told["wait_ms"], told["threads"], bool(told["tuned"]))


def load_in_worker(setup: PeerSetup) -> FacePipeline:
    """The networks, warm, in a worker process."""
    if setup.threads:
        torch.set_num_threads(setup.threads)
    if setup.tuned:
        tune_for_networks()
    pipeline = load(eager=not setup.compiled)
    pictures = pictures_720p()
    for count in sorted({1, min(2, setup.batch), setup.batch}):
        run_batch(pipeline, [pictures[at % len(pictures)] for at in range(count)])
    (Path(os.environ[READY_DIR]) / str(os.getpid())).touch()
    return pipeline


def as_json(found: FoundFaces) -> dict[str, Any]:
    """The answer for one picture: what ours says, without landmarks and stage times."""
    return {
        "faces": [
            {
                "box": [face.box.x_px, face.box.y_px, face.box.width_px, face.box.height_px],
                "quality": face.quality.overall,
                "embedding": face.embedding.vector.tolist() if face.embedding else [],
            }
            for face in found.candidates
        ]
    }
