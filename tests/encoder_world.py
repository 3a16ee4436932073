"""Parts of the encoder as tests need them: real schedulers and pipelines, on networks that only pretend to see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import cv2
import numpy as np
import torch
from prometheus_client import CollectorRegistry

from encoder_svc.admission import Admission, OverflowPolicy, QueueRule
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.forming import BatchRules
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import Asker, Stage, Want, Work, WorkClass
from encoder_svc.settings import DeviceChoice, EncoderSettings, RuntimeChoice
from encoder_svc.version import Parts
from tessera.chassis.clock import Clock, ManualClock, SystemClock
from tessera.domain.artifact import Manifest, load_manifest
from tessera.domain.ids import ModelId
from tessera.nets.artifact import SampleNetworks

LIMIT_S = 40.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIDE_PX = 64
_STRIDES = (8, 16, 32)
_LEVELS_PER_FACE = 50

RULES = BatchRules(slice_s=1000.0, linger_share=0.0, source_frames=100)
"""Whatever waits goes at once and together."""

RESERVED = {WorkClass.ENROLMENT: 0.1, WorkClass.STREAM: 0.2}


def encoder_settings(**changes: object) -> EncoderSettings:
    """Settings for a test: any free port, the CPU, nothing compiled in the background, faces alone."""
    fixed: dict[str, object] = {
        "port": 0,
        "metrics_port": 0,
        "device": DeviceChoice.CPU,
        "runtime": RuntimeChoice.EAGER,
        "max_deadline_s": 60.0,
        "signature_encoder": "",
        "drain_s": 5.0,
    }
    return EncoderSettings(**(fixed | changes))  # type: ignore[arg-type]


# ---- pictures and networks


def picture_bytes(faces: int = 0, side_px: int = SIDE_PX) -> bytes:
    """A picture in which the pretended detector sees so many faces, up to 4."""
    ok, data = cv2.imencode(".bmp", np.full((side_px, side_px, 3), faces * _LEVELS_PER_FACE, np.uint8))
    assert ok
    return data.tobytes()


def picture(
    faces: int = 0,
    work_class: WorkClass = WorkClass.INTERACTIVE,
    *,
    expires_at_s: float | None = None,
    source: str = "",
) -> Picture:
    """A picture with so many faces, as a caller hands it in."""
    return Picture(picture_bytes(faces), EncodeOptions(), work_class, expires_at_s=expires_at_s, source=source)


def see(batch: torch.Tensor) -> torch.Tensor:
    """A detector: each picture has as many faces as its brightness says."""
    n, _, height_px, width_px = batch.shape
    priors = sum((height_px // stride) * (width_px // stride) for stride in _STRIDES)
    output = torch.zeros(n, priors, 16)
    for row in range(n):
        for face in range(round(float(batch[row, 0, 0, 0]) / _LEVELS_PER_FACE)):
            output[row, 2 * face, :2] = 1.0
            output[row, 2 * face, 6:] = torch.tensor([-0.3, -0.3, 0.3, -0.3, 0.0, 0.0, -0.3, 0.3, 0.3, 0.3])
    return output


def tell(batch: torch.Tensor) -> torch.Tensor:
    """An embedder: what it gives depends on the crop."""
    brightness = batch.mean(dim=(1, 2, 3))
    return torch.stack([brightness + n for n in range(1, 129)], dim=1)


def manifest_named(name: str, digest: str = "0123456789ab") -> Manifest:
    """The shipped encoder's facts under another name."""
    return replace(load_manifest("face-sface-1"), name=name, model_id=ModelId(f"{name}@{digest}"))


def pipeline_of(
    manifest: Manifest,
    detector: Callable[[torch.Tensor], torch.Tensor] = see,
    embedder: Callable[[torch.Tensor], torch.Tensor] = tell,
) -> FacePipeline:
    """A real pipeline on pretended networks."""
    return FacePipeline(manifest, SampleNetworks(detector, embedder, torch.device("cpu")))


class Barrier:
    """A network that waits inside of a batch until the test lets it go."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._network = network
        self.begun = threading.Event()
        self.may_go = threading.Event()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Tell that it has begun, wait, and do what the network does."""
        self.begun.set()
        assert self.may_go.wait(LIMIT_S)
        return self._network(batch)


def build_parts(
    *,
    lanes: int = 1,
    window: int = 8,
    limit: int = 100,
    rules: BatchRules = RULES,
    decoded_bytes: int = 1 << 24,
    helpers: int = 0,
    clock: Clock | None = None,
) -> Parts:
    """What encoders share, not started."""
    clock, metrics = clock or SystemClock(), EncoderMetrics(CollectorRegistry())
    refuse, drop = OverflowPolicy.REFUSE_NEWEST, OverflowPolicy.DROP_OLDEST
    policies = dict.fromkeys(WorkClass, refuse) | {WorkClass.STREAM: drop}
    gates = {work_class: QueueRule(limit, policy, window) for work_class, policy in policies.items()}
    scheduler = Scheduler(
        rules, RESERVED, lanes=lanes, helpers=helpers, clock=clock, metrics=metrics, on_start=lambda: None
    )
    return Parts(Admission(gates, decoded_bytes, clock, metrics), scheduler, clock, metrics)


def left_over(parts: Parts) -> dict[str, int]:
    """What is in use; all zero when nothing is under way."""
    admission = parts.admission
    return {
        "inside": sum(gate.inside for gate in admission._gates.values()),
        "waiting": admission.waiting(),
        "decoded": admission.pixels.used_bytes,
        "scheduled": parts.scheduler.depth(),
        "running": sum(sum(lane.is_alive() for lane in crew.lanes) - crew.idle for crew in parts.scheduler._crews()),
        "beside": sum(parts.scheduler._running_beside.values()),
    }


NOTHING = dict.fromkeys(("inside", "waiting", "decoded", "scheduled", "running", "beside"), 0)


# ---- a device that is held


@dataclass
class HeldDevice:
    """A scheduler whose lanes are kept busy until the test lets them go, so that the order of turns can be seen."""

    lanes: int = 1
    helpers: int = 0
    rules: BatchRules = RULES
    reserved: Mapping[WorkClass, float] = field(default_factory=lambda: RESERVED)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    metrics: EncoderMetrics = field(default_factory=lambda: EncoderMetrics(CollectorRegistry()))
    batches: list[list[object]] = field(default_factory=list)
    batch_s: float = 0.0

    def __post_init__(self) -> None:
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.scheduler = Scheduler(
            self.rules,
            self.reserved,
            lanes=self.lanes,
            helpers=self.helpers,
            clock=self.clock,
            metrics=self.metrics,
            on_start=lambda: None,
        )

    @property
    def done(self) -> list[object]:
        """Every payload, in the order of their turns."""
        return [payload for batch in self.batches for payload in batch]

    def hold(self) -> None:
        """Start, and keep every lane busy."""
        self.scheduler.start()
        for _ in range(self.lanes):
            begun = threading.Event()

            def wait(payloads: Sequence[threading.Event]) -> Sequence[object]:
                for one in payloads:
                    one.set()
                self._released.wait(LIMIT_S)
                return payloads

            self.scheduler.submit([Want(Stage("hold", "test", 0, 1, wait), "", begun)], Asker(WorkClass.INTERACTIVE))
            assert begun.wait(LIMIT_S)

    def release(self) -> None:
        """Let the lanes go."""
        self._released.set()

    def stage(
        self, name: str = "note", *, order: int = 0, priority: int = 0, max_items: int = 1, encoder: str = "test"
    ) -> Stage:
        """A stage that notes its batches; each takes `batch_s` on the device's clock."""

        def note(payloads: Sequence[object]) -> Sequence[object]:
            with self._lock:
                self.batches.append(list(payloads))
                self.clock.advance(self.batch_s)
            return payloads

        return Stage(name, encoder, order, max_items, note, priority)

    def submit(
        self,
        stage: Stage,
        payload: object,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        *,
        shape: str = "shape",
        expires_at_s: float | None = None,
    ) -> Work:
        """Queue one item."""
        asker = Asker(work_class, expires_at_s=expires_at_s)
        (work,) = self.scheduler.submit([Want(stage, shape, payload)], asker)
        return work
